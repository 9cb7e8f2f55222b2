"""Lays out facts for a terminal of any width: a name on the left, words or a small table on the right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cappuccino_ml.reports.blocks import Facts, Points, Section, Table, Text
from cappuccino_ml.reports.terminal import STYLES

if TYPE_CHECKING:
    from rich.console import Group, RenderableType


def screen(title: str, sections: Sequence[Section], *, one_line: bool = False) -> "Group":
    """A heading and the sections below each other; rich wraps words to the width of the terminal it is shown in.

    With `one_line` it cuts each sentence at the edge instead.
    """
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text as Words  # noqa: PLC0415

    overflow: Literal["ellipsis", "fold"] = "ellipsis" if one_line else "fold"
    grid = Grid.grid(padding=(0, 1))
    names = [section.title for section in sections]
    grid.add_column(style="bold", no_wrap=True, min_width=max(map(len, names), default=0))
    grid.add_column(overflow=overflow, no_wrap=one_line)
    for section in sections:
        grid.add_row(Words(section.title), Group(*(_renderable(block) for block in section.blocks)))
    return Group(Words(title, style="bold reverse", no_wrap=one_line, overflow=overflow), grid)


def _renderable(block: object) -> "RenderableType":
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text as Words  # noqa: PLC0415

    match block:
        case Text():
            return Words(block.words, style=STYLES[block.tone])
        case Points():
            return Words("\n".join(block.rows))
        case Facts():
            grid = Grid.grid(padding=(0, 1))
            for name, value in block.rows:
                grid.add_row(Words(name, style="dim"), Words(value))
            return grid
        case Table():
            table = Grid(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            for index, name in enumerate(block.header):
                left = index in block.left
                last = index == len(block.header) - 1
                table.add_column(
                    Words(name), justify="left" if left else "right", no_wrap=not last, overflow="ellipsis"
                )
            for row in block.rows:
                table.add_row(*(Words(cell) for cell in row))
            return table
    raise TypeError(f"{type(block).__name__} has no place on a screen of facts")
