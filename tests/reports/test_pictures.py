"""Every picture is written, small, says where its bars come from, and refuses what it cannot show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cappuccino_ml.features import FEATURES
from cappuccino_ml.reports import pictures, style
from cappuccino_ml.reports.findings import PICTURES
from cappuccino_ml.verdict import Point, SampleEfficiency


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
            "pretraining": {"histories": histories, "skills": skills},
            "attention": {"weights": weights, "tickers": findings.dataset.feature_schema.tickers, "features": FEATURES},
            "study_history": {"study": study},
            "learning_curves": {"curves": curves},
            "equity": {"frame": frame, "candidate": "ft", "regimes": findings.validation.regimes},
            "cross_validation": {"found": findings.validation.cross_validation},
            "intervals": {"report": findings.validation},
            "session": {"equity": equity, "report": findings.session},
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
