"""The card and the evidence that a candidate is registered with, put together from what the earlier stages made."""

from typing import Any

from cappuccino_ml.policy import Actor
from cappuccino_ml.registry import DATA_MANIFEST, VERDICT, ModelCard
from cappuccino_ml.study import Dataset, FitResult
from cappuccino_ml.trading.drift import FEATURE_BINS, FeatureBins
from cappuccino_ml.verdict import Finalist, ValidationReport


def card_of(*, report: ValidationReport, finalist: Finalist, dataset: Dataset, dagster_run_id: str) -> ModelCard:
    """Origin and evidence of the candidate of `report`."""
    verdict = report.verdict
    row = next(row.performance for row in report.rows if row.name == report.candidate)
    return ModelCard(
        key=report.candidate_key,
        arm=report.candidate_arm,
        study_key=report.study_key,
        outcome=verdict.outcome,
        verdict={
            "incumbent": verdict.incumbent,
            **{f"clause {c.name}: {c.description}": c.margin for c in verdict.clauses},
            "could_show": verdict.power.sentence,
            "ft_against_mlp": report.ft_against_mlp.sentence if report.ft_against_mlp else "not compared",
            "holdout_fresh": report.reading.fresh,
        },
        schema_hash=dataset.market.schema.hash,
        data_manifest=dataset.key,
        dagster_run_id=dagster_run_id,
        source_label=report.label,
        metrics={
            "holdout_sharpe": row.annual_sharpe,
            "holdout_return": row.total_return,
            "holdout_max_drawdown": row.max_drawdown,
            "holdout_turnover_per_day": row.turnover_per_day or 0.0,
            "development_sharpe": report.development_sharpe,
        },
        params=finalist.trial.params,
    )


def evidence_of(*, dataset: Dataset, actor: Actor, report: ValidationReport | None) -> dict[str, Any]:
    """What is sealed beside the weights: the whole verdict, the data set's manifest, bins of its training rows."""
    rows = slice(*actor.config.rows)
    return {
        VERDICT: report if report is not None else {"outcome": "not judged"},
        DATA_MANIFEST: dataset.config,
        FEATURE_BINS: FeatureBins.fit(dataset.market.features[rows], schema=dataset.market.schema),
    }


def card_of_refit(
    *, actor: Actor, result: FitResult, incumbent: str, dataset: Dataset, dagster_run_id: str
) -> ModelCard:
    """Origin of a nightly refit of registry version `incumbent`; no verdict has judged it."""
    return ModelCard(
        key=actor.key,
        arm=actor.arm,
        study_key=f"refit of version {incumbent}",
        outcome="not judged",
        schema_hash=dataset.market.schema.hash,
        data_manifest=dataset.key,
        dagster_run_id=dagster_run_id,
        source_label=dataset.config.label,
        metrics={"shadow_sharpe": result.sharpe, "shadow_turnover_per_day": result.turnover_per_day},
    )
