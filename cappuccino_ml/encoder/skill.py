"""Skill of a pre-trained encoder: R2 over hidden entries, beside three baselines that see the same masked windows."""

from collections.abc import Callable

import torch
from torch import Tensor

from cappuccino_ml.core import CappuccinoError, Settings

Predict = Callable[[Tensor, Tensor], Tensor]  # windows with hidden entries zeroed, mask -> estimate; all [B, L, N, F]

_RIDGE_ROWS = 2560
_RIDGE_NUMBERS = 4_000_000
_RIDGE_PENALTIES = (0.003, 0.03, 0.3)  # per fitted row; the inputs have about unit variance


class Skill(Settings):
    """R2 = 1 - squared error / squared distance from the hidden entries' own mean (per series), on validation windows.

    `r2` is the mean over features. A feature whose hidden entries never move has no R2 (None) and is left out of it.
    """

    rows: int  # validation windows
    hidden: int  # entries scored
    r2: dict[str, float]  # "model" (decoded from tokens), "encoding", "mean", "carry", "ridge"
    r2_by_feature: dict[str, tuple[float | None, ...]]  # the same, [F] in the order of the schema


@torch.no_grad()
def measure_skill(*, windows: Tensor, mask: Tensor, predictors: dict[str, Predict], chunk: int = 512) -> Skill:
    """Score each predictor on the hidden entries of `windows` [B, L, N, F]; `mask`, same shape, True where hidden.

    `chunk` windows are predicted at a time, to bound memory.

    Raises:
        CappuccinoError: nothing hidden ever moves.
    """
    count = mask.sum((0, 1)).clamp(min=1)  # (tickers, features)
    mean = torch.where(mask, windows, 0.0).sum((0, 1), dtype=torch.float64) / count
    spread = _hidden_squares(windows - mean, mask)
    errors = {name: torch.zeros_like(spread) for name in predictors}
    for rows in torch.split(torch.arange(len(windows), device=windows.device), chunk):
        seen = torch.where(mask[rows], 0.0, windows[rows])
        for name, predict in predictors.items():
            errors[name] += _hidden_squares(predict(seen, mask[rows]) - windows[rows], mask[rows])
    moving = spread > 1e-9 * mask.sum()
    if not moving.any():
        raise CappuccinoError(
            f"no hidden entry of {len(windows)} validation windows ever moves, so skill has no meaning; "
            "give a longer span of live bars."
        )
    by_feature = {name: 1 - error / spread for name, error in errors.items()}
    return Skill(
        rows=len(windows),
        hidden=int(mask.sum()),
        r2={name: float(r2[moving].mean()) for name, r2 in by_feature.items()},
        r2_by_feature={
            name: tuple(value if alive else None for value, alive in zip(r2.tolist(), moving.tolist(), strict=True))
            for name, r2 in by_feature.items()
        },
    )


def predict_mean(mean: Tensor) -> Predict:
    """Every entry is the training mean of its series, [N, F]."""
    return lambda seen, mask: mean.expand_as(seen)


def carry_forward(mean: Tensor) -> Predict:
    """The last visible bar of the series: the nearest earlier lag, else the nearest later one, else the mean [N, F]."""

    def predict(seen: Tensor, mask: Tensor) -> Tensor:
        lookback = seen.shape[1]
        lag = torch.arange(lookback, device=seen.device).view(1, -1, 1, 1).expand_as(seen)
        earlier = torch.where(mask, -1, lag).cummax(1).values
        later = torch.where(mask, lookback, lag).flip(1).cummin(1).values.flip(1)
        source = torch.where(earlier >= 0, earlier, later)
        carried = seen.gather(1, source.clamp(max=lookback - 1))
        return torch.where(source < lookback, carried, mean)

    return predict


def ridge_rows(rows: int, *, entries: int) -> int:
    """How many of `rows` training windows of `entries` numbers the ridge is fitted on: one or two seconds of work."""
    return min(rows, _RIDGE_ROWS, max(10, _RIDGE_NUMBERS // entries))


@torch.no_grad()
def fit_ridge(*, windows: Tensor, mask: Tensor) -> Predict:
    """Ridge regression from masked windows (hidden values 0, and the mask itself) to every entry, in closed form.

    No entry may predict itself: that would be perfect where it is visible and useless where it is not. With X the
    centred inputs, K = X X' + penalty I, and W = X' K^-1 Y the plain solution, the best weights w of entry j with
    w_j = 0 are W_j - P_j W_jj / P_jj with P = (X'X + penalty I)^-1 = (I - X' K^-1 X) / penalty. Written with K
    alone, the cost grows with the rows squared, whatever the lookback. The penalty is the best of three on the last
    fifth of the rows.

    Args:
        windows: training windows [B, L, N, F], by time.
        mask: what is hidden, the same shape.
    """
    shape = windows.shape[1:]
    split = len(windows) * 4 // 5
    inputs, targets, hidden = _ridge_inputs(windows, mask), windows.flatten(1), mask[split:].flatten(1)
    center, level = inputs[:split].mean(0), targets[:split].mean(0)
    fitted, outputs = inputs[:split] - center, targets.shape[1]
    own, wanted = fitted[:, :outputs], targets[:split] - level
    kernel = fitted @ fitted.T

    def predict(inputs: Tensor, dual: Tensor, correction: Tensor) -> Tensor:
        centred = inputs - center
        return (centred @ fitted.T) @ dual - centred[:, :outputs] * correction + level

    best_error, best = float("inf"), (wanted, level)
    for penalty in _RIDGE_PENALTIES:
        load = penalty * split
        factor = torch.linalg.cholesky(kernel + load * torch.eye(split, device=kernel.device))
        dual, own_dual = torch.cholesky_solve(torch.cat([wanted, own], 1), factor).chunk(2, dim=1)
        # W_jj / P_jj / penalty; P_jj is above 0 unless the entry is the exact sum of others
        correction = (own * dual).sum(0) / (1 - (own * own_dual).sum(0)).clamp(min=1e-6)
        candidate = (dual + own_dual * correction, correction)
        error = float(((predict(inputs[split:], *candidate) - targets[split:]) * hidden).square().sum())
        if error < best_error:
            best_error, best = error, candidate
    return lambda seen, hidden: predict(_ridge_inputs(seen, hidden), *best).view(-1, *shape)


def _ridge_inputs(windows: Tensor, mask: Tensor) -> Tensor:
    """[B, L, N, F] twice -> [B, 2 * L * N * F]."""
    return torch.cat([torch.where(mask, 0.0, windows).flatten(1), mask.flatten(1).to(windows.dtype)], dim=1)


def _hidden_squares(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of squares per feature [F] over hidden entries, in float64."""
    return torch.where(mask, values, 0.0).square().sum((0, 1, 2), dtype=torch.float64)
