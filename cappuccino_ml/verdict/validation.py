"""Judge a study's finalists on the holdout: read it once, put everything beside everything, ask the gate."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.core import (
    LakeError,
    Settings,
    artifact_folder,
    derive_seed,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.metrics import Performance, capacity, is_flat, max_drawdown, summary, turnover_per_day
from cappuccino_ml.policy import Actor, Arm
from cappuccino_ml.study import CrossValidation, Dataset, StudyResult, TrialPaths, bars_identity
from cappuccino_ml.verdict.bootstrap import NotTestableError, SharpeTest, paired_sharpe_test, sharpe_interval
from cappuccino_ml.verdict.contest import CHAMPION, Finalist, read_holdout, run_equal_weight
from cappuccino_ml.verdict.cross_validation import CrossValidationReport, cross_validation_report
from cappuccino_ml.verdict.development import active_returns
from cappuccino_ml.verdict.gate import CASH, EQUAL_WEIGHT, GateSettings, Verdict, choose_incumbent, judge
from cappuccino_ml.verdict.holdout import HoldoutLedger, Reading
from cappuccino_ml.verdict.overfitting import Overfitting, overfitting
from cappuccino_ml.verdict.regime_table import RegimeTable, regime_table
from cappuccino_ml.verdict.regimes import RegimeRule, market_regimes
from cappuccino_ml.verdict.superior import SuperiorSet, superior_set

_REPORT = "report.json"
_NONE_THEN = "no champion could be judged when this holdout was first read"
_Columns = Mapping[str, NDArray[np.float64]]


class Row(Settings):
    """One line of the table: a policy on the holdout, with the 95% interval of its Sharpe (None where untestable)."""

    name: str
    performance: Performance
    interval: tuple[float, float] | None
    capacity: float | None = None  # quote currency; None without volume, or for a policy that never trades


class Finding(Settings):
    """FT against MLP on the same bars: reported beside the verdict, never part of it."""

    ft_arm: Arm
    test: SharpeTest | None
    sentence: str


class ValidationReport(Settings):
    """Everything a person needs to believe or doubt a verdict."""

    study_key: str
    dataset_key: str
    label: str
    candidate: str  # name of the candidate's row: "ft" or "mlp"
    candidate_arm: Arm
    candidate_key: str
    candidate_trial: int
    development_sharpe: float
    verdict: Verdict
    superior: SuperiorSet  # clause a, trial by trial
    overfitting: Overfitting  # reported, no clause
    reading: Reading
    rows: tuple[Row, ...]
    stress: dict[str, float]  # annual net Sharpe of the candidate under each condition
    ft_against_mlp: Finding | None
    cross_validation: CrossValidationReport  # reported, no clause
    regimes: RegimeTable
    incumbent_note: str  # who is to be beaten, and why that one


def validate(
    *,
    dataset: Dataset,
    study: StudyResult,
    trials: TrialPaths,
    finalists: Mapping[str, Finalist],
    champion: Actor | None,
    ledger: HoldoutLedger,
    gate: GateSettings,
    cross: CrossValidation,
    measured: Mapping[str, int] | None = None,
    no_champion: str = "no champion is set",
    regimes: RegimeRule | None = None,
) -> tuple[ValidationReport, pd.DataFrame]:
    """Judge the best finalist; the others are shown beside it.

    Args:
        dataset: the frozen data the study used.
        study: its result; the candidate is the finalist whose trial scored best on the folds.
        trials: what every completed trial of it earned on the folds.
        finalists: by side, "ft" and "mlp".
        champion: what trades now, or None: then the better of cash and equal weight on development is to be beaten.
        ledger: remembers readings of holdouts; a second call returns what the first one read.
        gate: thresholds.
        cross: paths of the finalists over combinatorial splits.
        measured: trials by study on the same bars, whether or not they came to a verdict; see `measured_trials`.
        regimes: rule of bull, bear and sideways, or None for its defaults.
        no_champion: why there is no champion to be beaten.

    Returns:
        The report and the per-bar net returns it was computed from (a column per policy, `@` marks a stress,
        `#` a quantity that is not a return).
    """
    name = max(finalists, key=lambda side: (finalists[side].trial.value or 0.0, -finalists[side].trial.number))
    candidate = finalists[name]
    first, last = dataset.splits.holdout
    reading, frame = ledger.read(
        study=study.key,
        data=bars_identity(dataset.config.model_dump(mode="json")),
        timestamps=dataset.market.timestamps[first:last],
        trials=study.tried,
        measured=measured,
        champion=None if champion is None else champion.key,
        compute=lambda: read_holdout(
            dataset=dataset,
            finalists=finalists,
            champion=champion,
            fee_multiple=gate.fee_multiple,
            seed=study.settings.seed,
        ),
    )
    columns = {str(column): frame[column].to_numpy(dtype=np.float64) for column in frame}
    per_year, rule = dataset.config.bars_per_year, regimes or RegimeRule()
    incumbent = CHAMPION if CHAMPION in columns else _better_baseline(dataset, candidate.actor)
    seed = derive_seed(study.settings.seed, "verdict")
    folds = [run_equal_weight(dataset, candidate.actor, fold.test) for fold in dataset.splits.folds]
    superior = superior_set(
        active=active_returns(trials, folds),
        trials=trials.numbers,
        seed=derive_seed(study.settings.seed, "trials"),
        alpha=gate.familywise_alpha,
        min_block=gate.min_block,
        resamples=gate.resamples,
    )
    verdict = judge(
        superior=superior,
        candidate_trial=candidate.trial.number,
        candidate=columns[name],
        incumbent=columns[incumbent],
        incumbent_name=incumbent,
        candidate_dearer=columns[f"{name}@dearer"],
        equal_weight_dearer=columns[f"{EQUAL_WEIGHT}@dearer"],
        drawdown=max_drawdown(columns[name]),
        turnover_per_day=turnover_per_day(columns[f"{name}#turnover"], per_year),
        bars_per_year=per_year,
        seed=seed,
        settings=gate,
    )
    stress = {
        "as judged": name,
        "no costs": f"{name}@free",
        "double costs": f"{name}@dearer",
        "one bar later": f"{name}@late",
    }
    report = ValidationReport(
        study_key=study.key,
        dataset_key=dataset.key,
        label=dataset.config.label,
        candidate=name,
        candidate_arm=candidate.actor.arm,
        candidate_key=candidate.actor.key,
        candidate_trial=candidate.trial.number,
        development_sharpe=candidate.trial.value or 0.0,
        verdict=verdict,
        superior=superior,
        overfitting=overfitting(
            returns=trials.returns,
            candidate=trials.numbers.index(candidate.trial.number),
            bars_per_year=per_year,
            trials_counted=reading.trials_so_far,
        ),
        reading=reading,
        rows=tuple(_row(policy, columns, per_year, seed, gate) for policy in columns if not set("@#") & set(policy)),
        stress={
            title: summary(returns=columns[column], bars_per_year=per_year).annual_sharpe
            for title, column in stress.items()
        },
        ft_against_mlp=_ft_against_mlp(finalists, columns, per_year, seed, gate),
        cross_validation=cross_validation_report(
            cross,
            equal_weight=_equal_weight_on(cross, dataset, candidate.actor),
            bars_per_year=per_year,
            seed=seed,
            min_block=gate.min_block,
            resamples=gate.resamples,
        ),
        regimes=regime_table(
            {name: values for name, values in columns.items() if "@" not in name},
            regimes=market_regimes(dataset.market.close, rule=rule, bars_per_day=per_year / 365.0)[first:last],
            rule=rule,
            bars_per_year=per_year,
            seed=derive_seed(study.settings.seed, "regimes"),
        ),
        incumbent_note=(
            f"the champion, model {reading.champion}, on the same bars"
            if incumbent == CHAMPION
            else (_NONE_THEN if champion else no_champion)
            + ", so the better of cash and equal weight on the development rows"
        ),
    )
    return report, frame


def _equal_weight_on(cross: CrossValidation, dataset: Dataset, actor: Actor) -> NDArray[np.float64] | None:
    """Equal weight on the rows of the paths, with a fresh book in each segment, as the finalists had."""
    runs = [run_equal_weight(dataset, actor, segment).returns for segment in cross.segments]
    return np.concatenate(runs) if runs else None


def _better_baseline(dataset: Dataset, actor: Actor) -> str:
    run = run_equal_weight(dataset, actor, dataset.splits.development)
    return choose_incumbent(
        development={CASH: np.zeros_like(run.returns), EQUAL_WEIGHT: run.returns},
        bars_per_year=dataset.config.bars_per_year,
    )


def _row(name: str, columns: _Columns, per_year: float, seed: int, gate: GateSettings) -> Row:
    performance = summary(
        returns=columns[name],
        bars_per_year=per_year,
        benchmark=columns[EQUAL_WEIGHT],
        weights=columns[f"{name}#exposure"][:, None],
        turnover=columns[f"{name}#turnover"],
        saturation=columns.get(f"{name}#saturated"),
    )
    try:
        interval = sharpe_interval(
            columns[name], bars_per_year=per_year, seed=seed, min_block=gate.min_block, resamples=gate.resamples
        ).interval
    except NotTestableError:
        interval = None
    shares = columns.get(f"{name}#volume")
    return Row(
        name=name,
        performance=performance,
        interval=interval,
        capacity=None if shares is None else capacity(shares),
    )


def _ft_against_mlp(
    finalists: Mapping[str, Finalist], columns: _Columns, per_year: float, seed: int, gate: GateSettings
) -> Finding | None:
    if set(finalists) != {"ft", "mlp"}:
        return None
    arm = finalists["ft"].trial.arm
    idle = [side.upper() for side in ("ft", "mlp") if is_flat(columns[side])]
    if idle:
        said = f"FT against MLP cannot be tested here: {' and '.join(idle)} never traded on the holdout."
        return Finding(ft_arm=arm, test=None, sentence=said)
    try:
        test = paired_sharpe_test(
            candidate=columns["ft"],
            incumbent=columns["mlp"],
            bars_per_year=per_year,
            seed=seed,
            min_block=gate.min_block,
            resamples=gate.resamples,
        )
    except NotTestableError as error:
        return Finding(ft_arm=arm, test=None, sentence=f"FT against MLP cannot be tested here: {error}.")
    low, high = test.interval
    said = "no difference between FT and MLP is shown"
    if low > 0 or high < 0:
        said = f"FT is {'better' if low > 0 else 'worse'} than MLP"
    return Finding(
        ft_arm=arm,
        test=test,
        sentence=f"{said}: Sharpe difference {test.difference:+.2f}, 95% interval {low:+.2f} to {high:+.2f}.",
    )


def store_report(root: Path, *, report: ValidationReport) -> Path:
    """Write the report below `root` under its study's key and candidate -> its folder; the same report is kept."""
    folder = root / f"{report.study_key}-{digest(report)[:8]}"
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            write_json(aside / _REPORT, report)
    return folder


def load_report(folder: Path) -> ValidationReport:
    """Read what `store_report` wrote.

    Raises:
        LakeError: it is not finished.
    """
    if not is_done(folder):
        raise LakeError(f"{folder} holds no finished report (no DONE mark); materialize validation_report again.")
    return read_settings(ValidationReport, folder / _REPORT)
