"""Capacity: the capital at which orders stay a small share of the venue's volume."""

import numpy as np
import pytest

from cappuccino_ml.metrics import capacity, volume_share


def test_an_order_of_one_percent_of_the_volume_is_at_capacity() -> None:
    orders = np.array([[2.0, -1.0], [0.0, 0.0]])  # 2% of the first ticker's volume, with 10,000 of equity
    shares = volume_share(orders=orders, volume=np.full((2, 2), 100.0), equity=[10_000.0, 9_000.0])
    assert shares.tolist() == [0.02 / 10_000, 0.0]
    assert capacity(shares) == pytest.approx(5_000.0)
    assert capacity(shares, participation=0.02) == pytest.approx(10_000.0)


def test_bars_without_orders_do_not_count_and_the_thinnest_twentieth_may_be_exceeded() -> None:
    shares = np.concatenate([np.zeros(1000), np.linspace(1e-8, 1e-6, 100), [1.0]])
    assert capacity(shares) == pytest.approx(0.01 / 9.5e-7, rel=0.02)
    assert capacity(np.zeros(10)) is None


def test_capacity_does_not_depend_on_the_capital_it_was_measured_at() -> None:
    rng = np.random.default_rng(0)
    orders, volume = rng.normal(0, 1, (50, 3)), rng.uniform(10, 100, (50, 3))
    small, large = (volume_share(orders=k * orders, volume=volume, equity=np.full(50, k * 1e4)) for k in (1, 100))
    assert capacity(small) == pytest.approx(capacity(large))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume": np.ones((2, 3))}, r"pass \[K, N\] and \[K\]"),
        ({"volume": np.full((2, 2), np.nan)}, "finite"),
        ({"volume": -np.ones((2, 2))}, "both must be positive"),
        ({"equity": np.zeros(2)}, "both must be positive"),
    ],
)
def test_malformed_input_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    values = {"orders": np.ones((2, 2)), "volume": np.ones((2, 2)), "equity": np.ones(2)} | change
    with pytest.raises(ValueError, match=message):
        volume_share(**values)


def test_shares_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        capacity([0.1], participation=0.0)
