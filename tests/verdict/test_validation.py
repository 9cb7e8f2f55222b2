"""The judgement of a study's finalists: chosen on the folds, read once on the holdout, shown beside every baseline."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.core import LakeError
from cappuccino_ml.study import (
    CrossPaths,
    CrossValidation,
    Dataset,
)
from cappuccino_ml.verdict import (
    ValidationReport,
    load_report,
    paired_sharpe_test,
    store_report,
)

from .case import GATE, Case, FakeActor, Floats, made_dataset, paths, weekly

BASELINES = {"cash", "buy_and_hold", "equal_weight", "bitcoin", "inverse_volatility", "momentum", "random", "ridge"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made_dataset(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def case(dataset: Dataset, tmp_path: Path) -> Case:
    return Case(dataset, tmp_path / "ledger")


@pytest.fixture(scope="module")
def judged(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[ValidationReport, pd.DataFrame]:
    """For tests that only look."""
    return Case(dataset, tmp_path_factory.mktemp("ledger")).judge()


def foresight(dataset: Dataset) -> Callable[[int], Floats]:
    """Knows the next half day: it wins wherever it is measured."""
    close = dataset.market.close
    return lambda t: np.where(close[min(t + 12, len(close) - 1)] > close[t], 1.0, -1.0)


def test_defect_06_the_holdout_does_not_choose_the_candidate(case: Case, dataset: Dataset) -> None:
    case.actors["mlp"].rule = foresight(dataset)
    report, frame = case.judge()
    assert frame["mlp"].sum() > frame["ft"].sum()
    assert (report.candidate, report.candidate_arm, report.candidate_key) == ("ft", "ft_scratch", "ft-key")
    assert (report.candidate_trial, report.development_sharpe) == (1, 1.0)


def test_the_better_of_the_folds_is_judged_even_with_a_negative_sharpe(dataset: Dataset, tmp_path: Path) -> None:
    report, _ = Case(dataset, tmp_path, ft=-3.0, mlp=-0.5).judge()
    assert (report.candidate, report.development_sharpe) == ("mlp", -0.5)
    report, _ = Case(dataset, tmp_path, ft=-0.5, mlp=-0.5, key="s2").judge()
    assert report.candidate == "mlp"


def test_the_holdout_is_read_once_whatever_is_asked_later(case: Case, dataset: Dataset) -> None:
    first, frame = case.judge()
    case.actors["ft"].rule = foresight(dataset)
    for actor in case.actors.values():
        actor.seen.clear()
    again, stored = case.judge()
    assert again == first
    pd.testing.assert_frame_equal(stored, frame)
    assert not case.actors["ft"].seen
    assert not case.actors["mlp"].seen


def test_only_holdout_rows_are_read(case: Case, dataset: Dataset) -> None:
    _, frame = case.judge()
    assert set(case.actors["ft"].seen) | set(case.actors["mlp"].seen) == {dataset.splits.holdout}
    first, last = dataset.splits.holdout
    stamps = dataset.market.timestamps[first:last]
    assert (frame.index.tz_localize(None).to_numpy().astype("datetime64[us]") == stamps).all()


def test_a_second_study_of_the_same_bars_is_not_fresh_and_its_trials_add_up(dataset: Dataset, tmp_path: Path) -> None:
    first, _ = Case(dataset, tmp_path).judge()
    second, _ = Case(dataset, tmp_path, key="s2").judge()
    assert (first.reading.fresh, first.reading.trials) == (True, 2)
    assert (second.reading.fresh, second.reading.fresh_bars) == (False, 0)
    assert (second.reading.trials_so_far, second.reading.earlier_studies) == (4, ("s1",))


def test_every_baseline_and_every_finalist_has_a_row(
    judged: tuple[ValidationReport, pd.DataFrame], dataset: Dataset
) -> None:
    report, frame = judged
    rows = {row.name: row for row in report.rows}
    assert set(rows) == BASELINES | {"ft", "mlp"}
    bars = dataset.splits.holdout[1] - dataset.splits.holdout[0]
    assert len(frame) == report.verdict.bars == bars
    assert rows["cash"].interval is None
    interval = rows["ft"].interval
    assert interval is not None
    assert interval[0] < rows["ft"].performance.annual_sharpe < interval[1]


def test_stress_lines_are_dearer_cheaper_and_later_than_what_was_judged(
    judged: tuple[ValidationReport, pd.DataFrame],
) -> None:
    report, frame = judged
    assert set(report.stress) == {"as judged", "no costs", "double costs", "one bar later"}
    assert report.stress["no costs"] > report.stress["as judged"] > report.stress["double costs"]
    judged = next(row for row in report.rows if row.name == "ft")
    assert report.stress["as judged"] == judged.performance.annual_sharpe
    assert not np.array_equal(frame["ft@late"], frame["ft"])


def test_clause_a_is_about_the_candidates_own_trial_among_all_of_them(case: Case, dataset: Dataset) -> None:
    report, _ = case.judge()
    assert report.superior.trials == (0, 1)
    assert report.superior.bars == sum(fold.test[1] - fold.test[0] for fold in dataset.splits.folds)
    assert not report.superior.superior
    assert "a" in [clause.name for clause in report.verdict.failing]
    skilled, _ = case.judge(trials=paths(dataset, skill=0.002))
    assert skilled.superior.superior == (1,)
    assert next(clause for clause in skilled.verdict.clauses if clause.name == "a").passed


def test_the_deflation_counts_the_trials_of_all_studies_on_the_same_bars(dataset: Dataset, tmp_path: Path) -> None:
    first, _ = Case(dataset, tmp_path).judge()
    second, _ = Case(dataset, tmp_path, key="s2").judge()
    assert (first.overfitting.trials, first.overfitting.trials_counted) == (2, 2)
    assert (second.overfitting.trials, second.overfitting.trials_counted) == (2, 4)
    assert second.overfitting.expected_best_sharpe > first.overfitting.expected_best_sharpe > 0
    assert second.overfitting.deflated_sharpe < first.overfitting.deflated_sharpe


def test_capacity_follows_the_venues_volume_and_is_not_invented_without_it(case: Case, dataset: Dataset) -> None:
    report, _ = case.judge()
    assert {row.capacity for row in report.rows} == {None}
    other = Case(dataset, case.root / "other", key="s2")
    volume = np.full(dataset.market.close.shape, 1e6)
    rows = {row.name: row for row in other.judge(dataset=replace(dataset, volume=volume))[0].rows}
    tenfold = Case(dataset, case.root / "tenfold", key="s3")
    deep = {row.name: row for row in tenfold.judge(dataset=replace(dataset, volume=10 * volume))[0].rows}
    assert rows["cash"].capacity is None
    assert rows["ft"].capacity is not None
    assert deep["ft"].capacity == pytest.approx(10 * rows["ft"].capacity)
    assert rows["ft"].performance.saturated_share is not None


def test_the_champion_is_the_one_to_beat_once_there_is_one(case: Case, dataset: Dataset) -> None:
    case.champion = FakeActor("mlp", "champion-key", foresight(dataset))
    report, _ = case.judge()
    assert report.verdict.incumbent == "champion"
    assert "champion" in {row.name for row in report.rows}
    assert report.verdict.outcome != "win"


@pytest.mark.parametrize(("drift", "incumbent"), [(0.001, "equal_weight"), (-0.001, "cash")])
def test_without_a_champion_the_better_baseline_of_development_is_to_be_beaten(
    drift: float, incumbent: str, case: Case, dataset: Dataset
) -> None:
    market, rows = dataset.market, np.arange(len(dataset.market))
    path = np.exp(drift * np.minimum(rows, dataset.splits.development[1]))[:, None]  # the holdout has no drift
    drifting = replace(market, open=market.open * path, close=market.close * path)
    report, _ = case.judge(dataset=replace(dataset, market=drifting))
    assert report.verdict.incumbent == incumbent


def test_the_champion_trades_the_same_bars_and_its_key_is_on_record(case: Case, dataset: Dataset) -> None:
    case.champion = FakeActor("mlp", "champion-key", lambda t: weekly(t + 40))
    report, frame = case.judge()
    assert case.champion.seen == [dataset.splits.holdout]
    assert report.reading.champion == "champion-key"
    assert "champion-key" in report.incumbent_note
    expected = paired_sharpe_test(
        candidate=frame["ft"],
        incumbent=frame["champion"],
        bars_per_year=dataset.config.bars_per_year,
        seed=report.verdict.seed,
        resamples=GATE.resamples,
    )
    assert report.verdict.test == expected
    # Whoever is champion later: what was read then is what this study is judged on.
    case.champion = None
    again, _ = case.judge()
    assert (again.verdict, again.incumbent_note) == (report.verdict, report.incumbent_note)


def test_why_no_champion_is_to_be_beaten_is_said(case: Case) -> None:
    report, _ = case.judge(no_champion="champion version 3 has seen this holdout")
    assert report.incumbent_note.startswith("champion version 3 has seen this holdout, so the better of cash")


def test_a_champion_of_later_than_the_first_reading_is_said_not_to_have_been_there(case: Case) -> None:
    case.judge()
    case.champion = FakeActor("mlp", "champion-key", lambda t: weekly(t + 40))
    report, _ = case.judge()
    assert report.incumbent_note.startswith("no champion could be judged when this holdout was first read, so")


def test_trials_of_stopped_studies_deflate_too(case: Case) -> None:
    report, _ = case.judge(measured={"stopped": 9, "s1": 3})
    assert (report.reading.trials_so_far, report.reading.unfinished_studies) == (11, 1)
    assert report.overfitting.trials_counted == 11


def test_cross_validation_is_beside_the_verdict_and_no_clause(case: Case, dataset: Dataset) -> None:
    first, last = dataset.splits.development
    returns = np.random.default_rng(0).normal(-1e-3, 1e-3, (2, last - first, 5))
    bad = {"ft": CrossPaths(trial=1, arm="ft_scratch", returns=returns, folder=Path("paths-x"))}
    without, _ = case.judge()
    report, _ = case.judge(cross=CrossValidation(((first, last),), bad, ()))
    assert report.verdict == without.verdict
    (finalist,) = report.cross_validation.finalists
    assert finalist.mean < -5.0
    assert finalist.interval is not None
    assert report.cross_validation.equal_weight is not None
    assert without.cross_validation.obstacles == ("not part of this test",)


def test_a_candidate_that_never_trades_is_rejected(case: Case) -> None:
    case.actors["ft"].rule = lambda t: 0.0
    report, _ = case.judge()
    assert (report.verdict.outcome, report.verdict.flat) == ("reject", True)
    assert report.ft_against_mlp is not None
    assert report.ft_against_mlp.test is None
    assert "cannot be tested" in report.ft_against_mlp.sentence


def test_ft_against_mlp_is_a_finding_beside_the_verdict(case: Case, dataset: Dataset) -> None:
    wise = foresight(dataset)
    case.actors["mlp"].rule, case.actors["ft"].rule = wise, lambda t: -wise(t)
    report, _ = case.judge()
    finding = report.ft_against_mlp
    assert finding is not None
    assert finding.ft_arm == "ft_scratch"
    assert finding.test is not None
    assert finding.test.difference < 0
    assert finding.sentence.startswith("FT is worse than MLP")


def test_one_side_alone_can_be_judged(case: Case) -> None:
    del case.actors["ft"]
    report, _ = case.judge()
    assert (report.candidate, report.ft_against_mlp) == ("mlp", None)


def test_a_stored_report_comes_back_and_is_kept(judged: tuple[ValidationReport, pd.DataFrame], tmp_path: Path) -> None:
    report, _ = judged
    folder = store_report(tmp_path / "verdicts", report=report)
    assert load_report(folder) == report
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert store_report(tmp_path / "verdicts", report=report) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    other = report.model_copy(update={"candidate_key": "other"})
    assert store_report(tmp_path / "verdicts", report=other) != folder


def test_an_unfinished_report_is_refused(judged: tuple[ValidationReport, pd.DataFrame], tmp_path: Path) -> None:
    folder = store_report(tmp_path / "verdicts", report=judged[0])
    (folder / "DONE").unlink()
    with pytest.raises(LakeError, match="no finished report"):
        load_report(folder)
