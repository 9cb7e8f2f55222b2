"""Grounds of a transfer: where an encoder is pre-trained, and the later rows of another schema it is used on.

The source is a span of early rows under one schema; the target a frozen data set of later rows under another, cut into
rows to train on and rows to measure on. It ends with the development rows: no bar of the holdout is in it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from cappuccino_ml.core import DataError, code_version, derive_seed
from cappuccino_ml.features import MarketTable
from cappuccino_ml.study.dataset import Dataset, freeze_dataset
from cappuccino_ml.study.encoders import EncoderJob, EncoderPlan
from cappuccino_ml.study.equal_trainings import EqualTrainings
from cappuccino_ml.study.splits import Fold, Span, Splits

_TEST_SHARE = 1 / 3  # of the finer bars


class TransferSettings(EqualTrainings):
    """What is transferred where, and at what cost."""

    fine_timeframe: str = Field("5m", description="bars the encoder of longer ones is used on")
    fine_days: float = Field(90.0, gt=0, description="of them, at most, up to the end of the development rows")
    unseen: int = Field(3, ge=1, description="tickers kept from the encoder, the last ones; at most half of them")
    steps: int = Field(100_000, ge=1, description="environment steps of every training")


@dataclass(frozen=True)
class Ground:
    """Where an encoder comes from and what it is used on."""

    name: str
    source: EncoderJob
    target: Dataset  # one fold, no holdout
    there: EncoderJob  # the same encoder pre-trained on the target's own training rows

    @property
    def fold(self) -> Fold:
        """Rows of the target to train on and to measure on."""
        return self.target.splits.folds[0]


def unseen_tickers(dataset: Dataset, plan: EncoderPlan, settings: TransferSettings, *, root: Path) -> Ground:
    """Pre-train on all but the last tickers, on the first fold's training rows; use the encoder on the last tickers.

    Raises:
        DataError: a single ticker, or a single fold: then nothing is left for one of the sides.
    """
    tickers, folds, splits = dataset.market.schema.tickers, dataset.splits.folds, dataset.splits
    unseen = min(settings.unseen, len(tickers) // 2)
    if unseen == 0 or len(folds) < 2:
        raise DataError(
            f"unseen tickers need at least 2 tickers and 2 folds, but there are {len(tickers)} and {len(folds)}: "
            "add tickers to the universe, or folds to the splits."
        )
    # The first fold's test rows are this experiment's training rows; the last fold's stay for measuring.
    fold = Fold(train=(folds[0].test[0], folds[-1].train[1]), test=folds[-1].test)
    early, late = (dataset.market.slice(0, stop + 1) for stop in (folds[0].train[1], splits.development[1]))
    source = _freeze(dataset, _columns(early, tickers[:-unseen]), None, root=root)
    target = _freeze(dataset, _columns(late, tickers[-unseen:]), fold, root=root)
    return Ground(
        name="unseen tickers",
        source=_encoder_job("transfer, seen tickers", source, folds[0].train, plan, root=root),
        target=target,
        there=_encoder_job("transfer, unseen tickers", target, fold.train, plan, root=root),
    )


def fine_window(
    dataset: Dataset, settings: TransferSettings, *, coverage: tuple[datetime, datetime | None]
) -> tuple[datetime, datetime]:
    """[start, end) of the finer bars: the last days before the development rows end, so that no holdout is touched.

    Raises:
        DataError: the source's finer bars do not overlap the development rows.
    """
    splits, bar = dataset.splits, dataset.time(1) - dataset.time(0)
    end = dataset.time(splits.development[1]) + bar
    if coverage[1] is not None:
        end = min(end, coverage[1])
    first = dataset.time(splits.development[0] + splits.gap)  # before it there would be nothing to pre-train on
    start = max(coverage[0], first, end - timedelta(days=settings.fine_days))
    if start >= end:
        raise DataError(
            f"the {settings.fine_timeframe} bars begin {coverage[0]:%Y-%m-%d}, after the development rows end "
            f"({end:%Y-%m-%d}); give older ones."
        )
    return start, end


def finer_bars(
    dataset: Dataset,
    plan: EncoderPlan,
    settings: TransferSettings,
    *,
    fine: MarketTable,
    bars_manifest: str,
    bars_per_year: float,
    root: Path,
) -> Ground:
    """Pre-train on the data set's rows before the finer bars begin; use the encoder on these.

    Args:
        dataset: of the longer bars.
        plan: shape and pre-training of the encoder.
        settings: what is transferred where.
        fine: finer bars of the same tickers, inside `fine_window`.
        bars_manifest: hash of the table they come from.
        bars_per_year: of the finer bars.
        root: where results go.

    Raises:
        DataError: too few bars on a side.
    """
    gap, rows = dataset.splits.gap, len(fine)
    first, test = fine.warm_up + plan.encoder.lookback, int((rows - 1) * (1 - _TEST_SHARE))
    fold = Fold(train=(first, test - gap), test=(test, rows - 1))
    before = int(np.searchsorted(dataset.market.timestamps, fine.timestamps[0])) - gap
    source = (dataset.splits.development[0], before)
    if fold.train[1] - first < gap or source[1] - source[0] < gap:
        raise DataError(
            f"{rows} {settings.fine_timeframe} bars leave {fold.train[1] - first} to train on, and "
            f"{source[1] - source[0]} {dataset.market.schema.timeframe} bars before them to pre-train on, but each "
            f"side needs {gap}; give a longer range."
        )
    target = _freeze(dataset, fine, fold, root=root, bars_manifest=bars_manifest, bars_per_year=bars_per_year)
    return Ground(
        name=f"{settings.fine_timeframe} bars",
        source=_encoder_job(f"transfer, before {settings.fine_timeframe}", dataset, source, plan, root=root),
        target=target,
        there=_encoder_job(f"transfer, {settings.fine_timeframe}", target, fold.train, plan, root=root),
    )


def _encoder_job(name: str, dataset: Dataset, rows: Span, plan: EncoderPlan, *, root: Path) -> EncoderJob:
    return EncoderJob(
        name=name,
        dataset_folder=dataset.folder,
        dataset_key=dataset.key,
        rows=rows,
        encoder=plan.encoder,
        pretraining=plan.pretraining,
        seed=derive_seed(plan.seed, "encoder", name),
        code=code_version("features", "encoder"),
        root=root,
    )


def _columns(market: MarketTable, tickers: tuple[str, ...]) -> MarketTable:
    """The market of some of its tickers."""
    chosen = [market.schema.tickers.index(ticker) for ticker in tickers]
    return MarketTable(
        schema=market.schema.model_copy(update={"tickers": tickers}),
        timestamps=market.timestamps,
        features=market.features[:, chosen],
        open=market.open[:, chosen],
        close=market.close[:, chosen],
        tradable=market.tradable[:, chosen],
        warm_up=market.warm_up,
    )


def _freeze(dataset: Dataset, market: MarketTable, fold: Fold | None, *, root: Path, **facts: Any) -> Dataset:
    """A data set below `root` of one fold or none, without holdout and paper window, because it ends before them."""
    last = len(market) - 1
    config = dataset.config
    splits = Splits(
        rows=len(market),
        gap=dataset.splits.gap,
        folds=() if fold is None else (fold,),
        development=(dataset.splits.development[0] if fold is None else fold.train[0], last),
        holdout=(last, last),
        paper=(last, last),
    )
    known = {"bars_manifest": config.bars_manifest, "bars_per_year": config.bars_per_year, **facts}
    return freeze_dataset(
        root / "datasets", market=market, splits=splits, label=config.label, source=config.source, **known
    )
