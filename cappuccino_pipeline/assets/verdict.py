"""The verdict stage: the finalists on the holdout, beside everything they should be compared with."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.study import optuna_study
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino

_PASSED = {True: "yes", False: "NO"}


@dg.asset(
    group_name="verdict",
    deps=[optuna_study],
    code_version=code_version("environment", "metrics", "verdict"),
    owners=OWNERS,
    kinds={"numpy"},
    tags={"stage": "verdict"},
)
def validation_report(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """Whether the best candidate is better, net of costs, than what runs now, and how sure that is."""
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import load_study, read_paths  # noqa: PLC0415
    from cappuccino_ml.verdict import HoldoutLedger, store_report, validate  # noqa: PLC0415

    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    study_folder = cappuccino.current.folder("optuna_study")
    study = load_study(study_folder)
    context.log.info(cappuccino.say("judging the finalists on the holdout, beside the baselines"))
    report, returns = validate(
        dataset=dataset,
        study=study,
        trials=read_paths(study_folder, study=study, folds=dataset.splits.folds),
        finalists=cappuccino.finalists(study, dataset),
        champion=cappuccino.champion(dataset),
        ledger=HoldoutLedger(configuration.verdicts_root / "holdouts"),
        gate=cappuccino.plan.gate,
        volume=cappuccino.volume(dataset),
    )
    folder = store_report(configuration.verdicts_root, report=report)
    cappuccino.current.point("validation_report", folder)
    verdict = report.verdict
    context.log.info(cappuccino.say(f"verdict on {report.candidate_arm}: {verdict.outcome}"))
    rows = [
        [
            row.name,
            f"{row.performance.annual_sharpe:+.2f}",
            _interval(row.interval),
            f"{row.performance.total_return:+.1%}",
            f"{row.performance.max_drawdown:.1%}",
        ]
        for row in report.rows
    ]
    clauses = [[c.name, c.description, _number(c.value), _number(c.limit), _PASSED[c.passed]] for c in verdict.clauses]
    reports = configuration.reports_root
    return dg.MaterializeResult(
        metadata={
            "source": report.label,
            "outcome": verdict.outcome,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in verdict.reasons) or "none"),
            "clauses": markdown_table(["clause", "condition", "value", "limit", "met"], clauses),
            "superior_trials": f"{len(report.superior.superior)} of {len(report.superior.trials)}",
            "deflated_sharpe": report.overfitting.deflated_sharpe,
            "holdout": markdown_table(["policy", "net Sharpe (annual)", "95% interval", "return", "drawdown"], rows),
            "ft_against_mlp": report.ft_against_mlp.sentence if report.ft_against_mlp else "not compared",
            "what_it_could_show": verdict.power.sentence,
            "holdout_fresh": report.reading.fresh,
            "equity": picture(
                pictures.equity(
                    frame=returns, candidate=report.candidate, label=report.label, path=reports / "equity.png"
                )
            ),
            "intervals": picture(pictures.intervals(report=report, path=reports / "intervals.png")),
            "folder": dg.MetadataValue.path(str(folder)),
        }
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
