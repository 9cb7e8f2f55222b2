"""Numbers and names as people read them: +1.23, 12.3%, `equal weight`."""

import math
from datetime import datetime

NOTHING = "-"

_NAMES = {
    "ft": "FT-Transformer",
    "mlp": "MLP",
    "champion": "champion",
    "buy_and_hold": "buy and hold",
    "equal_weight": "equal weight",
    "bitcoin": "first ticker only",
    "inverse_volatility": "inverse volatility",
}


def policy_name(name: str) -> str:
    """The name of a policy for people."""
    return _NAMES.get(name, name.replace("_", " "))


def signed(value: float | None, digits: int = 2) -> str:
    """`+1.23`; a value that rounds to zero has no sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def plain(value: float | None, digits: int = 2) -> str:
    """`1.23`."""
    return NOTHING if value is None or not math.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def share(value: float | None, *, sign: bool = True) -> str:
    """0.123 -> `+12.3%`, or `12.3%` without the sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{signed(100 * value, 1) if sign else plain(100 * value, 1)}%"


def interval(bounds: tuple[float, float] | None) -> str:
    """`+0.10 to +2.30`."""
    return "none" if bounds is None else f"{signed(bounds[0])} to {signed(bounds[1])}"


def whole(count: int) -> str:
    """`12,345`."""
    return f"{count:,}"


def day(moment: datetime) -> str:
    """`2025-01-31`."""
    return f"{moment:%Y-%m-%d}"


def duration(seconds: float) -> str:
    """`10 s`, `4 min 10 s`, `2 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
