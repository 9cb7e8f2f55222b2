"""The bars stage: `ohlcv_bars` by month, and the audit that stops everything after it."""

import dagster as dg

from cappuccino_ml.bars import audit_bars as audit
from cappuccino_ml.bars import ingest_month
from cappuccino_ml.core import code_version
from cappuccino_pipeline.metadata import OWNERS, column_schema, markdown_table, picture, table_metadata
from cappuccino_pipeline.partitions import MONTHS
from cappuccino_pipeline.resources import Cappuccino

_COLUMNS = {
    "symbol": "ticker and quote, such as BTC-USD",
    "timestamp": "open time of the bar, UTC",
    "open": "quote currency",
    "high": "quote currency",
    "low": "quote currency",
    "close": "quote currency",
    "volume": "base units",
}


@dg.asset(
    group_name="bars",
    partitions_def=MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=code_version("bars", "lake"),
    owners=OWNERS,
    kinds={"parquet"},
    tags={"stage": "bars"},
)
def ohlcv_bars(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """Closed bars of every ticker, one month per partition.

    Asks the source only for what a month lacks. Late revisions replace a bar and are counted; the bar that is still
    forming is never stored. Running it again changes nothing.
    """
    from cappuccino_ml.reports import pictures  # noqa: PLC0415

    universe, table = cappuccino.configuration.universe, cappuccino.bars
    for month in context.partition_keys:
        facts = ingest_month(
            cappuccino.source, table, universe, month, now=cappuccino.clock.now(), window=cappuccino.coverage
        )
        row_count = {"dagster/row_count": table.partitions[month].rows} if month in table.partitions else {}
        asked = "; ".join(f"{symbol} {len(ranges)}" for symbol, ranges in facts["asked"].items()) or "nothing"
        shown = {**facts, **row_count, "asked": f"ranges asked for, by symbol: {asked}"}
        context.add_asset_metadata(shown, partition_key=month)
    schema = column_schema(table.read(max(table.partitions)), _COLUMNS)
    label = cappuccino.source.label
    drawn = pictures.coverage(
        panel=cappuccino.panel(), label=label, path=cappuccino.configuration.reports_root / "coverage.png"
    )
    return dg.MaterializeResult(
        metadata={
            **table_metadata(table, label=label),
            "dagster/column_schema": schema,
            "coverage": picture(drawn),
        }
    )


@dg.asset_check(asset=ohlcv_bars, blocking=True)
def audit_bars(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """Holes longer than may be filled, impossible prices, doubles or bars off the grid stop the run here."""
    report = audit(cappuccino.bars.read_all(), cappuccino.configuration.universe)
    # Holes that may be filled are normal and many; they are counted by symbol instead of listed.
    findings = [[finding.severity, finding.message] for finding in report.findings if finding.severity != "info"]
    findings.sort(key=lambda finding: finding[0] != "error")
    counts = [
        [symbol, report.rows[symbol], report.filled.get(symbol, 0), report.zero_volume[symbol]]
        for symbol in report.rows
    ]
    return dg.AssetCheckResult(
        passed=report.passed,
        metadata={
            "findings": markdown_table(["severity", "finding"], findings),
            "symbols": markdown_table(["symbol", "bars", "missing, to be filled", "without trades"], counts),
            "range": f"{report.first} to {report.last}",
        },
    )
