"""Attribution finds the series that really drives the output, adds up, and says where the model looks."""

import pytest
import torch
from torch import Tensor, nn

from cappuccino_ml.encoder import (
    EncoderSettings,
    FTTransformerEncoder,
    attention_rollout,
    importance,
    integrated_gradients,
)

from .conftest import FEATURES, TICKERS, make_encoder

LOOKBACK = 4
DRIVER = (1, 2)  # ticker and feature that the planted target follows
KINDS = {
    "series": {"tokenization": "series"},
    "ticker": {"tokenization": "ticker"},
    "scalar": {"tokenization": "scalar"},
    "joint": {"tokenization": "scalar", "fusion": "joint"},
}


def settings_of(kind: str, **changes: object) -> EncoderSettings:
    shape = {"lookback": LOOKBACK, "d_token": 16, "n_blocks": 2, "n_heads": 2, "dropout": 0.0, "encoding_dim": 16}
    return EncoderSettings(**{**shape, **KINDS[kind], **changes})


def windows_of(count: int, *, seed: int = 0) -> Tensor:
    return torch.randn(count, LOOKBACK, TICKERS, FEATURES, generator=torch.Generator().manual_seed(seed))


def entries_of(kind: str, count: int) -> Tensor | None:
    return torch.rand(count, 1 + TICKERS, generator=torch.Generator().manual_seed(1)) if kind == "joint" else None


def planted_target(windows: Tensor) -> Tensor:
    """A bent function of one series: its sign alone would not do, and no other series knows it."""
    driver = windows[:, -1, DRIVER[0], DRIVER[1]]
    return torch.tanh(2 * driver) + 0.3 * driver


class Actor(nn.Module):
    """An encoder and a linear head with one output, as an actor has for each ticker."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.encoder = FTTransformerEncoder(settings_of(kind), tickers=TICKERS, features=FEATURES)
        self.head = nn.Linear(16, 1)

    def forward(self, windows: Tensor) -> Tensor:
        return self.head(self.encoder(windows, entries_of(self.kind, len(windows))))[:, 0]


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest) -> Actor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        actor = Actor(request.param)
    optimizer = torch.optim.Adam(actor.parameters(), lr=5e-3)
    for step in range(150):
        batch = windows_of(128, seed=100 + step)
        loss = (actor(batch) - planted_target(batch)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3  # of a variance near 1: it has learned something to explain
    return actor.eval()


def test_integrated_gradients_put_the_true_driver_first(trained: Actor):
    shares = importance(integrated_gradients(trained, windows_of(64)))
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert divmod(int(shares.argmax()), FEATURES) == DRIVER
    others = shares.clone()
    others[DRIVER] = 0
    assert float(shares[DRIVER]) > 3 * float(others.max())


def test_an_untrained_encoder_has_no_such_driver():
    torch.manual_seed(0)
    shares = importance(integrated_gradients(Actor("series").eval(), windows_of(64)))
    assert float(shares.max()) < 0.3


def test_integrated_gradients_add_up_to_what_changed(trained: Actor):
    batch, baseline = windows_of(16), 0.3 * windows_of(1, seed=5)[0]
    found = integrated_gradients(trained, batch, baseline=baseline, steps=128)
    with torch.no_grad():
        change = trained(batch) - trained(baseline.expand_as(batch))
    torch.testing.assert_close(found.sum((1, 2)), change, atol=0.02, rtol=0.02)


def test_of_a_linear_function_the_attribution_is_exact():
    weights = torch.randn(LOOKBACK, TICKERS, FEATURES, generator=torch.Generator().manual_seed(2))
    batch = windows_of(5)
    found = integrated_gradients(lambda x: (x * weights).sum((1, 2, 3)), batch, steps=1)
    torch.testing.assert_close(found, (batch * weights).sum(1))


def test_attribution_leaves_the_network_as_it_was(trained: Actor):
    trained.zero_grad(set_to_none=True)
    integrated_gradients(trained, windows_of(4))
    assert all(parameter.grad is None for parameter in trained.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_rollout_shares_are_positive_and_sum_to_one_with_cls_and_the_book(kind: str, n_blocks: int):
    encoder = make_encoder(settings_of(kind, n_blocks=n_blocks))
    shares = attention_rollout(encoder, windows_of(3), entries_of(kind, 3))
    assert shares.shape == (3, TICKERS, FEATURES)
    assert (shares > 0).all()
    assert (shares.sum((1, 2)) < 1 - 0.5**n_blocks + 1e-6).all()  # CLS keeps at least its residual path


def test_rollout_of_one_block_is_half_its_attention():
    encoder = make_encoder(settings_of("series", n_blocks=1))
    batch = windows_of(1)
    tokens = encoder.tokenizer(batch)
    weights = encoder.blocks[0].attention.weights(tokens[:, :1], tokens)[0, :, 0, 1:].mean(0) / 2
    torch.testing.assert_close(attention_rollout(encoder, batch)[0], weights.view(TICKERS, FEATURES))


def test_rollout_equals_the_product_of_the_blocks_matrices():
    encoder = make_encoder(settings_of("series", n_blocks=3))
    batch = windows_of(1)
    tokens, product = encoder.tokenizer(batch), torch.eye(1 + TICKERS * FEATURES)
    for block in encoder.blocks:
        normed = block.attention_norm(tokens)
        weights = block.attention.weights(normed, normed)[0].mean(0)
        product = (0.5 * weights + 0.5 * torch.eye(len(weights))) @ product
        tokens = block(tokens)
    torch.testing.assert_close(attention_rollout(encoder, batch)[0].flatten(), product[0, 1:])


def test_a_tickers_share_goes_to_the_features_that_made_its_token():
    encoder = make_encoder(settings_of("ticker"))
    batch = windows_of(1)
    batch[:, :, 0, 1:] = 0.0  # of ticker 0 only feature 0 moves
    shares = attention_rollout(encoder, batch)[0]
    assert float(shares[0, 0]) > 0
    assert float(shares[0, 1:].abs().max()) == 0
