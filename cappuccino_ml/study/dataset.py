"""A frozen copy of the market with its splits: what one study, its verdict and its models all refer to by key."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
_VOLUME = "volume.parquet"


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
    volume: NDArray[np.float64] | None = None  # base units [T, N]; what capacity is stated from

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


def bars_identity(config: dict[str, Any]) -> dict[str, Any]:
    """Which bars a data set (its dataset.json) is about: those that one study has seen are seen in any other shape.

    Neither timeframe, splits nor order of tickers matter, nor whether long bars were built from hours.
    """
    source = {name: value for name, value in config["source"].items() if name != "built_from"}
    return {"source": source, "tickers": sorted(config["feature_schema"]["tickers"])}


def freeze_dataset(
    root: Path,
    *,
    market: MarketTable,
    splits: Splits,
    label: str,
    source: dict[str, Any],
    bars_manifest: str,
    bars_per_year: float,
    volume: NDArray[np.float64] | None = None,
) -> Dataset:
    """Copy `market` below `root` under its key; the same rows, splits and code are the same folder, written once.

    `volume`, base units [T, N], is frozen with it, so that later revisions cannot change a stated capacity.

    Raises:
        ValueError: `volume` has not the shape of the market.
    """
    if volume is not None and volume.shape != market.close.shape:
        raise ValueError(f"volume of shape {volume.shape} for a market of {market.close.shape}; pass the same rows")
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
        content=_content(market, volume),
    )
    config = config.model_copy(update={"key": _identify(config)})
    folder = root / config.key
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            market.save(aside)
            if volume is not None:
                pd.DataFrame(volume, columns=list(market.schema.tickers)).to_parquet(aside / _VOLUME)
            write_json(aside / _CONFIG, config)
    return Dataset(folder=folder, config=config, market=market, volume=volume)


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
    frozen = folder / _VOLUME
    volume = pd.read_parquet(frozen).to_numpy(dtype=np.float64) if frozen.is_file() else None
    if _identify(config) != config.key or _content(market, volume) != config.content:
        raise LakeError(
            f"{folder} was altered: it says data set {config.key} and holds {_identify(config)} with rows "
            f"{_content(market, volume)[:12]}; delete it and materialize training_dataset again."
        )
    return Dataset(folder=folder, config=config, market=market, volume=volume)


def _identify(config: DatasetConfig) -> str:
    return digest(config.model_dump(mode="json", exclude={"key"}))[:16]


def _content(market: MarketTable, volume: NDArray[np.float64] | None) -> str:
    sha = hashlib.sha256()
    columns = [getattr(market, name) for name in ("timestamps", "features", "open", "close", "tradable")]
    for column in [*columns, *([] if volume is None else [volume])]:
        # NaN has many bit patterns, Parquet keeps one.
        values = np.where(np.isnan(column), np.nan, column) if column.dtype.kind == "f" else column
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()
