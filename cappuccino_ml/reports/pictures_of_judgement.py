"""Pictures of what came of it: equity on the holdout, Sharpe ratios with intervals, the paper session, its trades."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.reports.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    PINK,
    SKY,
    VERMILION,
    canvas,
    line_of_time,
)
from cappuccino_ml.reports.words import interval, policy_name, share, signed
from cappuccino_ml.trading.paper import PaperReport
from cappuccino_ml.trading.session import SessionReport
from cappuccino_ml.verdict import CrossValidationReport, RegimeTable, ValidationReport

_FINALISTS = ("ft", "mlp", "champion")
_SHADES = {"bull": GREEN, "bear": VERMILION}
_COLOURS = {
    "ft": BLUE,
    "mlp": ORANGE,
    "champion": VERMILION,
    "equal_weight": GREEN,
    "buy_and_hold": PINK,
    "bitcoin": "#7F6A00",
    "ridge": SKY,
    "momentum": "#5A4FCF",
    "inverse_volatility": "#7A7A7A",
    "random": "#B8B8B8",
    "cash": INK,
}
_MAX_POINTS = 500


def verdict_pictures(report: ValidationReport, frame: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Every picture of a verdict, written into `folder`, by name; none of cross-validation where there was none."""
    made = {
        "equity": equity(
            frame=frame,
            candidate=report.candidate,
            label=report.label,
            path=folder / "equity.png",
            regimes=report.regimes,
        ),
        "intervals": intervals(report=report, path=folder / "intervals.png"),
    }
    if report.cross_validation.finalists:
        made["cross_validation"] = cross_validation(
            found=report.cross_validation, label=report.label, path=folder / "cross_validation.png"
        )
    return made


