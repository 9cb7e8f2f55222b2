"""Scaling to about unit size, per ticker and feature, fitted on training rows only."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cappuccino_ml.core import DataError, Settings
from cappuccino_ml.features.schema import FeatureSchema

_WINSOR = 6.0  # standard deviations at which training values are cut before the final mean and spread
_DEAD_SPREAD = 1e-9  # every live feature moves by far more; below it there is only rounding

Matrix = tuple[tuple[float, ...], ...]


class Scaler(Settings):
    """(x - center) / scale, clipped to +-`clip`; `center` and `scale` are [N][F].

    Mean and standard deviation after winsorising at 6 standard deviations. Not median and IQR: a breakout is 0 on most
    bars, so that its IQR is 0 although it moves.
    """

    center: Matrix
    scale: Matrix
    clip: float = Field(6.0, gt=0)

    @model_validator(mode="after")
    def _sound(self) -> "Scaler":
        center, scale = [len(row) for row in self.center], [len(row) for row in self.scale]
        if center != scale or len(set(center)) != 1:
            raise ValueError(f"center has rows of length {center} and scale {scale}; both must be tickers x features")
        if not np.isfinite(self.center).all() or not np.isfinite(self.scale).all() or np.min(self.scale) <= 0:
            raise ValueError("center must be finite, and scale finite and above 0")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(tickers, features)."""
        return len(self.center), len(self.center[0])

    @classmethod
    def fit(
        cls,
        x: NDArray[np.floating],
        rows: slice | NDArray[np.bool_],
        *,
        schema: FeatureSchema | None = None,
        clip: float = 6.0,
    ) -> "Scaler":
        """Fit on the training rows of `x`; no other row is read.

        Args:
            x: [T, N, F] stationary features.
            rows: the training rows, a slice or a mask [T].
            schema: gives errors the names of tickers and features; without it they are numbered.
            clip: bound of the scaled values.

        Raises:
            DataError: fewer than two training rows, a value that is not finite (as in warm-up), or a dead column.
        """
        if x.ndim != 3:
            raise DataError(f"features to scale have shape {x.shape}, not (rows, tickers, features).")
        train = np.asarray(x[rows], dtype=np.float64)
        if len(train) < 2:
            raise DataError(
                f"the scaler got {len(train)} training rows, but needs at least 2; give a longer training window."
            )
        bad = ~np.isfinite(train)
        if bad.any():
            row, ticker, feature = np.argwhere(bad)[0]
            raise DataError(
                f"{_name(schema, ticker, feature)} is {train[row, ticker, feature]} in training row {row} of "
                f"{len(train)}, but the scaler needs finite values; start the training window after the warm-up."
            )
        mean, spread = train.mean(axis=0), train.std(axis=0)
        cut = np.clip(train, mean - _WINSOR * spread, mean + _WINSOR * spread)
        center, scale = cut.mean(axis=0), cut.std(axis=0)
        dead = scale <= _DEAD_SPREAD
        if dead.any():
            ticker, feature = np.argwhere(dead)[0]
            found = f"{scale[ticker, feature]:.1e}"
            raise DataError(
                f"{_name(schema, ticker, feature)} never moves in {len(train)} training rows (spread "
                f"{found}, needed above {_DEAD_SPREAD:.0e}); repair its bars or leave the ticker out."
            )
        return cls(center=_matrix(center), scale=_matrix(scale), clip=clip)

    def transform(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scale `x` [..., N, F] -> float32 of the same shape, contiguous and finite.

        Raises:
            DataError: another number of tickers or features, or a value that is not finite.
        """
        if x.shape[-2:] != self.shape:
            raise DataError(
                f"features end in shape {x.shape[-2:]}, but the scaler was fitted on (tickers, features) = "
                f"{self.shape}; use the scaler of this schema."
            )
        scaled = np.clip((x - np.array(self.center)) / np.array(self.scale), -self.clip, self.clip)
        if not np.isfinite(scaled).all():
            count = int((~np.isfinite(scaled)).sum())
            raise DataError(f"{count} of {scaled.size} features to scale are not finite; leave out the warm-up rows.")
        return np.ascontiguousarray(scaled, dtype=np.float32)


def _name(schema: FeatureSchema | None, ticker: int, feature: int) -> str:
    if schema is None:
        return f"feature {feature} of ticker {ticker}"
    return f"{schema.features[feature]} of {schema.tickers[ticker]}"


def _matrix(values: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(map(float, row)) for row in values)
