"""One house style for pictures: colour-blind safe, white paper, the source named on the face, small files."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cappuccino_ml.core import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BYTES = 50_000  # a picture travels inside Dagster's metadata

# Okabe and Ito (2008), without the yellow that white paper swallows
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, "#7F6A00")
INK, FAINT, GRID = "#222222", "#8A8A8A", "#E3E3E3"
ARMS = {"mlp": ORANGE, "ft_scratch": SKY, "ft_pretrained": BLUE}

_DPI = (130, 105, 85, 65, 50)  # the sharpest that fits is taken
_COLOURS = 256
_RC: dict[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


@contextmanager
def canvas(
    *,
    path: Path,
    label: str,
    title: str,
    rows: int = 1,
    columns: int = 1,
    width: float = 8.4,
    height: float = 3.6,
    ratios: Sequence[float] | None = None,
    share_x: bool = False,
) -> Iterator[list["Axes"]]:
    """Axes to draw on, row by row; when the block ends the picture is titled, labelled and written to `path`.

    Args:
        path: PNG file.
        label: of the source of the bars, printed on the picture: it may be copied without its page.
        title: what the picture shows.
        rows: of axes; `columns` likewise.
        width: inches, as `height`.
        ratios: heights of the rows, relative.
        share_x: one x axis for all.
    """
    import matplotlib  # noqa: PLC0415  (0.5 s, paid only where a picture is drawn)
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with matplotlib.rc_context(_RC):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield list(figure.subplots(rows, columns, squeeze=False, height_ratios=ratios, sharex=share_x).flat)
        figure.suptitle(title[:1].upper() + title[1:], x=0.008, ha="left", fontsize=11.5, fontweight="bold")
        figure.supxlabel(f"source of the bars: {label}", x=0.992, ha="right", fontsize=8, color=source_colour(label))
        save(figure, path)


def line_of_time(axes: "Axes") -> None:
    """Dates on the x axis, without repeating the year at every tick."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def whole_numbers(axes: "Axes") -> None:
    """Ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def source_colour(label: str) -> str:
    """Simulated bars are said in colour: no one may take them for a market."""
    return VERMILION if is_simulated(label) else FAINT


def is_simulated(label: str) -> bool:
    """Whether the label of a source says that its bars were made up."""
    return "simulated" in label.lower()


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG of at most 50 kB, as sharp as that allows; the same figure gives the same bytes.

    Raises:
        ValueError: even the coarsest picture is larger; draw fewer things.
    """
    for dpi in _DPI:
        data = _png(figure, dpi)
        if len(data) < MAX_BYTES:
            write_bytes(path, data)
            return path
    raise ValueError(f"{path.name} has {len(data)} bytes at {dpi} dpi, the limit is {MAX_BYTES}; draw fewer things")


def _png(figure: "Figure", dpi: int) -> bytes:
    from PIL import Image  # noqa: PLC0415

    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi, metadata={"Software": None})
    figure.set_layout_engine("none")  # found once; it is the same at every resolution
    picture = Image.open(raw).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    picture.save(small, format="PNG", optimize=True)
    return small.getvalue()
