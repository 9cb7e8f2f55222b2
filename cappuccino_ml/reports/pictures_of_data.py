"""Pictures of what goes in: bars and their holes, features, their spread and correlation, where an encoder looks."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars import Universe
from cappuccino_ml.features import MarketTable
from cappuccino_ml.reports.style import BLUE, INK, PALETTE, SKY, VERMILION, canvas, line_of_time

_MAX_POINTS = 700  # a line on 8 inches shows no more
_STRONG = 0.3  # correlations above it get a number
_BANDS = (1, 25, 50, 75, 99)  # percentiles


def coverage(*, frame: pd.DataFrame, universe: Universe, label: str, path: Path) -> Path:
    """Close of every ticker over its first one (log scale); below it from when to when it has bars, and which it lacks.

    `frame` holds long bars as the lake keeps them, holes of any length included.
    """
    title = f"Bars: {len(frame):,} of {len(universe.tickers)} tickers, {universe.timeframe}"
    with canvas(path=path, label=label, title=title, rows=2, height=4.4, ratios=(3, 1), share_x=True) as (price, holes):
        for row, (ticker, symbol) in enumerate(zip(universe.tickers, universe.symbols, strict=True)):
            bars = frame[frame["symbol"] == symbol].sort_values("timestamp")
            if bars.empty:
                continue
            colour = PALETTE[row % len(PALETTE)]
            stamps = bars["timestamp"].dt.tz_convert(None).to_numpy(dtype="datetime64[s]")
            close = bars["close"].to_numpy()
            step = max(1, len(bars) // _MAX_POINTS)
            price.plot(stamps[::step].astype(object), close[::step] / close[0], color=colour, label=ticker, lw=1)
            grid = np.arange(stamps[0], stamps[-1] + 1, np.timedelta64(universe.bar, "s"))
            missing = np.setdiff1d(grid, stamps)
            holes.plot(stamps[[0, -1]].astype(object), [row, row], color=colour, lw=1.5, alpha=0.35)
            holes.scatter(missing.astype(object), np.full(len(missing), row), marker="|", s=34, lw=0.8, color=INK)
            holes.annotate(
                f"{len(missing):,}", (1.005, row), xycoords=("axes fraction", "data"), fontsize=6.5, va="center"
            )
        price.set_yscale("log", base=2)
        price.yaxis.set_major_formatter(lambda value, _: f"{value:g}x" if value >= 1 else f"1/{1 / value:g}")
        price.yaxis.set_minor_formatter(lambda value, _: "")
        price.set_ylabel("close / first close")
        price.set_ylim(top=price.get_ylim()[1] * 2)  # room for the legend
        price.legend(loc="upper left", ncols=len(universe.tickers), columnspacing=1.0, handlelength=1.2)
        holes.set_yticks(range(len(universe.tickers)), universe.tickers, fontsize=7)
        holes.set_ylim(len(universe.tickers) - 0.5, -0.5)
        holes.set_ylabel("missing")
        line_of_time(holes)
    return path


def feature_distributions(*, market: MarketTable, label: str, path: Path) -> Path:
    """Percentiles of every feature per ticker, before scaling, warm-up rows left out: at first there are no others."""
    schema = market.schema
    live = market.features[market.warm_up :]  # (rows, tickers, features)
    shape = (len(_BANDS), len(schema.tickers), len(schema.features))
    low, lower, middle, upper, high = np.percentile(live, _BANDS, axis=0) if len(live) else np.full(shape, np.nan)
    columns = 5
    rows = -(-len(schema.features) // columns)
    title = f"Features before scaling: {len(live):,} rows, median, middle half and 1st to 99th percentile"
    with canvas(path=path, label=label, title=title, rows=rows, columns=columns, height=1.7 * rows) as axes:
        where = np.arange(len(schema.tickers))
        for index, (ax, name) in enumerate(zip(axes, schema.features, strict=False)):
            ax.vlines(where, low[:, index], high[:, index], color=SKY, lw=1.2)
            ax.vlines(where, lower[:, index], upper[:, index], color=BLUE, lw=4.5)
            ax.scatter(where, middle[:, index], color="white", edgecolors=BLUE, linewidths=0.7, s=11, zorder=3)
            ax.set_title(name, fontsize=8, fontweight="normal")
            ax.set_xticks(where, schema.tickers, rotation=90, fontsize=6)
            ax.tick_params(axis="y", labelsize=6.5)
            ax.grid(visible=False, axis="x")
            ax.margins(x=0.08)
        for ax in axes[len(schema.features) :]:
            ax.set_axis_off()
    return path


def feature_correlation(*, market: MarketTable, label: str, path: Path) -> Path:
    """Correlation of features of one ticker, mean over tickers, and of tickers in one feature, mean over features.

    Warm-up rows are left out; a series that never moves has no correlation and is left out of the means.
    """
    import matplotlib  # noqa: PLC0415  (0.5 s, paid only where a picture is drawn)
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415

    schema = market.schema
    tickers, features = len(schema.tickers), len(schema.features)
    live = market.features[market.warm_up :].reshape(-1, tickers * features)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are drawn as nothing
        flat = np.corrcoef(live, rowvar=False) if len(live) > 1 else np.full((tickers * features,) * 2, np.nan)
        pairs = flat.reshape(tickers, features, tickers, features)
        of_features = np.nanmean(np.einsum("nfng->nfg", pairs), axis=0)
        of_tickers = np.nanmean(np.einsum("nfmf->nmf", pairs), axis=2)
    shades = matplotlib.colormaps["RdBu_r"].resampled(21)  # a finer scale would lose its rare colours in a small file
    title = f"Correlation of features before scaling, {len(live):,} rows"
    with canvas(path=path, label=label, title=title, columns=2, height=4.3) as (left, right):
        parts = (
            (left, of_features, schema.features, "features of one ticker (mean over tickers)"),
            (right, of_tickers, schema.tickers, "tickers (mean over features)"),
        )
        for ax, values, names, what in parts:
            image = ax.imshow(values, cmap=shades, vmin=-1, vmax=1)
            ax.set_title(what, fontsize=9)
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            ax.set_yticks(range(len(names)), names, fontsize=7)
            ax.grid(visible=False)
            for (row, column), value in np.ndenumerate(values):
                if row != column and abs(value) >= _STRONG:  # false where it is unknown
                    ink = "white" if abs(value) > 0.65 else INK
                    ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=5.5, color=ink)
        bar = left.figure.colorbar(image, ax=[left, right], fraction=0.02, pad=0.01)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
        bar.set_label("correlation, %", fontsize=8)
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
        image = ax.imshow(share, cmap="Blues", vmin=0.0, vmax=float(share.max()), aspect="auto")
        ax.set_yticks(range(len(tickers)), tickers)
        ax.set_xticks(range(len(features)), features, rotation=35, ha="right", rotation_mode="anchor")
        ax.grid(visible=False)
        row, column = np.unravel_index(int(share.argmax()), share.shape)
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, lw=1.4))
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.03, pad=0.01)
        bar.set_label("times an even share", fontsize=8)
        bar.outline.set_edgecolor(INK)
    return path
