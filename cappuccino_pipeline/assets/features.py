"""The features stage: `indicators` by month, and the check that they are finite, alive and causal."""

from datetime import UTC

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_ml.features import MarketTable
from cappuccino_ml.features import check_features as check
from cappuccino_pipeline.assets.bars import ohlcv_bars
from cappuccino_pipeline.feature_months import features_of_month
from cappuccino_pipeline.metadata import OWNERS, column_schema, markdown_table, picture, table_metadata
from cappuccino_pipeline.partitions import MONTHS
from cappuccino_pipeline.resources import Cappuccino

_COLUMNS = {
    "symbol": "ticker and quote, such as BTC-USD",
    "timestamp": "open time of the bar, UTC; the features are known at its close",
    "open_price": "open, quote currency",
    "close_price": "close, quote currency",
    "tradable": "false where no bar was traded and the last close stands in",
}


@dg.asset(
    group_name="features",
    deps=[ohlcv_bars],
    partitions_def=MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=code_version("bars", "features", "lake"),
    owners=OWNERS,
    kinds={"parquet", "numpy"},
    tags={"stage": "features"},
)
def indicators(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The 14 features per ticker and bar, stationary and unscaled, one month per partition.

    A month is computed from its own bars and a fixed stretch before it: alone or in a backfill, the same comes out.
    """
    from cappuccino_ml.reports import pictures  # noqa: PLC0415

    table, panel = cappuccino.features, cappuccino.panel()
    common_first = panel.timestamps[0].item().replace(tzinfo=UTC)
    with table.lock():
        for month in context.partition_keys:
            frame = features_of_month(
                cappuccino.panel, month, universe=cappuccino.configuration.universe, common_first=common_first
            )
            if frame is None:
                note = f"no features: all tickers have bars from {common_first:%Y-%m-%d %H:%M} UTC on only"
                context.add_asset_metadata({"note": note}, partition_key=month)
                continue
            written = table.write(month, frame)
            facts = {"written": written, "dagster/row_count": table.partitions[month].rows}
            context.add_asset_metadata(facts, partition_key=month)
    schema = column_schema(table.read(max(table.partitions)), _COLUMNS)
    label = cappuccino.source.label
    drawn = pictures.feature_distributions(
        market=MarketTable.from_panel(panel),
        label=label,
        path=cappuccino.configuration.reports_root / "feature_distributions.png",
    )
    return dg.MaterializeResult(
        metadata={
            **table_metadata(table, label=label),
            "dagster/column_schema": schema,
            "distributions": picture(drawn),
        }
    )


@dg.asset_check(asset=indicators, blocking=True)
def check_features(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """Every feature is finite after the warm-up, not constant, and its past does not change when the future does."""
    report = check(cappuccino.panel())
    findings = [[finding.kind, finding.message] for finding in report.findings]
    return dg.AssetCheckResult(
        passed=report.passed, metadata={"rows": report.rows, "findings": markdown_table(["kind", "finding"], findings)}
    )
