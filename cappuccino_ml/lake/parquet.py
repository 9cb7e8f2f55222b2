"""Frames to Parquet bytes and back: the same frame always gives the same bytes."""

import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cappuccino_ml.core import LakeError


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Typed Parquet bytes of `frame` without its index; no time of writing, no path and no pandas version inside."""
    table = pa.table({str(name): _column(frame[name]) for name in frame.columns})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", version="2.6")
    return sink.getvalue()


def _column(column: pd.Series) -> pa.Array:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        # By hand, because pyarrow's own conversion uses a pandas property that is going away.
        moments = column.dt.tz_convert(None).to_numpy()
        return pa.array(moments, type=pa.timestamp(column.dtype.unit, tz=str(column.dtype.tz)))
    return pa.array(column, from_pandas=True)


def from_parquet(data: bytes, *, path: Path) -> pd.DataFrame:
    """The frame in `data`; `path` is for the message.

    Raises:
        LakeError: the bytes are not Parquet.
    """
    try:
        # One small file: without the machinery for data sets and threads it takes a quarter of the time.
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        frame: pd.DataFrame = table.to_pandas(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise LakeError(f"{path} is not a Parquet file ({error}); restore it or materialize it again.") from error
    return frame
