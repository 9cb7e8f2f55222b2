"""MarketTable: features and prices of a universe on one grid, the one input of training, backtest and trading."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import DataError, LakeError, Settings, read_settings, write_bytes, write_json
from cappuccino_ml.features.frame import arrow_schema, grid_of, long_frame
from cappuccino_ml.features.scaler import Scaler
from cappuccino_ml.features.schema import FEATURES, FEATURES_VERSION, WARM_UP_BARS, FeatureSchema
from cappuccino_ml.features.stationary import latest_features

_TABLE = "market.parquet"
_SCHEMA = "schema.json"


class TableFacts(Settings):
    """What schema.json says about the Parquet file beside it."""

    feature_schema: FeatureSchema
    schema_hash: str
    warm_up: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class MarketTable:
    """T bars by N tickers by F features. Row t is known at the close of bar t; `timestamps` are open times, UTC."""

    schema: FeatureSchema
    timestamps: NDArray[np.datetime64]  # [T], datetime64[us]
    features: NDArray[np.float64]  # [T, N, F], stationary, unscaled
    open: NDArray[np.float64]  # [T, N], quote currency
    close: NDArray[np.float64]  # [T, N]
    tradable: NDArray[np.bool_]  # [T, N], False where the bar was filled in
    warm_up: int = WARM_UP_BARS  # rows before it may hold NaN and are never used

    def __post_init__(self) -> None:
        rows, tickers = len(self.timestamps), len(self.schema.tickers)
        wanted = {"features": (rows, tickers, len(self.schema.features))} | dict.fromkeys(
            ("open", "close", "tradable"), (rows, tickers)
        )
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} of the market table has shape {getattr(self, name).shape}, not {shape}.")
        bad = ~np.isfinite(self.features[self.warm_up :])
        if bad.any():
            row, ticker, feature = np.argwhere(bad)[0]
            name = f"{self.schema.features[feature]} of {self.schema.tickers[ticker]}"
            raise DataError(
                f"{name} at {self.timestamps[self.warm_up + row]}Z is "
                f"not finite after {self.warm_up} warm-up bars; re-run indicators for that month."
            )

    def __len__(self) -> int:
        return len(self.timestamps)

    @classmethod
    def from_panel(cls, panel: BarPanel) -> "MarketTable":
        """Compute the features of `panel`; warm-up is its first 300 rows."""
        return cls(
            schema=FeatureSchema.of(panel.universe),
            timestamps=panel.timestamps.astype("datetime64[us]"),
            features=latest_features(panel),
            open=panel.open,
            close=panel.close,
            tradable=~panel.is_filled,
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, schema: FeatureSchema, *, warm_up: int = WARM_UP_BARS) -> "MarketTable":
        """The table of all partitions put together; rows are placed by symbol and timestamp, never by position.

        Args:
            frame: as `to_frame` gives it, rows in any order.
            schema: the tickers wanted, in the order wanted.
            warm_up: rows at the start of the whole frame that are never used.

        Raises:
            DataError: a column, symbol or hour is missing, unknown, double or off the grid.
        """
        timestamps, order = grid_of(frame, schema)
        shape = (len(timestamps), len(schema.tickers))
        return cls(
            schema=schema,
            timestamps=timestamps,
            features=frame[list(schema.features)].to_numpy(dtype=np.float64)[order].reshape(*shape, -1),
            open=frame["open_price"].to_numpy(dtype=np.float64)[order].reshape(shape),
            close=frame["close_price"].to_numpy(dtype=np.float64)[order].reshape(shape),
            tradable=frame["tradable"].to_numpy(dtype=np.bool_)[order].reshape(shape),
            warm_up=warm_up,
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per bar and symbol, by time, with the columns `frame_columns(schema)`."""
        return long_frame(
            self.schema,
            timestamps=self.timestamps,
            features=self.features,
            open_price=self.open,
            close_price=self.close,
            tradable=self.tradable,
        )

    def slice(self, first: int, stop: int) -> "MarketTable":
        """Rows first..stop-1, both within 0..T; warm-up rows that were cut off no longer count."""
        if not 0 <= first <= stop <= len(self):
            raise DataError(f"rows {first} to {stop} are not within the {len(self)} rows of the market table.")
        rows = slice(first, stop)
        return MarketTable(
            schema=self.schema,
            timestamps=self.timestamps[rows],
            features=self.features[rows],
            open=self.open[rows],
            close=self.close[rows],
            tradable=self.tradable[rows],
            warm_up=max(0, self.warm_up - first),
        )

    def scaled(self, scaler: Scaler) -> NDArray[np.float32]:
        """Scaled features [T, N, F], finite throughout: warm-up rows, which are never used, are 0."""
        result = np.zeros(self.features.shape, dtype=np.float32)
        result[self.warm_up :] = scaler.transform(self.features[self.warm_up :])
        return result

    def save(self, folder: Path) -> None:
        """Write market.parquet, then schema.json. The same table gives the same bytes."""
        frame = self.to_frame()
        frame["timestamp"] = frame["timestamp"].dt.tz_localize(None)  # already UTC, and so named by the Arrow type
        table = pa.Table.from_pandas(frame, preserve_index=False).cast(arrow_schema(self.schema))
        sink = pa.BufferOutputStream()
        # pandas' own metadata names library versions, which must not change the bytes
        pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        write_bytes(folder / _TABLE, data)
        facts = TableFacts(
            feature_schema=self.schema,
            schema_hash=self.schema.hash,
            warm_up=self.warm_up,
            rows=len(self),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        write_json(folder / _SCHEMA, facts)

    @classmethod
    def load(cls, folder: Path, *, expected: FeatureSchema | None = None) -> "MarketTable":
        """Read what `save` wrote.

        Args:
            folder: holds market.parquet and schema.json.
            expected: the schema the caller needs, if it needs a certain one.

        Raises:
            SchemaMismatch: made with other feature definitions than this code's, or not `expected`; names both sides.
            ConfigurationError: schema.json is absent or has unknown keys.
            LakeError: market.parquet is absent, or not the one that schema.json describes.
        """
        facts = read_settings(TableFacts, folder / _SCHEMA)
        schema = facts.feature_schema
        what = f"the market table in {folder}"
        current = schema.model_copy(update={"features": FEATURES, "version": FEATURES_VERSION})
        (expected or current).require_same(schema, what=what)
        current.require_same(schema, what=what)
        try:
            data = (folder / _TABLE).read_bytes()
        except OSError as error:
            raise LakeError(f"cannot read {folder / _TABLE}: {error.strerror}; materialize it again.") from error
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 != facts.sha256:
            raise LakeError(
                f"{folder / _TABLE} has sha256 {sha256[:12]}, but {_SCHEMA} says {facts.sha256[:12]}; "
                "materialize it again."
            )
        frame = pq.read_table(pa.BufferReader(data)).to_pandas()
        return cls.from_frame(frame, schema, warm_up=facts.warm_up)
