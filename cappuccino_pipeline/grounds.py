"""What the transfer can be tried on: unseen tickers, and finer bars if the source has them; what is missing is said."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cappuccino_ml.bars import TIMEFRAMES, audit_bars, ingest_month, months_between, read_bars
from cappuccino_ml.core import ConfigurationError, DataError
from cappuccino_pipeline.resources import Cappuccino

if TYPE_CHECKING:
    from cappuccino_ml.study import Dataset, Ground


def grounds_of(
    cappuccino: Cappuccino, dataset: "Dataset", *, root: Path, tell: Callable[[str], None]
) -> tuple[list["Ground"], list[str]]:
    """Grounds of the current data set, and one sentence for each that the source or the data set cannot give.

    The finer bars come through the source's own port into their own table of the lake.

    Args:
        cappuccino: configuration and adapters.
        dataset: the current frozen data set.
        root: folder of the transfer.
        tell: told what each request brought.

    Raises:
        SourceError: the source has finer bars, and could not be reached or refused: that is a failure, not a lack.
    """
    from cappuccino_ml.study import unseen_tickers  # noqa: PLC0415 - imports torch

    found: list[Ground] = []
    missing: list[str] = []
    plan, settings = cappuccino.plan.encoder, cappuccino.plan.transfer
    try:
        found.append(_finer(cappuccino, dataset, root=root, tell=tell))
    except (ConfigurationError, DataError) as error:
        missing.append(
            f"{dataset.market.schema.timeframe} to {settings.fine_timeframe} cannot be done with these bars: {error}"
        )
    try:
        found.append(unseen_tickers(dataset, plan, settings, root=root))
    except DataError as error:
        missing.append(f"unseen tickers cannot be done with these bars: {error}")
    return found, missing


def _finer(cappuccino: Cappuccino, dataset: "Dataset", *, root: Path, tell: Callable[[str], None]) -> "Ground":
    from cappuccino_ml.features import MarketTable  # noqa: PLC0415
    from cappuccino_ml.study import fine_window, finer_bars  # noqa: PLC0415

    settings = cappuccino.plan.transfer
    fine = cappuccino.at(settings.fine_timeframe)
    universe = fine.configuration.universe
    if universe.bar >= TIMEFRAMES[dataset.market.schema.timeframe]:
        raise ConfigurationError(
            f"the market's bars have {dataset.market.schema.timeframe} and are not longer than "
            f"{settings.fine_timeframe}; choose a longer CAPPUCCINO_TIMEFRAME."
        )
    start, end = fine_window(dataset, settings, coverage=fine.coverage)
    for month in months_between(start, end):
        with fine.told(tell):
            ingest_month(
                fine.source, fine.bars, universe, month, now=cappuccino.clock.now(), window=(start, end), tell=tell
            )
    bars = read_bars(fine.bars, start=start, end=end)
    audit = audit_bars(bars[(bars["timestamp"] >= start) & (bars["timestamp"] < end)], universe)
    if not audit.passed:
        raise DataError(audit.errors[0].message)
    return finer_bars(
        dataset,
        cappuccino.plan.encoder,
        settings,
        fine=MarketTable.from_panel(fine.panel(start=start, end=end)),
        bars_manifest=fine.bars.manifest_hash(),
        bars_per_year=universe.bars_per_year,
        root=root,
    )
