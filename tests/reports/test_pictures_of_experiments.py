"""Pictures of the experiments are small, name their source, and show every variant, ground, policy and regime."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cappuccino_ml.encoder import Skill
from cappuccino_ml.reports import pictures, style
from cappuccino_ml.verdict import Difference, RegimeBenchmark, RegimeRule, VariantScore, score_regimes
from cappuccino_ml.verdict.regime_benchmark import RegimeRow, RegimeSpan
from cappuccino_ml.verdict.regimes import REGIMES


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text of the figures that would have been saved; nothing is rendered."""
    found: list[str] = []

    def listen(figure: Figure, path: Path) -> Path:
        found.extend(text.get_text() for text in figure.findobj(Text))
        return path

    monkeypatch.setattr(style, "save", listen)
    return found


def score(name: str, *, seeds: int = 5, against: tuple[str, ...] = ("default",)) -> VariantScore:
    random = np.random.default_rng(len(name))
    sharpes = tuple(random.normal(1, 1, seeds).tolist())
    difference = Difference(
        name="d", mean=0.4, over_seeds=(-0.2, 1.0), side_by_side=0.5, over_time=(-1.0, 2.0), sentence="d"
    )
    untested = difference.model_copy(update={"over_seeds": None, "side_by_side": None, "over_time": None})
    return VariantScore(
        name=name,
        factor="lookback",
        sharpes=sharpes,
        mean=float(np.mean(sharpes)),
        over_seeds=(0.0, 2.0) if seeds > 1 else None,
        turnover_per_day=0.1,
        max_drawdown=0.1,
        parameters=10,
        wall_s=1.0,
        masked_r2=0.7,
        against=dict.fromkeys(against, difference if seeds > 1 else untested),
    )


def check(path: Path) -> None:
    assert path.stat().st_size < 50_000
    with Image.open(path) as image:
        assert image.width >= 400


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_ablation_shows_every_variant_and_what_it_is_compared_with(texts: list[str], tmp_path: Path, seeds: int):
    scores = [score("default", seeds=seeds, against=()), score("joint fusion, scalar tokens, lookback 3", seeds=seeds)]
    pictures.ablation(scores=scores, label="simulated", path=tmp_path / "a.png")
    wanted = {"default", "joint fusion, scalar tokens, lookback 3", "less default", "source of the bars: simulated"}
    assert wanted <= set(texts)


def test_the_transfer_shows_every_ground_policy_and_skill(texts: list[str], tmp_path: Path):
    r2 = {"transferred": 0.6, "pre-trained there": 0.7, "mean": -0.1, "carry": 0.2, "ridge": 0.65}
    skill = Skill(rows=10, hidden=100, r2=r2, r2_by_feature={})
    scores = {ground: [score("mlp", against=()), score("frozen")] for ground in ("5m bars", "unseen tickers")}
    pictures.transfer(scores=scores, skills=dict.fromkeys(scores, skill), label="simulated", path=tmp_path / "t.png")
    assert {"mlp", "frozen", *r2, "5m bars: masked R2", "source of the bars: simulated"} <= set(texts)


def benchmark() -> RegimeBenchmark:
    random = np.random.default_rng(0)
    labels = random.choice(["bull", "bear"], 900)
    rows = tuple(
        RegimeRow(
            policy=policy,
            baseline=policy != "ft",
            scores=score_regimes(random.normal(0, 0.01, 900), labels, bars_per_year=8760.0, seed=1, resamples=99),
        )
        for policy in ("ft", "equal_weight")
    )
    spans = tuple(
        RegimeSpan(name=name, bars=900, shares={"bull": 0.5, "bear": 0.5, "sideways": 0.0}, rows=rows)
        for name in ("folds", "holdout")
    )
    return RegimeBenchmark(label="simulated", study_key="s", rule=RegimeRule(), spans=spans, said="")


def test_regimes_are_drawn_with_policies_and_shares(texts: list[str], tmp_path: Path):
    pictures.regimes(benchmark=benchmark(), path=tmp_path / "r.png")
    assert {"ft", "equal_weight", *REGIMES, "folds: bull 50%, bear 50%, sideways 0%"} <= set(texts)


def test_they_are_pngs_below_50_kb(tmp_path: Path):
    check(pictures.regimes(benchmark=benchmark(), path=tmp_path / "r.png"))
    many = [score(f"variant {k}") for k in range(10)]
    check(pictures.ablation(scores=many, label="simulated", path=tmp_path / "a.png"))