def equity(*, frame: pd.DataFrame, candidate: str, label: str, path: Path, regimes: RegimeTable | None = None) -> Path:
    """Growth of 1 on the holdout, net of costs, and the candidate's drawdown beside its rivals'.

    Args:
        frame: net returns per bar, index open times, a column per policy; columns with `@` or `#` are left out.
        candidate: its column, drawn bold.
        label: source of the bars.
        path: PNG file.
        regimes: shades bull and bear spells of these bars.

    Raises:
        ValueError: the frame has no such column.
    """
    policies = [str(name) for name in frame.columns if not set("@#") & set(str(name))]
    if candidate not in policies:
        raise ValueError(f"the holdout has no policy {candidate!r}; its policies are {', '.join(policies)}")
    growth = (1.0 + frame[policies]).cumprod()
    fall = growth / growth.cummax().clip(lower=1.0) - 1.0
    step = max(1, len(frame) // _MAX_POINTS)
    times = frame.index.to_numpy()
    bold = [name for name in _FINALISTS if name in policies]
    bold = [candidate, *(name for name in bold if name != candidate)]
    end = {name: float(growth[name].to_numpy(dtype=np.float64)[-1]) for name in policies}
    order = sorted(policies, key=lambda name: -end[name])
    title = f"Holdout, net of costs: {len(frame):,} bars"
    with canvas(path=path, label=label, title=title, rows=2, height=4.8, ratios=(2.6, 1), share_x=True) as (up, down):
        for index, name in enumerate(order):
            width = 2.6 if name == candidate else 1.7 if name in bold else 0.8
            up.plot(
                times[::step],
                growth[name].to_numpy()[::step],
                color=_COLOURS.get(name, PALETTE[index % len(PALETTE)]),
                lw=width,
                ls="--" if name in ("cash", "random") else "-",
                zorder=5 if name == candidate else 3 if name in bold else 2,
                label=f"{policy_name(name)} {share(end[name] - 1.0)}",
            )
        up.set_ylabel("equity / start")
        spells = [spell for spell in regimes.spells if spell.regime in _SHADES] if regimes else []
        for spell in spells:
            for ax in (up, down):
                ends = times[spell.first], times[spell.last - 1]
                ax.axvspan(*ends, color=_SHADES[spell.regime], alpha=0.07, lw=0, zorder=0)
        for regime in sorted({spell.regime for spell in spells}):
            up.fill_between([], [], color=_SHADES[regime], alpha=0.25, lw=0, label=f"{regime} market")
        legend = up.legend(loc="center left", bbox_to_anchor=(1.0, 0.4), title="total return", title_fontsize=8)
        legend.get_texts()[order.index(candidate)].set_fontweight("bold")
        for name in [*bold, *(["equal_weight"] if "equal_weight" in policies else [])]:
            lost = 100 * fall[name].to_numpy()[::step]
            down.plot(times[::step], lost, color=_COLOURS[name], lw=2 if name == candidate else 1)
            if name == candidate:
                down.fill_between(times[::step], lost, 0, color=_COLOURS[name], alpha=0.15, lw=0)
        down.set_ylabel("drawdown, %")
        line_of_time(down)
    return path


def intervals(*, report: ValidationReport, path: Path) -> Path:
    """Annual net Sharpe of every policy on the holdout with its 95% interval, best on top; FT less MLP above all."""
    rows = sorted(report.rows, key=lambda row: row.performance.annual_sharpe)
    bars = report.rows[0].performance.bars
    title = f"Net Sharpe a year on {bars:,} holdout bars, with 95% intervals"
    with canvas(path=path, label=report.label, title=title, height=0.3 * len(rows) + 1.3) as (ax,):
        ax.axvline(0, color=INK, lw=0.9)
        for place, row in enumerate(rows):
            value = row.performance.annual_sharpe
            mine = row.name == report.candidate
            colour = _COLOURS[row.name] if row.name in _FINALISTS else FAINT
            if row.interval is not None:
                ax.hlines(place, *row.interval, color=colour, lw=3.2 if mine else 1.8)
                note = f"{signed(value)}  ({interval(row.interval)})"
            else:
                note = f"{signed(value)}  (no interval)"
            ax.scatter(value, place, color=colour, s=44 if mine else 24, zorder=3)
            ax.annotate(
                note, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7.5,
                fontweight="bold" if mine else "normal",
            )  # fmt: skip
        names = [policy_name(row.name) + (" (candidate)" if row.name == report.candidate else "") for row in rows]
        test = report.ft_against_mlp.test if report.ft_against_mlp is not None else None
        if test is not None:
            top = len(rows) + 0.4
            ax.axhline(len(rows) - 0.3, color=FAINT, lw=0.8)
            ax.hlines(top, *test.interval, color=INK, lw=1.8)
            ax.scatter(test.difference, top, color=INK, marker="D", s=30, zorder=3)
            note = f"{signed(test.difference)}  ({interval(test.interval)})"
            ax.annotate(note, (1.01, top), xycoords=("axes fraction", "data"), va="center", fontsize=7.5)
            names.append("FT less MLP")
        ax.set_yticks([*range(len(rows)), *([len(rows) + 0.4] if test is not None else [])], names)
        ax.set_xlabel("annual Sharpe, net of costs")
        ax.grid(visible=False, axis="y")
    return path


def cross_validation(*, found: CrossValidationReport, label: str, path: Path) -> Path:
    """Annual net Sharpe of every combinatorial path by finalist and seed, with the interval of the mean.

    Raises:
        ValueError: no finalist was cross-validated.
    """
    if not found.finalists:
        raise ValueError(f"no finalist was cross-validated: {'; '.join(found.obstacles)}")
    title = f"{found.paths} combinatorial paths over {found.bars:,} development bars, net Sharpe a year"
    with canvas(path=path, label=label, title=title, height=0.75 * len(found.finalists) + 1.4) as (ax,):
        ax.axvline(0, color=INK, lw=0.9)
        if found.equal_weight is not None:
            ax.axvline(found.equal_weight, color=GREEN, lw=1.2, ls="--", label="equal weight")
        for place, finalist in enumerate(reversed(found.finalists)):
            colour = _COLOURS[finalist.side]
            for seed, sharpes in enumerate(finalist.sharpes):
                height = place + 0.14 + 0.5 * (seed + 0.5) / found.seeds
                ax.scatter(sharpes, [height] * len(sharpes), color=colour, s=16, alpha=0.8, zorder=3)
            if finalist.interval is not None:
                ax.hlines(place, *finalist.interval, color=colour, lw=3)
            ax.scatter(finalist.mean, place, color=colour, s=44, zorder=4, marker="D")
        names = [f"{policy_name(finalist.side)} ({finalist.arm})" for finalist in reversed(found.finalists)]
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(-0.4, len(names))
        ax.set_xlabel(f"annual Sharpe, net of costs; small dots: paths, one line of them per seed ({found.seeds})")
        ax.grid(visible=False, axis="y")
        if found.equal_weight is not None:
            ax.legend(loc="lower right")
    return path


def session(*, equity: pd.DataFrame, report: PaperReport, label: str, path: Path) -> Path:
    """Equity of the trader and of the backtest of the same bars, and the gap between the two in bps of the start.

    Args:
        equity: columns `timestamp`, `trader`, `backtest`.
        report: the session's.
        label: source of the bars.
        path: PNG file.
    """
    times = equity["timestamp"].to_numpy()
    trader, backtest = equity["trader"].to_numpy(dtype=np.float64), equity["backtest"].to_numpy(dtype=np.float64)
    facts = report.session.comparison
    title = f"{report.session.label}: {facts.bars:,} bars, {facts.fills} fills, {report.decision.outcome}"
    with canvas(path=path, label=label, title=title, rows=2, height=3.8, ratios=(2.4, 1), share_x=True) as (top, low):
        top.plot(times, backtest / backtest[0], color=ORANGE, lw=3.4, label="backtest of the same bars")
        top.plot(times, trader / trader[0], color=BLUE, lw=1.3, label="trader")
        top.set_ylabel("equity / start")
        top.legend(loc="best")
        gap = 1e4 * (trader / trader[0] - backtest / backtest[0])
        low.plot(times, gap, color=INK, lw=1)
        low.axhline(0, color=FAINT, lw=0.8)
        # A rounding error must not fill the panel as if it were a gap.
        reach = max(0.1, 1.2 * float(np.abs(gap).max()))
        low.set_ylim(-reach, reach)
        low.set_ylabel("gap, bps")
        line_of_time(low)
    return path


def session_trades(
    *,
    times: NDArray[np.datetime64],
    close: NDArray[np.float64],
    fills: pd.DataFrame,
    report: SessionReport,
    tickers: Sequence[str],
    label: str,
    path: Path,
) -> Path:
    """The session's fills on the price of each ticker; the larger the mark, the larger the trade.

    Args:
        times: open times of the session's bars [K].
        close: closes [K, N], quote currency.
        fills: columns `timestamp`, `ticker`, `side`, `quantity`, `price`.
        report: the session's.
        tickers: N names.
        label: source of the bars.
        path: PNG file.
    """
    notional = fills["quantity"] * fills["price"]
    scale = 60.0 / float(notional.max()) if len(fills) else 1.0
    columns = 2 if len(tickers) > 1 else 1
    rows = -(-len(tickers) // columns)
    title = f"{report.label}: {len(fills)} fills on the price (up: bought, down: sold)"
    with canvas(
        path=path, label=label, title=title, rows=rows, columns=columns, height=1.35 * rows + 0.6, share_x=True
    ) as axes:
        for column, (ax, ticker) in enumerate(zip(axes, tickers, strict=False)):
            ax.plot(times, close[:, column], color=FAINT, lw=0.9, zorder=1)
            mine = fills["ticker"] == ticker
            counts = []
            for side, marker, colour in (("buy", "^", BLUE), ("sell", "v", VERMILION)):
                chosen = mine & (fills["side"] == side)
                ax.scatter(
                    fills.loc[chosen, "timestamp"].to_numpy(), fills.loc[chosen, "price"], marker=marker, color=colour,
                    s=10 + scale * notional[chosen], linewidths=0.4, edgecolors="white", zorder=3,
                )  # fmt: skip
                counts.append(f"{int(chosen.sum())} {side if chosen.sum() == 1 else side + 's'}")
            ax.set_title(f"{ticker}: {', '.join(counts)}", fontsize=8, fontweight="normal")
            ax.tick_params(labelsize=7)
            ax.margins(y=0.14)  # a mark at the edge is not cut
            line_of_time(ax)
            if column >= len(tickers) - columns:
                ax.tick_params(labelbottom=True)  # also above an empty place
        for ax in axes[len(tickers) :]:
            ax.set_axis_off()
    return path
