"""The lake: typed Parquet tables, whole or absent, one writer at a time, each with a manifest of its content."""

from cappuccino_ml.lake.parquet import from_parquet, to_parquet
from cappuccino_ml.lake.table import MANIFEST, LakeTable, PartitionEntry

__all__ = ["MANIFEST", "LakeTable", "PartitionEntry", "from_parquet", "to_parquet"]
