"""The features stage: `indicators` by month, and the check that they are finite, alive and causal."""

import dagster as dg

from cappuccino_ml.core import code_version, digest
from cappuccino_ml.features import MarketTable, missing_rates, outlier_rates
from cappuccino_ml.features import check_features as check
from cappuccino_pipeline.assets.bars import ohlcv_bars
from cappuccino_pipeline.feature_months import fingerprint, upstream_months
from cappuccino_pipeline.freshness import new_bars
from cappuccino_pipeline.metadata import OWNERS, Table, column_schema, markdown_table, picture, table_metadata
from cappuccino_pipeline.partitions import MONTHS
from cappuccino_pipeline.resources import Cappuccino, this_process
from cappuccino_pipeline.stage_bar import Step

_COLUMNS = {
    "symbol": "ticker and quote, such as BTC-USD",
    "timestamp": "open time of the bar, UTC; the features are known at its close",
    "open_price": "open, quote currency",
    "close_price": "close, quote currency",
    "tradable": "false where no bar was traded and the last close stands in",
}
_COMPARED_MONTHS = 24
# Dagster then shows a month as stale when bars changed that its recursive filters still remember.
_MEMORY = dg.TimeWindowPartitionMapping(start_offset=-upstream_months(this_process().configuration.universe))


@dg.asset(
    group_name="features",
    deps=[dg.AssetDep(ohlcv_bars, partition_mapping=_MEMORY)],
    partitions_def=MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=code_version("bars", "features", "lake"),
    owners=OWNERS,
    kinds={"parquet", "numpy"},
    tags={"stage": "features"},
    freshness_policy=new_bars(),
)
def indicators(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The 14 features per ticker and bar, stationary and unscaled, one month per partition.

    A month is computed from its own bars and a fixed stretch before it: alone or in a backfill, the same comes out.
    Other months whose bars were revised since they were computed are stale, and are computed again too.
    """
    from cappuccino_ml.reports import pictures  # noqa: PLC0415

    table, panel = cappuccino.features, cappuccino.panel()
    months = cappuccino.feature_months(panel)
    asked = list(context.partition_keys)
    with table.lock():
        others = {other for month in asked for other in months.neighbours(month, table.partitions)} - set(asked)
        every = sorted({*asked, *others})
        for done, month in enumerate(every):
            cappuccino.watch(Step("features", done, len(every)))
            bars = months.bars(month)
            if bars is None:
                if month in asked:
                    note = f"no features: all tickers have bars from {panel.timestamps[0]}Z on only"
                    context.add_asset_metadata({"note": note}, partition_key=month)
                continue
            made_from = {"bars": fingerprint(bars)}
            if month in others and table.partitions[month].meta == made_from:
                continue
            written = table.write(month, months.compute(month, bars), meta=made_from)
            facts = {"written": written, "dagster/row_count": table.partitions[month].rows}
            if month in asked:
                context.add_asset_metadata(facts, partition_key=month)
            else:
                facts |= {"reason": "bars that it depends on changed since it was computed"}
                context.log_event(dg.AssetMaterialization("indicators", partition=month, metadata=facts))
    cappuccino.watch(None)
    schema = column_schema(table.read(max(table.partitions)), _COLUMNS)
    label = cappuccino.source.label
    market = MarketTable.from_panel(panel)
    drawn = pictures.feature_distributions(
        market=market,
        label=label,
        path=cappuccino.configuration.reports_root / "feature_distributions.png",
    )
    correlation = pictures.feature_correlation(
        market=market,
        label=label,
        path=cappuccino.configuration.reports_root / "feature_correlation.png",
    )
    contents = {month: entry.sha256 for month, entry in table.partitions.items() if month in asked}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest(contents)[:16]),
        metadata={
            **table_metadata(table, label=label),
            "dagster/column_schema": schema,
            "distributions": picture(drawn),
            "correlation": picture(correlation),
            "rates": _rates(missing_rates(market.features), outlier_rates(market.features[market.warm_up :])),
        },
    )


@dg.asset_check(asset=indicators, blocking=True)
def check_features(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """Features are finite after the warm-up, alive, blind to the future, and equal their recursive form.

    Too few bars to judge is a warning; nothing after this stage accepts them either.
    """
    report = check(cappuccino.panel())
    findings = [[finding.kind, finding.message] for finding in report.findings]
    return dg.AssetCheckResult(
        passed=report.passed,
        severity=dg.AssetCheckSeverity.WARN if report.too_short else dg.AssetCheckSeverity.ERROR,
        metadata={
            "findings": markdown_table(["kind", "finding"], findings),
            "rates": _rates(report.missing, report.outliers),
            "rows": report.rows,
            "rows_of_which_the_future_was_changed": report.causality_rows,
            "rows_compared_with_the_recursive_form": report.recursive_rows,
            "schema_hash": cappuccino.features.identity["schema_hash"],
        },
    )


@dg.asset_check(asset=indicators)
def features_are_current(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """Stored features, of the newest 24 months, are those of the bars as they are now, to the last bit."""
    table, months = cappuccino.features, cappuccino.feature_months(cappuccino.panel())
    # Months from before the coverage, which may begin later than it once did, are no longer read by anyone.
    looked_at = [month for month in table.partitions if months.covers(month)][-_COMPARED_MONTHS:]
    stale = [month for month in looked_at if not months.is_current(month, table.read(month))]
    return dg.AssetCheckResult(
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "stale": ", ".join(stale) or "none",
            "way_out": f"re-run indicators for {stale[0]} to {stale[-1]}" if stale else "nothing to do",
            "months": len(looked_at),
        },
    )


def _rates(missing: dict[str, float], outliers: dict[str, float]) -> Table:
    rows = [[name, f"{missing[name]:.3%}", f"{outliers[name]:.3%}"] for name in missing]
    return markdown_table(["feature", "missing, warm-up included", "beyond 10 spreads"], rows)
