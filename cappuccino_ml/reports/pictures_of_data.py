"""Pictures of what goes in: bars and their holes, features and their spread, where an encoder looks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars import BarPanel
from cappuccino_ml.features import MarketTable
from cappuccino_ml.reports.style import BLUE, INK, PALETTE, SKY, VERMILION, canvas, line_of_time

_MAX_POINTS = 700  # a line on 8 inches shows no more
_BANDS = (1, 25, 50, 75, 99)  # percentiles


def coverage(*, panel: BarPanel, label: str, path: Path) -> Path:
    """Close of every ticker over its first one (log scale), and below it the bars that had to be filled in."""
    tickers = panel.universe.tickers
    step = max(1, len(panel) // _MAX_POINTS)
    times = panel.timestamps.astype("datetime64[s]").astype(object)
    title = f"Bars: {len(panel):,} per ticker, {panel.universe.timeframe}, {panel.is_filled.mean():.2%} filled in"
    with canvas(path=path, label=label, title=title, rows=2, height=4.4, ratios=(3, 1), share_x=True) as (price, holes):
        for column, ticker in enumerate(tickers):
            colour = PALETTE[column % len(PALETTE)]
            ratio = panel.close[::step, column] / panel.close[0, column]
            price.plot(times[::step], ratio, color=colour, label=ticker, lw=1)
            filled = times[panel.is_filled[:, column]]
            holes.scatter(filled, np.full(len(filled), column), marker="|", s=26, lw=0.6, color=colour)
        price.set_yscale("log", base=2)
        price.yaxis.set_major_formatter(lambda value, _: f"{value:g}x" if value >= 1 else f"1/{1 / value:g}")
        price.yaxis.set_minor_formatter(lambda value, _: "")
        price.set_ylabel("close / first close")
        price.legend(loc="upper left", ncols=len(tickers), columnspacing=1.0, handlelength=1.2)
        holes.set_yticks(range(len(tickers)), tickers, fontsize=7)
        holes.set_ylim(len(tickers) - 0.5, -0.5)
        holes.set_ylabel("filled in")
        line_of_time(holes)
    return path


def feature_distributions(*, market: MarketTable, label: str, path: Path) -> Path:
    """Percentiles of every feature per ticker, before scaling, warm-up rows left out."""
    schema = market.schema
    live = market.features[market.warm_up :]  # (rows, tickers, features)
    low, lower, middle, upper, high = np.nanpercentile(live, _BANDS, axis=0)  # each (tickers, features)
    columns = 5
    rows = -(-len(schema.features) // columns)
    title = f"Features before scaling: {len(live):,} rows, median, middle half and 1st to 99th percentile"
    with canvas(path=path, label=label, title=title, rows=rows, columns=columns, height=1.7 * rows) as axes:
        where = np.arange(len(schema.tickers))
        for index, (ax, name) in enumerate(zip(axes, schema.features, strict=False)):
            ax.vlines(where, low[:, index], high[:, index], color=SKY, lw=1.2)
            ax.vlines(where, lower[:, index], upper[:, index], color=BLUE, lw=4.5)
            ax.scatter(where, middle[:, index], color="white", s=7, zorder=3)
            ax.set_title(name, fontsize=8, fontweight="normal")
            ax.set_xticks(where, schema.tickers, rotation=90, fontsize=6)
            ax.tick_params(axis="y", labelsize=6.5)
            ax.grid(visible=False, axis="x")
            ax.margins(x=0.08)
        for ax in axes[len(schema.features) :]:
            ax.set_axis_off()
    return path


def attention(
    *, weights: NDArray[np.floating], tickers: Sequence[str], features: Sequence[str], label: str, path: Path
) -> Path:
    """Heatmap of attention weights [N, F], as multiples of an even share; it shows no effect on a decision."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    shape = (len(tickers), len(features))
    if weights.shape != shape or not np.isfinite(weights).all() or not weights.sum() > 0:
        raise ValueError(f"attention weights of shape {weights.shape} must be finite, {shape}, with a sum above 0")
    share = weights / weights.sum() * weights.size
    title = "Where the encoder looks (attention: not what changes a decision)"
    with canvas(path=path, label=label, title=title, height=0.36 * len(tickers) + 1.7) as (ax,):
        # Light is little, dark is much; the scale starts at 0 so that an even encoder looks even.
        image = ax.imshow(share, cmap="Blues", vmin=float(share.min()), vmax=float(share.max()), aspect="auto")
        ax.set_yticks(range(len(tickers)), tickers)
        ax.set_xticks(range(len(features)), features, rotation=35, ha="right", rotation_mode="anchor")
        ax.grid(visible=False)
        row, column = np.unravel_index(int(share.argmax()), share.shape)
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, lw=1.4))
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.03, pad=0.01)
        bar.set_label("times an even share", fontsize=8)
        bar.outline.set_edgecolor(INK)
    return path
