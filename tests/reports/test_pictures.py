"""Every picture is written, small, says where its bars come from, and refuses what it cannot show."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cappuccino_ml.features import FEATURES
from cappuccino_ml.reports import pictures, style
from cappuccino_ml.reports.findings import PICTURES, STUDY_PICTURES
from cappuccino_ml.reports.pictures_of_study import kept_by_best
from cappuccino_ml.study import Importance, Pruned, SearchSpace, narrow, preset
from cappuccino_ml.verdict import Point, SampleEfficiency

from .attributions import make_attribution


def fills_at(times: np.ndarray) -> pd.DataFrame:
    """A purchase of LTC, sold again."""
    columns = {"ticker": ["LTC", "LTC"], "side": ["buy", "sell"], "quantity": [2.0, 2.0], "price": [3.0, 4.0]}
    return pd.DataFrame({"timestamp": times, **columns})


@pytest.fixture
def draw(
    bars: Any,
    market: Any,
    histories: Any,
    skills: Any,
    study: Any,
    curves: Any,
    frame: Any,
    equity: Any,
    make_findings: Any,
) -> Callable[..., Path]:
    """Draws a picture by name from the invented results."""

    def drawn(name: str, *, label: str, path: Path) -> Path:
        findings = make_findings(label=label)
        weights = np.random.default_rng(3).random((7, 14))
        given: dict[str, dict[str, Any]] = {
            "coverage": {"frame": bars, "universe": market.schema.universe},
            "feature_distributions": {"market": market},
            "feature_correlation": {"market": market},
            "feature_skill": {"skills": skills, "features": FEATURES},
            "pretraining": {"histories": histories, "skills": skills},
            "attention": {"weights": weights, "tickers": findings.dataset.feature_schema.tickers, "features": FEATURES},
            "study_history": {"study": study},
            "study_pruning": {"study": study},
            "study_arms": {"study": study},
            "study_importances": {"found": FOUND, "trials": len(study.completed)},
            "study_parallel": {"study": study, "found": FOUND},
            "study_ranges": {"study": study},
            "learning_curves": {"curves": curves},
            "drivers": {"attributions": [make_attribution(arm="mlp", rollout=None), make_attribution()]},
            "equity": {"frame": frame, "candidate": "ft", "regimes": findings.validation.regimes},
            "cross_validation": {"found": findings.validation.cross_validation},
            "intervals": {"report": findings.validation},
            "session_trades": {
                "times": equity["timestamp"].to_numpy(),
                "close": np.cumsum(np.ones((len(equity), 7)), axis=0),
                "fills": fills_at(equity["timestamp"].to_numpy()[3:5]),
                "report": findings.session,
                "tickers": findings.dataset.feature_schema.tickers,
            },
            "session": {"equity": equity, "report": findings.paper},
        }
        said = {} if name == "intervals" else {"label": label}
        return getattr(pictures, name)(**given[name], **said, path=path)

    return drawn


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text of the figures that would have been saved; nothing is rendered."""
    found: list[str] = []

    def listen(figure: Figure, path: Path) -> Path:
        found.extend(text.get_text() for text in figure.findobj(Text))
        return path

    monkeypatch.setattr(style, "save", listen)
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_png_below_50_kb(name: str, draw: Callable[..., Path], tmp_path: Path):
    path = draw(name, label="simulated", path=tmp_path / "deep" / f"{name}.png")
    assert path == tmp_path / "deep" / f"{name}.png"
    assert path.stat().st_size < 50_000
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width >= 600


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_names_its_source(name: str, draw: Callable[..., Path], texts: list[str], tmp_path: Path):
    draw(name, label="simulated (placebo)", path=tmp_path / "p.png")
    assert "source of the bars: simulated (placebo)" in texts


def test_the_same_results_give_the_same_bytes(draw: Callable[..., Path], tmp_path: Path):
    first = draw("study_history", label="simulated", path=tmp_path / "a.png")
    again = draw("study_history", label="simulated", path=tmp_path / "b.png")
    assert first.read_bytes() == again.read_bytes()


def test_a_rehearsal_says_so_on_its_picture(draw: Callable[..., Path], texts: list[str], tmp_path: Path):
    draw("session", label="simulated", path=tmp_path / "s.png")
    assert any("REHEARSAL" in text for text in texts)


