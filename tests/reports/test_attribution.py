"""Which ticker and which feature drive a trained agent: the planted driver comes first, and nothing is lost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cappuccino_ml.core import CheckpointError, read_settings, write_json
from cappuccino_ml.encoder import EncoderSettings, windows
from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv
from cappuccino_ml.policy import ActorCritic, AgentSettings, PPOSettings, build_agent, train
from cappuccino_ml.reports import attribution
from cappuccino_ml.reports.attribution import Attribution, AttributionJob, attribute_actions, explain

from .attributions import make_attribution

TICKERS, FEATURES, LOOKBACK = 3, 4, 3
ACTED, READ, FEATURE = 1, 2, 3  # ticker 1 is driven by feature 3 of ticker 2
ENCODER: dict[str, Any] = {"lookback": LOOKBACK, "d_token": 8, "n_blocks": 2, "n_heads": 2, "encoding_dim": 12}
ARMS = {
    "mlp": None,
    "ticker": {"tokenization": "ticker"},
    "series": {"tokenization": "series"},
    "joint": {"tokenization": "scalar", "fusion": "joint"},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_agent(kind: str, **options: Any) -> ActorCritic:
    shape = ARMS[kind]
    encoder = None if shape is None else EncoderSettings(**ENCODER, **shape)
    settings = AgentSettings(
        arm="mlp" if shape is None else "ft_scratch", lookback=LOOKBACK, net_dimension=16, encoder=encoder, **options
    )
    return build_agent(settings, tickers=TICKERS, features=FEATURES, seed=0).eval()


def loud(agent: ActorCritic) -> ActorCritic:
    """An untrained agent's last layer is made 100 times larger, or its actions would hardly move."""
    with torch.no_grad():
        agent.actor.out.weight *= 100
    return agent


def sample(count: int) -> tuple[Tensor, Tensor]:
    """Windows [B, L, N, F] and books [B, 1 + N]."""
    random = torch.Generator().manual_seed(1)
    books = torch.rand(count, 1 + TICKERS, generator=random)
    return torch.randn(count, LOOKBACK, TICKERS, FEATURES, generator=random), books / books.sum(1, keepdim=True)


def planted_market(bars: int, *, seed: int) -> tuple[Tensor, np.ndarray]:
    """Scaled features [T, N, F] and prices [T, N]: one series tells the next moves of one ticker, the rest is noise."""
    random = np.random.default_rng(seed)
    sign = np.cumprod(np.where(random.random(bars) < 0.02, -1.0, 1.0))
    moves = 0.002 * random.standard_normal((bars, TICKERS))
    moves[:, ACTED] += 0.006 * sign
    features = random.standard_normal((bars, TICKERS, FEATURES))
    features[:, READ, FEATURE] = sign
    price = 100 * np.exp(np.vstack([np.zeros((1, TICKERS)), np.cumsum(moves, axis=0)[:-1]]))
    return torch.from_numpy(features).float(), price


def lead_of_the_driver(sizes: np.ndarray) -> float:
    """The planted driver's size over the largest of what else moves the ticker that it drives."""
    return float(sizes[ACTED, READ, FEATURE] / np.delete(sizes[ACTED].ravel(), READ * FEATURES + FEATURE).max())


@pytest.mark.parametrize("kind", ["mlp", "ticker"])
def test_of_an_agent_trained_on_a_planted_market_the_true_ticker_and_feature_come_first(kind: str):
    market, price = planted_market(1200, seed=0)
    layout = Layout(timestamps=8, environments=8, steps=16, episode_bars=64)
    env = VectorEnv(
        open_=np.vstack([price[:1], price[:-1]]),
        close=price,
        tradable=np.ones(price.shape, dtype=np.bool_),
        first=5,
        last=800,
        layout=layout,
        guards=Guards(max_step=0.3),
        costs=Costs(fee_bps=1),
        reward=Reward(),
        seed=0,
    )
    agent = make_agent(kind)
    unseen = windows(market, torch.arange(820, 1180, 9), LOOKBACK)
    books = torch.full((len(unseen), 1 + TICKERS), 0.25)
    assert lead_of_the_driver(attribute_actions(loud(make_agent(kind)), unseen, books).sizes) < 1.5
    settings = PPOSettings(steps=20 * layout.samples, learning_rate=3e-3, batch_size=256, epochs=4)
    train(agent, market=market, env=env, settings=settings, seed=0)
    found = attribute_actions(agent.eval(), unseen, books)
    assert found.error <= 0.02
    assert np.unravel_index(int(found.sizes.argmax()), found.sizes.shape) == (ACTED, READ, FEATURE)
    assert lead_of_the_driver(found.sizes) > 3


