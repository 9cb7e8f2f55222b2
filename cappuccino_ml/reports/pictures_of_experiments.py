"""Pictures of the experiments: variants as dots with intervals, skill of transferred encoders, scores by regime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cappuccino_ml.encoder import Skill
from cappuccino_ml.reports.style import BLUE, FAINT, GREEN, INK, ORANGE, PALETTE, VERMILION, canvas
from cappuccino_ml.verdict import RegimeBenchmark, VariantScore
from cappuccino_ml.verdict.regimes import REGIMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REGIME_COLOURS = {"bull": GREEN, "bear": VERMILION, "sideways": FAINT}


def ablation(*, scores: Sequence[VariantScore], label: str, path: Path) -> Path:
    """Left: each variant's runs as dots, with mean and 95% interval over seeds. Right: what its factor changes.

    A difference is to the variant named in grey; blue with its interval over seeds, orange that of the agents side by
    side, over time.
    """
    height = 1.5 + 0.36 * len(scores)
    title = f"Ablation: one factor at a time, {len(scores[0].sharpes)} runs each"
    with canvas(path=path, label=label, title=title, columns=2, height=height) as (left, right):
        _dots(left, scores)
        left.set_title("net Sharpe a year, unseen rows")
        for row, score in enumerate(scores):
            for other, difference in score.against.items():
                place: dict[str, Any] = {"transform": right.get_yaxis_transform(), "fontsize": 6.5, "color": FAINT}
                right.text(0.01, row - 0.32, f"less {other}", **place)
                if difference.over_time is not None and difference.side_by_side is not None:
                    right.plot(difference.over_time, [row + 0.14] * 2, color=ORANGE, lw=1)
                    right.plot(difference.side_by_side, row + 0.14, "o", ms=3, color=ORANGE)
                if difference.over_seeds is not None:
                    right.plot(difference.over_seeds, [row] * 2, color=BLUE, lw=2.6, alpha=0.5)
                right.plot(difference.mean, row, "o", ms=4.5, color=BLUE)
        right.axvline(0, color=INK, lw=0.8)
        right.set_title("difference: blue over seeds, orange over time")
        right.set_ylim(len(scores) - 0.4, -0.7)
        right.set_yticks(range(len(scores)), [])
    return path


def transfer(
    *, scores: Mapping[str, Sequence[VariantScore]], skills: Mapping[str, Skill], label: str, path: Path
) -> Path:
    """A row per ground: net Sharpe of the policies at equal steps, and masked R2 on rows that no encoder saw."""
    most = max(len(found) for found in scores.values())
    title = "Transfer of a pre-trained encoder, on time after what it saw"
    with canvas(
        path=path, label=label, title=title, rows=len(scores), columns=2, height=0.9 + len(scores) * (0.8 + 0.3 * most)
    ) as axes:
        for index, (ground, found) in enumerate(scores.items()):
            left, right = axes[2 * index], axes[2 * index + 1]
            _dots(left, found)
            left.set_title(f"{ground}: net Sharpe a year")
            r2 = skills[ground].r2
            names = list(r2)
            colours = [BLUE if name in ("transferred", "pre-trained there") else FAINT for name in names]
            right.barh(range(len(names)), [r2[name] for name in names], color=colours, height=0.6)
            right.axvline(0, color=INK, lw=0.8)
            for row, name in enumerate(names):
                right.text(max(r2[name], 0.0), row, f" {r2[name]:.2f}", va="center", fontsize=7.5)
            right.set_yticks(range(len(names)), names)
            right.invert_yaxis()
            right.set_xlim(min(-0.05, 1.1 * min(r2.values())), 1.1)
            right.set_title(f"{ground}: masked R2")
    return path


def regimes(*, benchmark: RegimeBenchmark, path: Path) -> Path:
    """A panel per span: each policy's net Sharpe in each regime, with its 95% interval over time."""
    rows = max(len(span.rows) for span in benchmark.spans)
    title = "Policies by market regime"
    with canvas(
        path=path, label=benchmark.label, title=title, columns=len(benchmark.spans), height=1.5 + 0.4 * rows
    ) as axes:
        for ax, span in zip(axes, benchmark.spans, strict=True):
            for row, policy in enumerate(span.rows):
                for place, score in enumerate(policy.scores):
                    if score.sharpe is None:
                        continue
                    colour, y = _REGIME_COLOURS[score.regime], row + 0.22 * (place - 1)
                    if score.interval is not None:
                        ax.plot(score.interval, [y] * 2, color=colour, lw=1.8, alpha=0.6)
                    ax.plot(score.sharpe, y, "o", ms=3.5, color=colour)
            ax.axvline(0, color=INK, lw=0.8)
            ax.set_yticks(range(len(span.rows)), [row.policy for row in span.rows])
            ax.set_ylim(len(span.rows) - 0.5, -0.6)
            shares = ", ".join(f"{regime} {span.shares[regime]:.0%}" for regime in REGIMES)
            ax.set_title(f"{span.name}: {shares}", fontsize=8.5)
            ax.set_xlabel("net Sharpe a year, 95% over time")
        for regime in REGIMES:
            axes[0].plot([], [], "o-", color=_REGIME_COLOURS[regime], label=regime)
        axes[0].legend(loc="best")
    return path


def _dots(ax: "Axes", scores: Sequence[VariantScore]) -> None:
    for row, score in enumerate(scores):
        colour = PALETTE[0] if score.against else ORANGE
        if score.over_seeds is not None:
            ax.plot(score.over_seeds, [row] * 2, color=colour, lw=2.6, alpha=0.4)
        ax.scatter(score.sharpes, [row] * len(score.sharpes), s=9, color=colour, alpha=0.7)
        ax.plot(score.mean, row, "D", ms=5, color=colour)
    ax.axvline(0, color=FAINT, lw=0.8)
    ax.set_yticks(range(len(scores)), [score.name for score in scores])
    ax.set_ylim(len(scores) - 0.4, -0.7)
