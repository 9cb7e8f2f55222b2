"""Finalists over combinatorial paths: what is left of a Sharpe when both the seed and the stretch of market are luck.

A hierarchical bootstrap: seeds are drawn with replacement, and circular blocks of bars, the same bars for every seed,
path and finalist, because they share the market. Percentile intervals. Reported beside the gate, no clause of it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings, derive_seed
from cappuccino_ml.metrics import annual_sharpe, is_flat
from cappuccino_ml.policy import Arm
from cappuccino_ml.study import CrossValidation
from cappuccino_ml.verdict.bootstrap import choose_block, required_bars

Floats = NDArray[np.float64]
Interval = tuple[float, float]

_CHUNK_VALUES = 2_000_000  # block sums gathered at once: 16 MB
_FLAT = 1e-12  # variance as a share of the mean square below which a resample never varies


class CrossValidatedFinalist(Settings):
    """One finalist. Sharpe ratios are annual and net."""

    side: str
    trial: int
    arm: Arm
    sharpes: tuple[tuple[float, ...], ...]  # by seed, then path
    mean: float
    interval: Interval | None  # None: too few bars
    folder: str  # name of the folder that holds the paths' returns per bar


class CrossValidationReport(Settings):
    """What cross-validation showed, or why there is none of it."""

    seeds: int
    paths: int
    bars: int
    block: int | None
    resamples: int
    finalists: tuple[CrossValidatedFinalist, ...]
    equal_weight: float | None  # annual Sharpe on the same bars
    difference: float | None  # FT less MLP, of their means
    difference_interval: Interval | None
    obstacles: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """FT against MLP in one sentence."""
        if self.difference is None:
            return f"FT against MLP was not cross-validated: {'; '.join(self.obstacles) or 'one side is missing'}."
        if self.difference_interval is None:
            return f"FT less MLP over the paths: {self.difference:+.2f} Sharpe a year, without an interval."
        low, high = self.difference_interval
        said = "no difference between FT and MLP is shown over the paths"
        if low > 0 or high < 0:
            said = f"FT is {'better' if low > 0 else 'worse'} than MLP over the paths"
        return f"{said}: {self.difference:+.2f} Sharpe a year, 95% interval {low:+.2f} to {high:+.2f}."


def cross_validation_report(
    found: CrossValidation,
    *,
    equal_weight: Floats | None,
    bars_per_year: float,
    seed: int,
    min_block: int = 24,
    resamples: int = 4999,
) -> CrossValidationReport:
    """Sharpe ratios of all paths with their intervals.

    Args:
        found: paths of the finalists.
        equal_weight: returns per bar [T] on the same rows, if there are any.
        bars_per_year: of the timeframe.
        seed: of the resampling.
        min_block: shortest block, bars.
        resamples: how many.
    """
    paths = {side: finalist.returns for side, finalist in found.finalists.items()}
    some = next(iter(paths.values()), np.empty((0, 0, 0)))
    seeds, bars, number = some.shape
    drawn: dict[str, Floats] = {}
    block = None
    obstacles = list(found.obstacles)
    idle = [side for side, returns in paths.items() if is_flat(returns.ravel())]
    if paths and bars < required_bars(min_block):
        obstacles.append(f"{bars} bars are fewer than {required_bars(min_block)}, so there are no intervals")
    elif paths:
        everything = np.concatenate(
            [returns.transpose(1, 0, 2).reshape(bars, -1) for returns in paths.values()], axis=1
        )
        moving = everything[:, everything.std(axis=0) > 0]
        block = choose_block(moving, min_block=min_block) if moving.size else min_block
        drawn = resampled_means(paths, block=block, seed=derive_seed(seed, "cross-validation"), resamples=resamples)
    scale = float(np.sqrt(bars_per_year))
    sharpes = {
        side: tuple(tuple(annual_sharpe(path, bars_per_year) for path in of_seed.T) for of_seed in returns)
        for side, returns in paths.items()
    }
    mean = {side: float(np.mean(values)) for side, values in sharpes.items()}
    both = {"ft", "mlp"} <= set(paths)
    obstacles += [f"{side} never trades on any path" for side in idle]
    return CrossValidationReport(
        seeds=seeds,
        paths=number,
        bars=bars,
        block=block,
        resamples=resamples,
        finalists=tuple(
            CrossValidatedFinalist(
                side=side,
                trial=finalist.trial,
                arm=finalist.arm,
                sharpes=sharpes[side],
                mean=mean[side],
                interval=_percentiles(drawn[side] * scale) if side in drawn and side not in idle else None,
                folder=finalist.folder.name,
            )
            for side, finalist in found.finalists.items()
        ),
        equal_weight=None if equal_weight is None or not paths else annual_sharpe(equal_weight, bars_per_year),
        difference=mean["ft"] - mean["mlp"] if both else None,
        difference_interval=_percentiles((drawn["ft"] - drawn["mlp"]) * scale) if both and drawn and not idle else None,
        obstacles=tuple(obstacles),
    )


def resampled_means(paths: Mapping[str, Floats], *, block: int, seed: int, resamples: int) -> dict[str, Floats]:
    """Mean Sharpe per bar over seeds and paths in every resample, by side: [R].

    Args:
        paths: returns [seeds, T, paths] of each side, all of one shape; seed k of one side is paired with seed k of
            another, so both are drawn together.
        block: bars of a circular block; a resample has T // block of them.
        seed: of the draws.
        resamples: R.
    """
    shapes = {returns.shape for returns in paths.values()}
    if len(shapes) != 1:
        raise ValueError(f"paths of shapes {sorted(shapes)}; all sides need the same seeds, bars and paths")
    ((seeds, bars, _),) = shapes
    random = np.random.default_rng(seed)
    starts = random.integers(0, bars, size=(resamples, bars // block))
    chosen = random.integers(0, seeds, size=(resamples, seeds))
    return {
        side: np.take_along_axis(_sharpes(returns, starts, block).mean(axis=2), chosen, axis=1).mean(axis=1)
        for side, returns in paths.items()
    }


def _sharpes(returns: Floats, starts: NDArray[np.int64], block: int) -> Floats:
    """Sharpe per bar of each seed and path on each resample's blocks: [R, seeds, paths]. Flat is 0."""
    seeds, bars, paths = returns.shape
    series = returns.transpose(1, 0, 2).reshape(bars, seeds * paths)
    terms = np.concatenate([series, series**2], axis=1)
    around = np.cumsum(np.concatenate([np.zeros((1, terms.shape[1])), terms, terms[: block - 1]]), axis=0)
    sums = around[block:] - around[:-block]  # [T, 2K], the block that begins at each bar
    out = np.empty((len(starts), seeds * paths))
    rows = max(1, _CHUNK_VALUES // (starts.shape[1] * terms.shape[1]))
    for low in range(0, len(starts), rows):
        mean, raw = np.split(sums[starts[low : low + rows]].mean(axis=1) / block, 2, axis=1)
        variance = raw - mean**2
        flat = variance <= _FLAT * np.maximum(raw, np.finfo(float).tiny)
        out[low : low + rows] = np.where(flat, 0.0, mean / np.sqrt(np.where(flat, 1.0, variance)))
    return out.reshape(-1, seeds, paths)


def _percentiles(values: Floats) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
