"""Best ranges: around past winners, inside the complete ranges, with their evidence, and never from holdout bars."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cappuccino_ml.core import ConfigurationError, mark_done, write_json
from cappuccino_ml.study import (
    Dataset,
    SearchSpace,
    StudyResult,
    StudySettings,
    TrialResult,
    best_ranges,
    make_splits,
    narrow,
    preset,
    resolve,
)
from cappuccino_pipeline.plans import SMALL_SPACE, plan_for

from .conftest import SPLITS, Lab, freeze
from .test_pruning import completed

PARAMS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "net_dimension": 512,
    "batch_size": 2048,
    "epochs": 8,
    "gamma": 0.95,
    "benchmark": "none",
    "stop_loss": 0.1,
}


def trial(number: int, value: float, **params: Any) -> TrialResult:
    return completed(number, value, value).model_copy(update={"params": PARAMS | params})


def finished(root: Path, key: str, dataset: Dataset, *trials: TrialResult) -> None:
    result = StudyResult(key=key, dataset_key=dataset.key, settings=StudySettings(), trials=trials)
    write_json(root / key / "study.json", result)
    mark_done(root / key)


@pytest.fixture
def past(lab: Lab, tmp_path: Path, market: Any) -> tuple[Dataset, Path]:
    """A data set to come, whose holdout begins where the lab's development ended, and studies on the lab's."""
    longer = make_splits(len(market), SPLITS.model_copy(update={"holdout_share": 0.2}))
    return freeze(lab.dataset.folder.parent, market, splits=longer), tmp_path / "studies"


def test_the_winners_of_each_study_are_its_best_quarter(lab: Lab, past: tuple[Dataset, Path]) -> None:
    coming, studies = past
    finished(studies, "a", lab.dataset, *(trial(n, float(n), gamma=0.90 + n / 200) for n in range(8)))
    finished(studies, "b", lab.dataset, *(trial(n, -float(n), batch_size=4096) for n in range(8)))
    space, narrowing = best_ranges(SearchSpace(), coming, studies=studies, datasets=lab.dataset.folder.parent)
    assert [(one.study, one.trial, one.value) for one in narrowing.winners] == [
        ("a", 7, 7.0),
        ("a", 6, 6.0),
        ("b", 0, 0.0),
        ("b", 1, -1.0),
    ]
    assert narrowing.studies == ("a", "b")
    assert space.batch_size == (2048, 4096)
    assert space.risk.stop_loss == (0.1,)
    assert space.risk.cooldown_bars == SearchSpace().risk.cooldown_bars, "no winner was asked"
    assert space.gamma == pytest.approx((0.93 - 0.0119, 0.95 + 0.0119))


def test_a_study_that_saw_the_coming_holdout_or_other_bars_is_passed_over(
    lab: Lab, past: tuple[Dataset, Path], market: Any
) -> None:
    coming, studies = past
    datasets = lab.dataset.folder.parent
    other = freeze(datasets, market, label="placebo")
    for key, dataset in (("a", coming), ("b", other), ("c", lab.dataset)):
        finished(studies, key, dataset, *(trial(n, float(n)) for n in range(16)))
    gone = StudyResult(key="d", dataset_key="gone", settings=StudySettings(), trials=())
    write_json(studies / "d" / "study.json", gone)
    mark_done(studies / "d")
    # For the lab's own data set the holdout begins earlier than what study `a` was tuned on.
    _, narrowing = best_ranges(SearchSpace(), lab.dataset, studies=studies, datasets=datasets)
    assert narrowing.studies == ("c",)
    assert {key: why.split(",")[0].split(":")[0] for key, why in narrowing.passed_over.items()} == {
        "a": narrowing.passed_over["a"].split(",")[0],
        "b": "it is on other bars",
        "d": "its data set is gone",
    }
    assert "holdout" in narrowing.passed_over["a"]


def test_too_few_winners_are_refused_with_the_way_out(lab: Lab, past: tuple[Dataset, Path]) -> None:
    coming, studies = past
    finished(studies, "a", lab.dataset, *(trial(n, float(n)) for n in range(8)))
    with pytest.raises(ConfigurationError, match=r"need 4 winning trials .* found 2 in 1 studies .*SEARCH=complete"):
        best_ranges(SearchSpace(), coming, studies=studies, datasets=lab.dataset.folder.parent)


def test_ranges_once_found_stay_the_same_for_a_data_set(lab: Lab, past: tuple[Dataset, Path]) -> None:
    coming, studies = past
    datasets = lab.dataset.folder.parent
    asked = StudySettings(search="best")
    finished(studies, "a", lab.dataset, *(trial(n, float(n)) for n in range(16)))
    first = resolve(asked, coming, studies=studies, datasets=datasets)
    assert first.narrowing is not None
    assert len(first.narrowing.winners) == 4
    finished(studies, "b", lab.dataset, *(trial(n, float(n), batch_size=8192) for n in range(16)))
    assert resolve(asked, coming, studies=studies, datasets=datasets) == first
    assert resolve(StudySettings(), coming, studies=studies, datasets=datasets) == StudySettings()


WITHIN = st.fixed_dictionaries(
    {
        "learning_rate": st.floats(1e-6, 1e-3),
        "gamma": st.floats(0.88, 0.999),
        "net_dimension": st.integers(4, 29).map(lambda steps: 64 * steps),
        "epochs": st.integers(4, 16),
        "lookback": st.integers(1, 10),
        "batch_size": st.sampled_from((1024, 2048, 4096, 8192)),
        "ft_d_token": st.sampled_from((16, 32, 64, 96)),
        "ft_n_heads": st.sampled_from((2, 4, 8)),
        "trailing_stop": st.sampled_from((0.0, 0.1, 0.2)),
    }
)


@given(st.lists(WITHIN, min_size=1, max_size=6))
def test_a_narrowed_space_holds_every_winner_and_lies_inside(winners: list[dict[str, Any]]) -> None:
    space = SearchSpace()
    narrower = narrow(space, [trial(n, 1.0, **params) for n, params in enumerate(winners)])
    for params in winners:
        for name in ("learning_rate", "gamma", "net_dimension", "epochs", "lookback"):
            (low, high), (least, most) = getattr(narrower, name), getattr(space, name)
            assert least <= low <= params[name] <= high <= most
        assert (narrower.net_dimension[0] - space.net_dimension[0]) % space.net_dimension_step == 0
        assert params["batch_size"] in narrower.batch_size
        assert params["ft_d_token"] in narrower.ft_d_token
        assert params["trailing_stop"] in narrower.risk.trailing_stop


def test_the_complete_ranges_are_those_of_the_specification() -> None:
    space = SearchSpace()
    assert space.learning_rate == (1e-6, 1e-3)
    assert space.net_dimension == (256, 1856)
    assert (space.net_dimension[1] - space.net_dimension[0]) % space.net_dimension_step == 0
    assert space.batch_size == (1024, 2048, 4096, 8192)
    assert (space.gamma, space.gae_lambda, space.clip) == ((0.88, 0.999), (0.9, 0.99), (0.1, 0.3))
    assert (space.entropy, space.epochs, space.lookback) == ((1e-4, 2e-2), (4, 16), (1, 10))
    assert (space.ft_d_token, space.ft_n_blocks, space.ft_n_heads) == ((16, 32, 64, 96), (1, 3), (2, 4, 8))


def test_presets_change_the_encoders_and_keep_the_budgets_steps() -> None:
    careful, bold = (preset(SMALL_SPACE, search) for search in ("conservative", "aggressive"))
    assert (careful.ft_d_token, careful.ft_n_blocks, careful.ft_n_heads) == ((32, 64), (1, 2), (2, 4))
    assert (bold.ft_d_token, bold.ft_n_blocks, bold.ft_n_heads) == ((32, 64, 96, 128), (1, 4), (2, 4, 8))
    assert careful.learning_rate == bold.learning_rate == preset(SMALL_SPACE, "complete").learning_rate == (1e-6, 1e-3)
    assert careful.steps == bold.steps == SMALL_SPACE.steps
    assert preset(SMALL_SPACE, "budget") == SMALL_SPACE
    assert plan_for("full", seed=7, search="conservative").study.space.steps == 100_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gamma": (0.99, 0.9)}, "gamma goes from 0.99 to 0.9"),
        ({"ft_d_token": (16, 20), "ft_n_heads": (8,)}, "ft_d_token 20 is not a multiple of ft_n_heads 8"),
        ({"batch_size": (16384,)}, "batch_size 16384 is more than the 8192 samples"),
        ({"batch_size": ()}, "batch_size has no value"),
    ],
)
def test_a_space_that_cannot_be_sampled_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SearchSpace(**changes)