def test_stress_and_turnover_columns_are_not_drawn_as_policies(
    draw: Callable[..., Path], texts: list[str], tmp_path: Path
):
    draw("equity", label="simulated", path=tmp_path / "e.png")
    assert not any("@" in text or "#" in text for text in texts)


def test_an_unknown_candidate_is_refused(frame: Any, tmp_path: Path):
    with pytest.raises(ValueError, match="no policy 'gru'"):
        pictures.equity(frame=frame, candidate="gru", label="simulated", path=tmp_path / "e.png")


def test_attention_of_another_shape_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="attention weights"):
        pictures.attention(
            weights=np.ones((2, 3)), tickers=("BTC",), features=FEATURES, label="simulated", path=tmp_path / "a.png"
        )


def test_a_study_without_any_success_can_still_be_drawn(study: Any, tmp_path: Path):
    failed = tuple(trial.model_copy(update={"value": None, "fold_sharpes": ()}) for trial in study.trials)
    path = pictures.study_history(
        study=study.model_copy(update={"trials": failed}), label="simulated", path=tmp_path / "s.png"
    )
    assert path.is_file()


FOUND = tuple(
    Importance(name=name, value=value, chance=0.2, trials=7)
    for name, value in (("learning_rate", 0.5), ("gamma", 0.3), ("benchmark", 0.1))
)


def test_pictures_of_a_study_without_completed_trials_are_drawn_and_say_so(
    study: Any, texts: list[str], tmp_path: Path
):
    failed = tuple(trial.model_copy(update={"value": None, "fold_sharpes": ()}) for trial in study.trials)
    study = study.model_copy(update={"trials": failed})
    made = pictures.study_pictures(study, (), label="simulated", folder=tmp_path)
    assert set(made) == set(STUDY_PICTURES) - {"learning_curves"}
    assert all(path == tmp_path / f"{name}.png" for name, path in made.items())
    assert texts.count("source of the bars: simulated") == len(made)
    assert "too few completed trials to tell" in texts
    assert "Where the best 0 of 0 completed trials lie" in texts


def test_the_ranges_name_every_parameter_asked_with_its_ends(study: Any, texts: list[str], tmp_path: Path):
    asked = {"learning_rate": 3e-4, "lookback": 4, "batch_size": 2048, "turnover_penalty": 2e-4, "stop_loss": 0.1}
    trials = tuple(trial.model_copy(update={"params": asked}) for trial in study.trials)
    pictures.study_ranges(study=study.model_copy(update={"trials": trials}), label="simulated", path=tmp_path / "r.png")
    assert {text for text in texts if "(" in text} == {
        "learning_rate  (1e-06 to 0.001)",
        "lookback  (1 to 10)",
        "batch_size  (1024, 2048, 4096, 8192)",
        "turnover_penalty  (0.0, 0.0002, 0.001)",
        "stop_loss  (0.0, 0.05, 0.1, 0.2)",
    }


def test_the_blue_part_of_a_range_is_what_best_would_keep_of_it(study: Any):
    asked = SearchSpace(learning_rate=(5e-4, 1e-3), gamma=(0.9, 0.97), epochs=(3, 5), lookback=(1, 8))
    wins = [study.trials[0].model_copy(update={"params": {"learning_rate": 7e-4, "gamma": 0.91, "epochs": 5}})]
    kept, best = kept_by_best(asked, wins), narrow(preset(asked, "best"), wins)
    assert best.learning_rate[0] < 5e-4  # a tenth of the complete range is wider than all that was asked
    assert kept["learning_rate"] == (5e-4, 1e-3)
    assert kept["gamma"] == (0.9, best.gamma[1])
    assert kept["epochs"] == (best.epochs[0], 5) == (4, 5)
    assert kept["lookback"] == (1, 8)


def test_pruned_trials_are_counted_by_side(study: Any, texts: list[str], tmp_path: Path):
    given_up = study.trials[4].model_copy(
        update={
            "state": "pruned",
            "value": None,
            "fold_sharpes": (0.2,),
            "pruned": Pruned(fold=0, value=0.2, median=0.7, against=4),
        }
    )
    trials = (*study.trials[:4], given_up, *study.trials[5:])
    pictures.study_pruning(
        study=study.model_copy(update={"trials": trials}), label="simulated", path=tmp_path / "p.png"
    )
    assert "Pruning: 1 of 7 measured trials were given up before their last fold" in texts
    assert {"FT-Transformer: 0 of 4", "MLP: 1 of 3"} <= set(texts)


