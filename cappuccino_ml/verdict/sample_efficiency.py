"""What a comparison of the arms can and cannot say: means over seeds, differences, and two kinds of interval.

An interval over seeds says how much the luck of training matters. On one market it says nothing about the luck of the
rows measured on, which all seeds share; the interval over time does (a block bootstrap of the agents side by side).
"""

from pathlib import Path

from cappuccino_ml.core import Settings
from cappuccino_ml.policy import Arm
from cappuccino_ml.study import Comparison, side_by_side
from cappuccino_ml.verdict.differences import Difference, Score, paired_difference, score_of


class Point(Score):
    """One arm after so many steps."""

    arm: Arm
    steps: int


class SampleEfficiency(Settings):
    """The points and the differences that the claim is about."""

    label: str
    markets: int
    seeds: int
    bars: int  # measured, of one market
    encoder_r2: tuple[float, ...]
    points: tuple[Point, ...]
    differences: tuple[Difference, ...]
    claim: str  # what is true of "a pre-trained encoder learns with few steps what the MLP needs many for"

    def point(self, arm: Arm, steps: int) -> Point:
        """One of the points."""
        return next(point for point in self.points if (point.arm, point.steps) == (arm, steps))


def sample_efficiency(comparison: Comparison, *, root: Path, seed: int, resamples: int = 1999) -> SampleEfficiency:
    """Judge a finished comparison whose trainings lie below `root`."""
    settings = comparison.settings
    points = tuple(
        Point(arm=arm, steps=steps, **score_of(comparison.of(arm, steps)).model_dump())
        for arm in settings.arms
        for steps in settings.steps
    )
    few, many = min(settings.steps), max(settings.steps)
    pairs: list[tuple[tuple[Arm, int], tuple[Arm, int]]] = []
    if {"mlp", "ft_pretrained"} <= set(settings.arms):
        pairs.append((("ft_pretrained", few), ("mlp", many)))
        pairs.append((("mlp", many), ("mlp", few)))
        pairs += [(("ft_pretrained", steps), ("mlp", steps)) for steps in settings.steps]
    tested = bool(pairs)
    if set(settings.arms) == {"mlp", "ft_scratch"}:
        pairs += [(("ft_scratch", steps), ("mlp", steps)) for steps in settings.steps]
    if {"ft_scratch", "ft_pretrained"} <= set(settings.arms):
        pairs += [(("ft_pretrained", steps), ("ft_scratch", steps)) for steps in settings.steps]
    differences = tuple(_difference(comparison, *pair, root=root, seed=seed, resamples=resamples) for pair in pairs)
    untested = "whether a pre-trained encoder learns with fewer steps is not tested: that takes mlp and ft_pretrained"
    return SampleEfficiency(
        label=comparison.label,
        markets=len({run.market for run in comparison.runs}),
        seeds=settings.seeds,
        bars=max(run.bars for run in comparison.runs),
        encoder_r2=tuple(comparison.encoder_r2.values()),
        points=points,
        differences=differences,
        claim=_claim(*differences[:2], few=few, many=many) if tested else untested,
    )


def _difference(
    comparison: Comparison, ours: tuple[Arm, int], theirs: tuple[Arm, int], *, root: Path, seed: int, resamples: int
) -> Difference:
    return paired_difference(
        name=" less ".join(f"{arm} at {steps:,}" for arm, steps in (ours, theirs)),
        ours=[run.sharpe for run in comparison.of(*ours)],
        theirs=[run.sharpe for run in comparison.of(*theirs)],
        our_returns=side_by_side(comparison, *ours, root=root),
        their_returns=side_by_side(comparison, *theirs, root=root),
        bars_per_year=comparison.bars_per_year,
        seed=seed,
        resamples=resamples,
    )


def _claim(difference: Difference, gained: Difference, *, few: int, many: int) -> str:
    """The claim is that ft_pretrained at `few` steps is as good as mlp at `many`; it presumes that these help mlp.

    Args:
        difference: ft_pretrained at `few` less mlp at `many`.
        gained: mlp at `many` less mlp at `few`.
        few: steps.
        many: steps.
    """
    if gained.mean <= 0:
        return (
            f'"the MLP needs {many:,} steps" is not so here: it was no better than after {few:,}. {gained.sentence} '
            f"{difference.sentence}"
        )
    intervals = [interval for interval in (difference.over_seeds, difference.over_time) if interval is not None]
    said = f'"a pre-trained encoder learns in {few:,} steps what the MLP needs {many:,} for"'
    if intervals and all(high < 0 for _, high in intervals):
        return f"{said} is refuted here. {difference.sentence}"
    if intervals and all(low > 0 for low, _ in intervals):
        return f"{said} holds here, and more. {difference.sentence}"
    return f"{said} is neither shown nor refuted here: an interval includes 0. {difference.sentence}"
