"""What a page is made of, before it is a page: terminal and HTML lay out the same blocks, so they say the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Tone = Literal["plain", "quiet", "good", "bad", "warning"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    words: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Points:
    """A list of short statements."""

    rows: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names and values, one a line."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table; columns named in `left` hold words, the others numbers. `strong` rows are the ones to look at."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int] = frozenset({0})
    strong: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture below its heading, embedded in the HTML page; a terminal leaves it out."""

    path: Path
    heading: str
    caption: str


@dataclass(frozen=True)
class Link:
    """A line that leads somewhere."""

    name: str
    url: str


Block = Text | Points | Facts | Table | Picture | Link


@dataclass(frozen=True)
class Section:
    """One stage of the way of the data."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)
