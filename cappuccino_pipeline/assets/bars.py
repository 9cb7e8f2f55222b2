"""The bars stage: `ohlcv_bars` by month, the audit that stops everything after it, and three checks for people."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from cappuccino_ml.bars import (
    OVERLAP_BARS,
    align,
    audit_bars,
    compare_clocks,
    find_outliers,
    ingest_month,
    lateness,
    lateness_text,
    month_bounds,
)
from cappuccino_ml.core import DataError, code_version, digest
from cappuccino_pipeline.freshness import new_bars
from cappuccino_pipeline.metadata import OWNERS, column_schema, markdown_table, picture, table_metadata
from cappuccino_pipeline.partitions import MONTHS
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import Step

_COLUMNS = {
    "symbol": "ticker and quote, such as BTC-USD",
    "timestamp": "open time of the bar, UTC",
    "open": "quote currency",
    "high": "quote currency",
    "low": "quote currency",
    "close": "quote currency",
    "volume": "base units",
}
_LISTED = 40  # rows of a table that a person would still read
_LATE_BARS = 2  # closed bars that may be missing at the end: one is on its way, one may have been without trades
_SETTLING_BARS = OVERLAP_BARS + _LATE_BARS  # for so long after its end a month is rightly open


class BarsConfig(dg.Config):
    """What may be chosen in the launch form."""

    refresh: bool = Field(
        default=False, description="ask for whole months again, to find revisions and bars supplied late"
    )


@dg.asset(
    group_name="bars",
    partitions_def=MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=code_version("bars", "lake"),
    owners=OWNERS,
    kinds={"parquet"},
    tags={"stage": "bars"},
    freshness_policy=new_bars(),
)
def ohlcv_bars(
    context: dg.AssetExecutionContext, config: BarsConfig, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """Closed bars of every ticker, one month per partition.

    Asks the source only for what a month lacks. Late revisions replace a bar and are counted; the bar that is still
    forming is never stored. Running it again changes nothing.
    """
    from cappuccino_ml.reports import pictures  # noqa: PLC0415

    universe, table, label = cappuccino.configuration.universe, cappuccino.bars, cappuccino.source.label
    months = list(context.partition_keys)
    for done, month in enumerate(months, start=1):
        with cappuccino.told(context.log.info):
            facts = ingest_month(
                cappuccino.source,
                table,
                universe,
                month,
                now=cappuccino.clock.now(),
                window=cappuccino.coverage,
                refresh=config.refresh,
                tell=context.log.debug,
            )
        row_count = {"dagster/row_count": table.partitions[month].rows} if month in table.partitions else {}
        context.add_asset_metadata(_month_metadata(facts) | row_count, partition_key=month)
        cappuccino.watch(Step("bars", done, len(months)))
        context.log.info(
            f"{month}, {done} of {len(months)}: {facts['rows']:,} bars, {facts['new_rows']:,} new, "
            f"{facts['revisions']} revised, {len(facts['gaps'])} gaps"
        )
    if not table.partitions:
        raise DataError(
            f"{label} has no closed bar of {months[0]} to {months[-1]} yet ({cappuccino.coverage_text}); "
            "choose other months, or wait for the first bar to close."
        )
    contents = {month: entry.sha256 for month, entry in table.partitions.items() if month in months}
    drawn = pictures.coverage(
        frame=cappuccino.covered_bars(),
        universe=universe,
        label=label,
        path=cappuccino.configuration.reports_root / "coverage.png",
    )
    return dg.MaterializeResult(
        # What the months hold, not when they were asked for: only a change makes what depends on them stale.
        data_version=dg.DataVersion(digest(contents)[:16]),
        metadata={
            **table_metadata(table, label=label),
            "dagster/column_schema": column_schema(table.read(max(table.partitions)), _COLUMNS),
            "coverage": picture(drawn),
        },
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "audit_bars",
            asset=ohlcv_bars,
            blocking=True,
            description="Holes too long to fill, impossible prices, doubles or bars off the grid stop the run here.",
        ),
        dg.AssetCheckSpec(
            "bars_are_fresh",
            asset=ohlcv_bars,
            description="No symbol lacks more than two closed bars at its end; no past month was left half asked for.",
        ),
        dg.AssetCheckSpec(
            "clocks_agree",
            asset=ohlcv_bars,
            description="No symbol fits the others better when it is shifted: a wrong time zone would show here.",
        ),
        dg.AssetCheckSpec(
            "no_outliers",
            asset=ohlcv_bars,
            description="Bars far from their neighbours, flagged for a person. None is deleted: crashes are real.",
        ),
    ],
    can_subset=True,  # else a person could not run one without loading bars again
)
def check_bars(
    context: dg.AssetCheckExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> Iterator[dg.AssetCheckResult]:
    """Read the bars once and judge them four times; only the audit blocks."""
    asked = {key.name for key in context.selected_asset_check_keys}
    yield from (result for result in _judged(cappuccino) if result.check_name in asked)


def _judged(cappuccino: Cappuccino) -> Iterator[dg.AssetCheckResult]:
    universe, frame = cappuccino.configuration.universe, cappuccino.covered_bars()
    report = audit_bars(frame, universe)
    # Holes that may be filled are normal and many; they are counted by symbol and listed as outages.
    findings = [[finding.severity, finding.message] for finding in report.findings if finding.severity != "info"]
    findings.sort(key=lambda finding: finding[0] != "error")
    counts = [
        [symbol, report.rows[symbol], report.filled.get(symbol, 0), report.zero_volume[symbol]]
        for symbol in report.rows
    ]
    outages = [[f"{one.first:%Y-%m-%d %H:%M}", one.bars, ", ".join(one.symbols)] for one in report.outages]
    yield dg.AssetCheckResult(
        check_name="audit_bars",
        passed=report.passed,
        metadata={
            "findings": markdown_table(["severity", "finding"], findings),
            "symbols": markdown_table(["symbol", "bars", "missing, to be filled", "without trades"], counts),
            "outages": markdown_table(["first missing bar (UTC)", "bars", "symbols"], outages[-_LISTED:]),
            "outages_count": len(outages),
            "range": f"{report.first:%Y-%m-%d %H:%M} to {report.last:%Y-%m-%d %H:%M} UTC",
        },
    )
    ends = cappuccino.coverage[1]
    # Of a source that has ended only the months that were asked for can lack something.
    end = ends and min(ends, month_bounds(max(cappuccino.bars.partitions))[1])
    now = cappuccino.clock.now()
    late = lateness(frame, universe, now=now, end=end)
    overdue = [lateness_text(one) for one in late if one.behind_bars > _LATE_BARS]
    newest = max(cappuccino.bars.partitions)
    overdue += [
        f"{month} was last asked for before it was over; re-run ohlcv_bars for {month}."
        for month in cappuccino.open_months(now)
        if month < newest and now - month_bounds(month)[1] > _SETTLING_BARS * universe.bar
    ]
    yield _warning(
        "bars_are_fresh",
        passed=not overdue,
        findings=markdown_table(["finding"], [[sentence] for sentence in overdue]),
        symbols=markdown_table(
            ["symbol", "newest bar (UTC)", "closed bars behind"],
            [[one.symbol, f"{one.newest:%Y-%m-%d %H:%M}" if one.newest else "none", one.behind_bars] for one in late],
        ),
    )
    if not report.passed:
        for name in ("clocks_agree", "no_outliers"):
            yield _warning(name, passed=False, findings=dg.MetadataValue.md("not looked at: audit_bars failed"))
        return
    shifts = compare_clocks(align(frame, universe))
    yield _warning(
        "clocks_agree",
        passed=not any(shift.suspicious for shift in shifts),
        symbols=markdown_table(
            ["symbol", "correlation with the others", "best shift, bars", "correlation there", "bars only others have"],
            [
                [one.symbol, f"{one.correlation:.2f}", one.best_lag, f"{one.best_correlation:.2f}", one.partial_bars]
                for one in shifts
            ],
        ),
    )
    outliers = find_outliers(frame, universe)
    yield _warning(
        "no_outliers",
        passed=not outliers,
        count=len(outliers),
        newest=markdown_table(
            ["symbol", "bar (UTC)", "kind", "distance", "times the usual"],
            [
                [one.symbol, f"{one.at:%Y-%m-%d %H:%M}", one.kind, f"{one.share:.1%}", f"{one.spreads:.0f}"]
                for one in outliers[-_LISTED:]
            ],
        ),
    )


def _warning(name: str, *, passed: bool, **metadata: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


def _minute(moment: str) -> str:
    """`2024-03-01 05:00` of an ISO time; other text stays."""
    return moment[:16].replace("T", " ") if moment[10:11] == "T" else moment


def _month_metadata(facts: dict[str, Any]) -> dict[str, Any]:
    """What `ingest_month` did, as people read it."""
    spans = facts["range_by_symbol"]
    symbols = [
        [symbol, rows, *map(_minute, spans.get(symbol, ["none", "none"])), len(facts["asked"].get(symbol, []))]
        for symbol, rows in facts["rows_by_symbol"].items()
    ]
    gaps = [[gap["symbol"], _minute(gap["first"]), gap["bars"]] for gap in facts["gaps"]]
    revised = [[one["symbol"], _minute(one["timestamp"]), one["old"], one["new"]] for one in facts["revised"]]
    return {
        "rows": facts["rows"],
        "new_rows": facts["new_rows"],
        "written": facts["written"],
        "changed_from": _minute(facts["changed_from"] or "nothing changed"),
        "symbols": markdown_table(["symbol", "bars", "first (UTC)", "last (UTC)", "ranges asked for"], symbols),
        "gaps": markdown_table(["symbol", "first missing bar (UTC)", "bars"], gaps[:_LISTED]),
        "gaps_count": len(gaps),
        "revisions": markdown_table(["symbol", "bar (UTC)", "was (o h l c v)", "is"], revised[:_LISTED]),
        "revisions_count": facts["revisions"],
    }
