"""Lays out blocks as text for a terminal: 110 columns, colours only where asked for."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cappuccino_ml.reports.blocks import Block, Facts, Link, Picture, Points, Section, Table, Text

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 110
_LONGEST_WORD = 24  # longer ones, such as paths, are folded
STYLES = {"plain": "", "quiet": "dim", "good": "bold green", "bad": "bold red", "warning": "bold yellow"}


def sheet(*, title: str, subtitle: str, lead: Sequence[Text], sections: Sequence[Section], colour: bool) -> str:
    """All sections, numbered from 1, below a frame with the title and what no one may miss."""
    from rich.box import ROUNDED  # noqa: PLC0415
    from rich.console import Console, Group  # noqa: PLC0415
    from rich.panel import Panel  # noqa: PLC0415
    from rich.rule import Rule  # noqa: PLC0415
    from rich.text import Text as Words  # noqa: PLC0415

    file = io.StringIO()
    console = Console(
        file=file,
        width=WIDTH,
        color_system="standard" if colour else None,
        force_terminal=colour,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},  # what is printed must not depend on COLUMNS or the like
    )
    first = [Words(text.words, style=STYLES[text.tone]) for text in lead]
    console.print(
        Panel(Group(*first), title=Words(f"{title}  {subtitle}"), title_align="left", box=ROUNDED, padding=(0, 1))
    )
    for number, section in enumerate(sections, start=1):
        console.print()
        console.print(Rule(Words(f"{number} {section.title}", style="bold"), align="left", style="dim"))
        shown = [block for block in section.blocks if not isinstance(block, Picture)]
        for place, block in enumerate(shown):
            if place and (isinstance(block, Table) or isinstance(shown[place - 1], Table)):
                console.print()
            _print(console, block)
    lines = file.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _print(console: "Console", block: Block) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text as Words  # noqa: PLC0415

    match block:
        case Text():
            console.print(Padding(Words(block.words, style=STYLES[block.tone]), (0, 1)))
        case Points():
            grid = Grid.grid(padding=(0, 1))
            for row in block.rows:
                grid.add_row(Words("-"), Words(row))
            console.print(Padding(grid, (0, 1)))
        case Facts():
            grid = Grid.grid(padding=(0, 2))
            grid.add_column(style="dim", min_width=18)
            grid.add_column(overflow="fold")
            for name, value in block.rows:
                grid.add_row(Words(name), Words(value))
            console.print(Padding(grid, (0, 1)))
        case Table():
            console.print(_table(block))
            if block.caption:
                console.print(Padding(Words(block.caption, style="dim"), (0, 1)))
        case Link():
            console.print(Padding(Words(f"{block.name}: {block.url}"), (0, 1)))
        case Picture():
            pass


def _table(block: Table) -> "object":
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415
    from rich.text import Text as Words  # noqa: PLC0415

    rows = [
        [f"> {cell}" if index in block.strong and place == 0 else cell for place, cell in enumerate(row)]
        for index, row in enumerate(block.rows)
    ]
    table = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=True, padding=(0, 1), header_style="bold")
    for index, name in enumerate(block.header):
        words, cells = index in block.left, [row[index] for row in rows]
        # Headers and sentences may be broken between words; a word or a number never is.
        whole = [part for cell in cells for part in cell.split()] + name.split() if words else cells
        width = min(max(map(len, whole), default=0), _LONGEST_WORD)
        table.add_column(Words(name), justify="left" if words else "right", min_width=width, overflow="fold")
    for index, row in enumerate(rows):
        table.add_row(*map(Words, row), style="bold" if index in block.strong else None)
    return table
