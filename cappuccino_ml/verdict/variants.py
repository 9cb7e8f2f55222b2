"""What variants side by side can and cannot say: means over seeds, and differences with two kinds of interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cappuccino_ml.study import Variant, VariantRun, runs_side_by_side
from cappuccino_ml.verdict.differences import Difference, Score, paired_difference, score_of


class VariantScore(Score):
    """One variant."""

    name: str
    factor: str
    wall_s: float | None  # median over the runs that were not interrupted
    masked_r2: float | None  # of the encoder it began with; None where there was none
    against: dict[str, Difference]  # by the name of the other variant


def judge_variants(
    variants: Sequence[Variant],
    runs: Sequence[VariantRun],
    *,
    root: Path,
    bars_per_year: float,
    seed: int,
    masked_r2: Mapping[str, float] | None = None,
    resamples: int = 4999,
) -> tuple[VariantScore, ...]:
    """Judge finished runs whose trainings lie below `root`; variants and their runs in the order given.

    Many differences are shown at once and none is corrected for that: of twenty true zeros, one 95% interval is
    expected to leave zero out. So this informs and decides nothing.
    """
    by_name = {one.name: tuple(run for run in runs if run.variant == one.name) for one in variants}
    together = {name: runs_side_by_side(found, root=root) for name, found in by_name.items()}

    def against(name: str, other: str) -> Difference:
        return paired_difference(
            name=f"{name} less {other}",
            ours=[run.sharpe for run in by_name[name]],
            theirs=[run.sharpe for run in by_name[other]],
            our_returns=together[name],
            their_returns=together[other],
            bars_per_year=bars_per_year,
            seed=seed,
            resamples=resamples,
        )

    scores = []
    for variant in variants:
        mine = by_name[variant.name]
        walls = [run.wall_s for run in mine if run.wall_s is not None]
        scores.append(
            VariantScore(
                name=variant.name,
                factor=variant.factor,
                **score_of(mine).model_dump(),
                wall_s=float(np.median(walls)) if walls else None,
                masked_r2=(masked_r2 or {}).get(variant.name),
                against={other: against(variant.name, other) for other in variant.against},
            )
        )
    return tuple(scores)