@pytest.mark.parametrize("seeds", [1, 5])
def test_sample_efficiency_is_drawn_with_every_arm_and_its_source(texts: list[str], tmp_path: Path, seeds: int):
    arms = ("mlp", "ft_scratch", "ft_pretrained")
    points = [
        Point(
            arm=arm,
            steps=steps,
            sharpes=tuple(0.1 * seed for seed in range(seeds)),
            mean=0.2,
            over_seeds=(0.0, 0.4) if seeds > 1 else None,
            turnover_per_day=0.1,
            max_drawdown=0.1,
            parameters=10,
        )
        for arm in arms
        for steps in (50_000, 300_000)
    ]
    judged = SampleEfficiency(
        label="simulated",
        markets=1,
        seeds=seeds,
        bars=100,
        encoder_r2=(0.6,),
        points=tuple(points),
        differences=(),
        claim="",
    )
    pictures.sample_efficiency(judged=judged, path=tmp_path / "s.png")
    assert {*arms, "source of the bars: simulated"} <= set(texts)


def test_agents_of_different_universes_are_not_drawn_side_by_side(tmp_path: Path):
    with pytest.raises(ValueError, match="on one universe"):
        pictures.drivers(
            attributions=[make_attribution(), make_attribution(tickers=("BTC", "LTC"))],
            label="simulated",
            path=tmp_path / "d.png",
        )


def test_the_mlps_drivers_say_that_it_has_no_attention(texts: list[str], tmp_path: Path):
    pictures.drivers(attributions=[make_attribution()], label="simulated", path=tmp_path / "d.png")
    assert "attention rollout" in texts
    texts.clear()
    still = make_attribution(arm="mlp", rollout=None, sizes=np.zeros((2, 2, 3)).tolist())  # nor does it react
    pictures.drivers(attributions=[still], label="simulated", path=tmp_path / "d.png")
    assert "attention rollout" not in texts
    assert "all actions, % (an mlp has no attention)" in texts


def test_trades_are_counted_for_their_ticker_and_a_session_without_any_is_drawn(
    draw: Callable[..., Path], texts: list[str], make_findings: Any, tmp_path: Path
):
    draw("session_trades", label="simulated", path=tmp_path / "t.png")
    assert {"LTC: 1 buy, 1 sell", "BTC: 0 buys, 0 sells"} <= set(texts)
    assert any("REHEARSAL: 2 fills" in text for text in texts)
    stamps = np.array(["2025-01-01T00", "2025-01-01T01"], dtype="datetime64[us]")
    pictures.session_trades(
        times=stamps,
        close=np.ones((2, 1)),
        fills=fills_at(stamps)[:0],
        report=make_findings().session,
        tickers=("BTC",),
        label="simulated",
        path=tmp_path / "n.png",
    )
    assert "BTC: 0 buys, 0 sells" in texts


def test_correlation_is_within_a_ticker_and_across_tickers(monkeypatch: Any, market: Any, tmp_path: Path):
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(style, "save", lambda figure, path: drawn.extend(
        np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images
    ))  # fmt: skip
    twins = market.features.copy()
    twins[:, :, 1] = -twins[:, :, 0]  # high against open, in every ticker
    twins[:, 1, 5] = twins[:, 0, 5]  # and macd of ETH is BTC's
    pictures.feature_correlation(market=replace(market, features=twins), label="simulated", path=tmp_path / "c.png")
    of_features, of_tickers = drawn[:2]
    assert of_features[0, 1] == pytest.approx(-1)
    assert abs(of_features[2, 3]) < 0.2
    assert of_tickers[0, 1] == pytest.approx(1 / 14, abs=0.05)


def test_skills_of_other_features_are_refused(skills: Any, tmp_path: Path):
    with pytest.raises(ValueError, match="14 features"):
        pictures.feature_skill(skills=skills, features=("open",), label="simulated", path=tmp_path / "f.png")
