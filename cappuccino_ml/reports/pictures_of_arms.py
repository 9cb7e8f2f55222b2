"""Pictures that set the arms beside each other: net Sharpe against environment steps."""

from pathlib import Path

from cappuccino_ml.reports.style import ARMS, FAINT, PALETTE, canvas
from cappuccino_ml.verdict import SampleEfficiency


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
