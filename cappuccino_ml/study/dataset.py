"""A frozen copy of the market with its splits: what one study, its verdict and its models all refer to by key."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from cappuccino_ml.core import (
    LakeError,
    Settings,
    artifact_folder,
    code_version,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.features import FeatureSchema, MarketTable
from cappuccino_ml.study.splits import Splits

_CONFIG = "dataset.json"


class DatasetConfig(Settings):
    """Where the rows come from and how they are divided; `content` is the digest of the rows, `key` of all the rest."""

    label: str  # "simulated", "files", ...: said on the face of everything made from it
    source: dict[str, Any]  # identity of the bars' source
    bars_manifest: str  # hash of the bars table it was copied from
    feature_schema: FeatureSchema
    first: datetime
    last: datetime
    bars_per_year: float
    splits: Splits
    code: str
    content: str = ""
    key: str = ""


@dataclass(frozen=True)
class Dataset:
    """A frozen data set, opened."""

    folder: Path
    config: DatasetConfig
    market: MarketTable

    @property
    def key(self) -> str:
        """Names the data set wherever it was used."""
        return self.config.key

    @property
    def splits(self) -> Splits:
        """Row spans."""
        return self.config.splits

    def time(self, row: int) -> datetime:
        """Open time of a row, UTC."""
        return cast(datetime, self.market.timestamps[row].item()).replace(tzinfo=UTC)


def freeze_dataset(
    root: Path,
    *,
    market: MarketTable,
    splits: Splits,
    label: str,
    source: dict[str, Any],
    bars_manifest: str,
    bars_per_year: float,
) -> Dataset:
    """Copy `market` below `root` under its key; the same rows, splits and code are the same folder, written once."""
    stamps = market.timestamps
    config = DatasetConfig(
        label=label,
        source=source,
        bars_manifest=bars_manifest,
        feature_schema=market.schema,
        first=cast(datetime, stamps[0].item()).replace(tzinfo=UTC),
        last=cast(datetime, stamps[-1].item()).replace(tzinfo=UTC),
        bars_per_year=bars_per_year,
        splits=splits,
        code=code_version("bars", "features"),
        content=_content(market),
    )
    config = config.model_copy(update={"key": _identify(config)})
    folder = root / config.key
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            market.save(aside)
            write_json(aside / _CONFIG, config)
    return Dataset(folder=folder, config=config, market=market)


def load_dataset(folder: Path, *, key: str | None = None) -> Dataset:
    """Open a frozen data set.

    Args:
        folder: where it is.
        key: the one that is meant, if a certain one is.

    Raises:
        LakeError: the folder is unfinished, altered, or holds another data set than `key`.
    """
    if not is_done(folder):
        raise LakeError(f"{folder} holds no finished data set (no DONE mark); materialize training_dataset again.")
    config = read_settings(DatasetConfig, folder / _CONFIG)
    if key not in (None, config.key):
        raise LakeError(f"{folder} holds data set {config.key}, not {key}; give the folder of that one.")
    market = MarketTable.load(folder, expected=config.feature_schema)
    if _identify(config) != config.key or _content(market) != config.content:
        raise LakeError(
            f"{folder} was altered: it says data set {config.key} and holds {_identify(config)} with rows "
            f"{_content(market)[:12]}; delete it and materialize training_dataset again."
        )
    return Dataset(folder=folder, config=config, market=market)


def _identify(config: DatasetConfig) -> str:
    return digest(config.model_dump(mode="json", exclude={"key"}))[:16]


def _content(market: MarketTable) -> str:
    sha = hashlib.sha256()
    for name in ("timestamps", "features", "open", "close", "tradable"):
        values = getattr(market, name)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, values)  # NaN has many bit patterns, Parquet keeps one
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()
