"""Small encoders and small markets whose series are told by one another, so that hidden entries can be learnt."""

import pytest
import torch
from torch import Tensor

from cappuccino_ml.encoder import EncoderSettings, FTTransformerEncoder, Pretrained, PretrainingSettings, pretrain
from cappuccino_ml.features import FeatureSchema, Scaler

TICKERS, FEATURES = 3, 4
TINY = EncoderSettings(
    tokenization="series", lookback=5, d_token=16, n_blocks=2, n_heads=2, dropout=0.1, encoding_dim=24
)
QUICK = PretrainingSettings(batch_size=32, epochs=2, checkpoint_every=1)
FIRST, LAST = 20, 319


def make_market(*, rows: int = 340, tickers: int = TICKERS, features: int = FEATURES, seed: int = 0) -> Tensor:
    """[T, N, F]: two slow factors seen through every series, plus a little noise; unit variance."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.zeros(rows, 2)
    shocks = torch.randn(rows, 2, generator=generator)
    for t in range(1, rows):
        factors[t] = 0.8 * factors[t - 1] + shocks[t]
    loadings = torch.randn(2, tickers * features, generator=generator)
    market = factors @ loadings + 0.1 * torch.randn(rows, tickers * features, generator=generator)
    return ((market - market.mean(0)) / market.std(0)).view(rows, tickers, features)


def make_encoder(settings: EncoderSettings = TINY, *, seed: int = 0) -> FTTransformerEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FTTransformerEncoder(settings, tickers=TICKERS, features=FEATURES).eval()


def make_schema(tickers: tuple[str, ...] = ("BTC", "ETH", "LTC")) -> FeatureSchema:
    return FeatureSchema(tickers=tickers, quote="USD", timeframe="1h", features=("a", "b", "c", "d"))


def make_scaler() -> Scaler:
    ones = tuple((1.0,) * FEATURES for _ in range(TICKERS))
    return Scaler(center=ones, scale=ones)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def market() -> Tensor:
    return make_market()


@pytest.fixture(scope="session")
def pretrained(market: Tensor) -> Pretrained:
    return pretrain(market=market, first=FIRST, last=LAST, encoder=TINY, settings=QUICK, seed=3)
