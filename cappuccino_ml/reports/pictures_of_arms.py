"""Pictures that set the arms beside each other: net Sharpe against environment steps, what drives their decisions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.reports.attribution import Attribution
from cappuccino_ml.reports.style import ARMS, FAINT, INK, PALETTE, VERMILION, canvas
from cappuccino_ml.verdict import SampleEfficiency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_MARKED = 5  # drivers that get a number
_MOST_NUMBERS = 10  # a table of more tickers is coloured only


def sample_efficiency(*, judged: SampleEfficiency, path: Path) -> Path:
    """Each run a dot, each arm's mean a line, its 95% interval over seeds a band; the steps on a log scale."""
    several = f", {judged.markets} markets" if judged.markets > 1 else ""
    runs = len(judged.points[0].sharpes)
    title = f"Sample efficiency: net Sharpe after so many environment steps ({runs} runs each{several})"
    with canvas(path=path, label=judged.label, title=title, height=3.8) as (ax,):
        for index, arm in enumerate(dict.fromkeys(point.arm for point in judged.points)):
            points = [point for point in judged.points if point.arm == arm]
            colour = ARMS.get(arm, PALETTE[index % len(PALETTE)])
            steps = [point.steps for point in points]
            bands = [point.over_seeds for point in points]
            if all(bands):
                low, high = zip(*(band for band in bands if band), strict=True)
                ax.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
            shift = 1.0 + 0.025 * (index - 1)  # side by side, or the dots would hide each other
            for point in points:
                ax.scatter([point.steps * shift] * runs, point.sharpes, color=colour, s=9, alpha=0.7)
            ax.plot(steps, [point.mean for point in points], color=colour, marker="o", ms=4, label=arm)
        ax.axhline(0, color=FAINT, lw=0.8)
        ax.set_xscale("log")
        ax.set_xticks(sorted({point.steps for point in judged.points}))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
        ax.minorticks_off()
        ax.set_xlabel("environment steps of training")
        ax.set_ylabel("net Sharpe a year, unseen rows")
        ax.legend(loc="best")
    return path


def drivers(*, attributions: Sequence[Attribution], label: str, path: Path) -> Path:
    """What moves the actions of each agent, agents side by side: by series, by ticker acted on, and by ticker alone.

    Args:
        attributions: one or two agents on the same universe.
        label: source of the bars.
        path: PNG file.

    Raises:
        ValueError: there are no agents, or they read other tickers or features than the first one.
    """
    if not attributions or len({(one.tickers, one.features) for one in attributions}) > 1:
        raise ValueError("the drivers of one or more agents on one universe can be drawn; give those")
    tickers, features = attributions[0].tickers, attributions[0].features
    shares = [one.shares() for one in attributions]
    even = len(tickers) * len(features)
    top = max(1.0, *(float(share.sum(axis=0).max()) * even for share in shares))
    heights = (0.21 * len(features), 0.21 * len(tickers), 1.1)
    title = "What drives the decisions: integrated gradients of the actions"
    columns = len(attributions)
    with canvas(
        path=path, label=label, title=title, rows=3, columns=columns, height=sum(heights) + 2.1, ratios=heights
    ) as axes:
        series, pairs, totals = (axes[row * columns : (row + 1) * columns] for row in range(3))
        reach = 0.0
        for column, (one, share) in enumerate(zip(attributions, shares, strict=True)):
            image = _heat_map(series[column], share.sum(axis=0).T * even, top=top)
            _number_largest(series[column], share.sum(axis=0).T)
            series[column].set_title(f"{one.arm}: feature read, 1 to {_MARKED} the largest")
            rows = share.sum(axis=2)
            rows = rows / np.maximum(rows.sum(axis=1, keepdims=True), np.finfo(float).tiny)
            _heat_map(pairs[column], rows, top=max(float(rows.max()), 2.5 / len(tickers)), numbers=True)
            pairs[column].set_title("each action: share of the tickers read, %")
            reach = max(reach, _totals(totals[column], one, share))
            for ax, names in ((series[column], features), (pairs[column], tickers)):
                ax.set_yticks(range(len(names)), names if column == 0 else [""] * len(names), fontsize=7)
        for ax in axes:
            ax.set_title(ax.get_title(loc="left"), fontsize=9)
            ax.set_xticks(range(len(tickers)), tickers, fontsize=7)
            ax.set_xlim(-0.5, len(tickers) - 0.5)
        for ax in totals:
            ax.set_ylim(0, 1.3 * reach)
            ax.set_xlabel("ticker read", fontsize=8)
        bar = axes[0].figure.colorbar(image, ax=series, fraction=0.03, pad=0.01)
        bar.set_label("times an even share", fontsize=8)
    return path


def _heat_map(ax: "Axes", values: NDArray[np.float64], *, top: float, numbers: bool = False) -> "AxesImage":
    """Light is little, dark is much, from 0 on: an even agent looks even."""
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    ax.grid(visible=False)
    if numbers and len(values) <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value > 0.6 * top else INK
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=ink)
    return image


def _number_largest(ax: "Axes", values: NDArray[np.float64]) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    for place, flat in enumerate(np.argsort(-values, axis=None, kind="stable")[:_MARKED], start=1):
        row, column = np.unravel_index(flat, values.shape)
        ax.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=VERMILION, lw=1.4))
        ink = "white" if values[row, column] > 0.6 * values.max() else INK
        ax.text(column, row, str(place), ha="center", va="center", fontsize=7, fontweight="bold", color=ink)


def _totals(ax: "Axes", one: Attribution, shares: NDArray[np.float64]) -> float:
    """Shares by ticker read, in percent, beside those of attention; returns the largest."""
    where = np.arange(len(one.tickers))
    found = 100 * shares.sum(axis=(0, 2))
    ax.bar(where, found, width=0.6, color=ARMS.get(one.arm, PALETTE[0]), label="moves the actions")
    attention = one.attention()
    seen = None if attention is None else 100 * attention.sum(axis=1)
    if seen is not None:
        ax.scatter(where, seen, marker="D", s=18, color=INK, zorder=3, label="attention rollout")
    ax.set_title("all actions, %" + ("" if seen is not None else " (an mlp has no attention)"))
    ax.grid(visible=False, axis="x")
    ax.legend(loc="upper center", ncols=2, fontsize=7)
    return float(max(found.max(), 0.0 if seen is None else seen.max(), 1.0))
