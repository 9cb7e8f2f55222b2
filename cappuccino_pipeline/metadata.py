"""What materializations say about themselves: tables of the lake as Dagster metadata."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from cappuccino_ml.lake import LakeTable
from cappuccino_pipeline.table_facts import table_facts

OWNERS = ["team:cappuccino"]


def table_metadata(table: LakeTable, *, label: str) -> dict[str, Any]:
    """Facts of a whole table: rows, range, content hash, folder, and the label of its source."""
    facts = table_facts(table)
    return {
        "source": label,
        "table_rows": facts.rows,
        "table_months": facts.months,
        "table_range": facts.range,
        "table_content_hash": table.manifest_hash(),
        "dagster/uri": dg.MetadataValue.path(str(table.folder)),
    }


def column_schema(frame: pd.DataFrame, descriptions: Mapping[str, str]) -> dg.TableSchema:
    """The columns of `frame` as Dagster shows them."""
    columns = [
        dg.TableColumn(name=str(name), type=str(dtype), description=descriptions.get(str(name)))
        for name, dtype in frame.dtypes.items()
    ]
    return dg.TableSchema(columns=columns)


def picture(path: Path) -> dg.MarkdownMetadataValue:
    """A PNG that the UI shows in place, with the path of its file."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    return dg.MetadataValue.md(f"![{path.stem}](data:image/png;base64,{encoded})\n\n`{path}`")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A table that the UI renders; an empty one says so."""
    if not rows:
        return dg.MetadataValue.md("none")
    lines = [header, ["---"] * len(header), *rows]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))
