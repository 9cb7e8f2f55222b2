"""The verdict stage: the finalists on the holdout, beside everything they should be compared with."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.study import optuna_study
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import Step

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
    """Whether the best candidate is better, net of costs, than what runs now, and how sure that is.

    Beside the verdict, the finalists go through combinatorial purged cross-validation where the budget allows it.
    """
    from cappuccino_ml.reports.findings import STUDY_PICTURES, drawn_in  # noqa: PLC0415
    from cappuccino_ml.reports.page import Judged, verdict_html  # noqa: PLC0415
    from cappuccino_ml.reports.pictures import verdict_pictures  # noqa: PLC0415
    from cappuccino_ml.reports.words import policy_name  # noqa: PLC0415
    from cappuccino_ml.study import bars_identity, cross_validate, load_study, measured_trials, read_paths  # noqa: PLC0415
    from cappuccino_ml.verdict import HoldoutLedger, store_report, validate  # noqa: PLC0415

    configuration, dataset, plan = cappuccino.configuration, cappuccino.dataset, cappuccino.plan
    study_folder = cappuccino.current.folder("optuna_study")
    study = load_study(study_folder)
    finalists = cappuccino.finalists(study, dataset)
    cross = cross_validate(
        dataset,
        {side: finalist.trial for side, finalist in finalists.items()},
        plan.cross_validation,
        pretraining=plan.encoder.pretraining,
        seed=study.settings.seed,
        encoders_root=configuration.encoders_root,
        root=study_folder / "cross_validation",
        workers=configuration.workers,
        say=lambda line: context.log.info(cappuccino.say(line)),
    )
    context.log.info(cappuccino.say("judging the finalists on the holdout, beside the baselines"))
    cappuccino.watch(Step("verdict"))
    champion, no_champion = cappuccino.champion(dataset)
    report, returns = validate(
        dataset=dataset,
        study=study,
        trials=read_paths(study_folder, study=study, folds=dataset.splits.folds),
        finalists=finalists,
        champion=champion,
        no_champion=no_champion,
        regimes=plan.regimes,
        ledger=HoldoutLedger(configuration.verdicts_root / "holdouts"),
        gate=plan.gate,
        cross=cross,
        measured=measured_trials(
            configuration.studies_root,
            datasets_root=configuration.datasets_root,
            data=bars_identity(dataset.config.model_dump(mode="json")),
        ),
    )
    folder = store_report(configuration.verdicts_root, report=report)
    cappuccino.current.point("validation_report", folder)
    verdict = report.verdict
    context.log.info(cappuccino.say(f"verdict on {report.candidate_arm}: {verdict.outcome}"))
    rows = [
        [
            policy_name(row.name),
            f"{row.performance.annual_sharpe:+.2f}",
            _interval(row.interval),
            f"{row.performance.total_return:+.1%}",
            f"{row.performance.max_drawdown:.1%}",
        ]
        for row in report.rows
    ]
    clauses = [[c.name, c.description, _number(c.value), _number(c.limit), _PASSED[c.passed]] for c in verdict.clauses]
    pictures = verdict_pictures(report, returns, configuration.reports_root)
    page = verdict_html(
        Judged(
            market=configuration.market,
            budget=configuration.budget,
            dataset=dataset.config,
            study=study,
            validation=report,
            pictures={**drawn_in(configuration.reports_root, STUDY_PICTURES), **pictures},
        ),
        configuration.reports_root / "verdict.html",
    )
    return dg.MaterializeResult(
        metadata={
            "source": report.label,
            "outcome": verdict.outcome,
            **{name: picture(path) for name, path in pictures.items()},
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in verdict.reasons) or "none"),
            "clauses": markdown_table(["clause", "condition", "value", "limit", "met"], clauses),
            "superior_trials": f"{len(report.superior.superior)} of {len(report.superior.trials)}",
            "deflated_sharpe_confidence": round(report.overfitting.deflated_sharpe, 3),
            "holdout": markdown_table(["policy", "net Sharpe (annual)", "95% interval", "return", "drawdown"], rows),
            "ft_against_mlp": report.ft_against_mlp.sentence if report.ft_against_mlp else "not compared",
            "what_it_could_show": verdict.power.sentence,
            "holdout_fresh": report.reading.fresh,
            "against": report.incumbent_note,
            "trials_on_these_bars": report.reading.trials_so_far,
            "cross_validation": report.cross_validation.sentence,
            "regimes": markdown_table(
                ["policy", "regime", "bars", "stretches", "return", "net Sharpe (annual)", "95% interval"],
                [
                    [
                        policy_name(result.policy),
                        score.regime,
                        score.bars,
                        score.stretches,
                        f"{score.total_return:+.1%}",
                        _number(score.sharpe),
                        _interval(score.interval),
                    ]
                    for result in report.regimes.results
                    for score in result.scores
                ],
            ),
            "regime_rule": report.regimes.rule.sentence,
            "page": dg.MetadataValue.path(str(page)),
            "folder": dg.MetadataValue.path(str(folder)),
        }
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "none" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