@pytest.mark.parametrize("kind", ["mlp", "ticker", "series"])
def test_an_agent_built_to_read_one_series_is_attributed_to_that_series_alone(kind: str):
    agent = loud(make_agent(kind))
    with torch.no_grad():
        if kind == "mlp":
            read = torch.zeros(LOOKBACK, TICKERS, FEATURES)
            read[:, READ, FEATURE] = 1.0
            agent.actor_encoder.linear.weight *= read.flatten()
        elif kind == "series":
            weight = agent.actor_encoder.tokenizer.weight  # (series, lags, d_token)
            weight[torch.arange(len(weight)) != READ * FEATURES + FEATURE] = 0.0
        else:
            weight = agent.actor_encoder.tokenizer.weight.view(TICKERS, FEATURES, LOOKBACK, -1)
            kept = weight[READ, FEATURE].clone()
            weight.zero_()
            weight[READ, FEATURE] = kept
    found = attribute_actions(agent, *sample(20))
    others = found.sizes.copy()
    others[:, READ, FEATURE] = 0.0
    assert others.max() == 0.0
    assert (found.sizes[:, READ, FEATURE] > 0).all()


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("kind", ARMS)
def test_attributions_add_up_to_what_the_action_changed_by(kind: str, share: bool):
    agent, (market, books) = loud(make_agent(kind, share_encoder=share)), sample(5)
    found = attribute_actions(agent, market, books, tolerance=0.01)
    assert 0 < found.error <= 0.01
    zero = torch.zeros(LOOKBACK, TICKERS, FEATURES)
    difference = torch.stack([
        agent.mean_action(agent.encode(one, torch.tensor([LOOKBACK - 1]))[0], book.view(1, 1, -1))[0, 0]
        - agent.mean_action(agent.encode(zero, torch.tensor([LOOKBACK - 1]))[0], book.view(1, 1, -1))[0, 0]
        for one, book in zip(market, books, strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(found.change, difference.detach().abs().mean(0).numpy(), rtol=1e-4)
    assert (found.sizes.sum((1, 2)) >= found.change * 0.98).all()  # sizes cannot be less than their signed sums


def test_the_size_of_a_batch_changes_nothing():
    agent, (market, books) = loud(make_agent("ticker")), sample(6)
    one, many = (attribute_actions(agent, market, books, batch=batch) for batch in (4, 100))
    np.testing.assert_allclose(one.sizes, many.sizes, rtol=1e-4, atol=1e-7)
    assert one.steps == many.steps


def test_attributions_that_do_not_add_up_say_so():
    found = attribute_actions(loud(make_agent("mlp")), *sample(2), tolerance=1e-12)
    assert found.steps == 512
    assert found.error > 1e-12
    assert make_attribution(completeness_error=0.02).adds_up
    assert not make_attribution(completeness_error=0.021).adds_up


def test_an_agent_that_features_do_not_move_has_no_drivers():
    agent = make_agent("mlp")
    torch.nn.init.zeros_(agent.actor_encoder.linear.weight)
    found = attribute_actions(agent, *sample(3))
    assert (found.sizes.max(), found.error) == (0.0, 0.0)


def test_drivers_are_named_by_ticker_read_and_feature_with_shares_of_the_whole(tmp_path: Path):
    found = make_attribution()
    first, second = found.drivers(2)
    assert (first.ticker, first.feature) == ("ETH", "c")
    assert first.share == pytest.approx(0.31 / 0.41)
    assert second.share == pytest.approx(0.02 / 0.41)
    name, share = next(iter(found.by_feature().items()))
    assert (name, share) == ("c", pytest.approx(0.33 / 0.41))
    assert found.shares().sum() == pytest.approx(1.0)
    assert np.sum(found.attention()) == pytest.approx(1.0)
    write_json(tmp_path / "a.json", found)
    assert read_settings(Attribution, tmp_path / "a.json") == found


def job(root: Path, **changes: Any) -> AttributionJob:
    given = {"agent_folder": root, "agent_key": "a", "dataset_key": "d", "rows": (3, 9), "seed": 1, "root": root}
    return AttributionJob.model_validate({**given, **changes})


def test_a_finished_explanation_is_read_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = []

    def explained(*_: Any, **__: Any) -> Attribution:
        made.append(1)
        return make_attribution()

    config = SimpleNamespace(key="a")
    monkeypatch.setattr(attribution, "load_agent", lambda folder: (None, config))
    monkeypatch.setattr(attribution, "explain_agent", explained)
    market: Any = None
    assert explain(job(tmp_path), market) == explain(job(tmp_path), market) == make_attribution()
    assert made == [1]
    (job(tmp_path).folder / "DONE").unlink()  # as a killed one is left
    explain(job(tmp_path), market)
    explain(job(tmp_path, rows=(3, 10)), market)
    assert made == [1, 1, 1]
    config.key = "b"
    with pytest.raises(CheckpointError, match="holds agent b, not c"):
        explain(job(tmp_path, agent_key="c"), market)


def test_an_explanation_is_named_by_agent_data_rows_sample_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    changed = [{"agent_key": "b"}, {"dataset_key": "e"}, {"rows": (4, 9)}, {"moments": 9}, {"seed": 2}]
    keys = {job(tmp_path, **change).key for change in [{}, *changed]}
    assert len(keys) == len(changed) + 1
    assert job(tmp_path / "moved").key == job(tmp_path).key
    monkeypatch.setattr(attribution, "code_version", lambda *rooms: "another")
    assert job(tmp_path).key not in keys
