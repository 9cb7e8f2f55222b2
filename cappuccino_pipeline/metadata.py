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

Table = dg.MarkdownMetadataValue | dg.TextMetadataValue


def table_metadata(table: LakeTable, *, label: str) -> dict[str, Any]:
    """Facts of a whole table: rows, range, content hash, folder, and the label of its source."""
    facts = table_facts(table)
    return {
        "source": label,
        "table_rows": facts.rows,
        "table_months": facts.months,
        "table_range": facts.range,
        "table_content_hash": table.manifest_hash()[:16],
        "dagster/uri": dg.MetadataValue.path(str(table.folder)),
    }


def link(text: str, url: str) -> dg.MarkdownMetadataValue:
    """A link to click on; a bare address is wider than an asset's page and pushes the other values out of sight."""
    return dg.MetadataValue.md(f"[{text}]({url})")


def mlflow_pages(facts: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Links to a version's page, where its aliases are set, and to its run; `facts` are the registry's."""
    return {
        "mlflow_version": link(f"version {facts['version']}", facts["version_url"]),
        "mlflow_run": link(f"run {facts['run_id'][:8]}", facts["run_url"]),
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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table that the UI renders; an empty one says so, as text: a check's page hides Markdown behind a click."""
    if not rows:
        return dg.MetadataValue.text("none")
    lines = [header, ["---"] * len(header), *rows]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))
