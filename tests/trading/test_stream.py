"""Features bar by bar are those of the whole window, and a revised bar is never remembered as it was."""

from dataclasses import replace

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import DataError
from cappuccino_ml.features import RecursiveFeatures, latest_features
from cappuccino_ml.trading.stream import FeatureStream

from .conftest import FIRST, make_panel


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bars were taken in at each call."""
    counts: list[int] = []
    extend = RecursiveFeatures.extend

    def counted(self: RecursiveFeatures, panel: BarPanel, *, raw: bool = False):  # type: ignore[no-untyped-def]
        counts.append(len(panel))
        return extend(self, panel, raw=raw)

    monkeypatch.setattr(RecursiveFeatures, "extend", counted)
    return counts


def same(window: np.ndarray, panel: BarPanel) -> None:
    np.testing.assert_allclose(window, latest_features(panel)[-len(window) :], rtol=0, atol=1e-9)


def test_each_new_bar_is_taken_in_once_and_gives_the_windows_features(taken: list[int]):
    panel, stream = make_panel(filled=0.05, bars=FIRST + 20), FeatureStream()
    for stop in (FIRST, FIRST + 1, FIRST + 2, FIRST + 2, FIRST + 5):
        same(stream.window(panel.slice(0, stop), lookback=3), panel.slice(0, stop))
    assert taken == [FIRST, 1, 1, 0, 3]


def test_a_window_that_moves_on_goes_on(taken: list[int]):
    panel, stream = make_panel(filled=0.0, bars=1100), FeatureStream()
    for start in range(5):
        window = stream.window(panel.slice(start, start + 1000), lookback=10)
    np.testing.assert_allclose(window, latest_features(panel.slice(4, 1004))[-10:], rtol=0, atol=1e-8)
    assert taken == [1000, 1, 1, 1, 1]


@pytest.mark.parametrize("row", [0, 100, FIRST - 1])
def test_fault_25_p4_a_revised_bar_starts_the_stream_afresh(taken: list[int], row: int):
    panel, stream = make_panel(filled=0.0, bars=FIRST + 20), FeatureStream()
    stream.window(panel.slice(0, FIRST), lookback=3)
    panel.volume[row] *= 2  # in place: what was seen is a copy
    same(stream.window(panel.slice(0, FIRST + 1), lookback=3), panel.slice(0, FIRST + 1))
    assert taken == [FIRST, FIRST + 1]


def test_an_earlier_window_or_a_longer_lookback_starts_afresh(taken: list[int]):
    panel, stream = make_panel(filled=0.0, bars=FIRST + 90), FeatureStream()
    stream.window(panel.slice(0, FIRST + 5), lookback=3)
    same(stream.window(panel.slice(0, FIRST), lookback=3), panel.slice(0, FIRST))
    same(stream.window(panel.slice(0, FIRST + 80), lookback=70), panel.slice(0, FIRST + 80))
    assert taken == [FIRST + 5, FIRST, FIRST + 80]


def test_p4_a_hole_is_refused_and_what_follows_is_right():
    panel, stream = make_panel(filled=0.0, bars=FIRST + 20), FeatureStream()
    stream.window(panel.slice(0, FIRST), lookback=3)
    whole = panel.slice(0, FIRST + 3)
    timestamps = whole.timestamps.copy()
    timestamps[-1] += np.timedelta64(1, "h")
    with pytest.raises(DataError, match=r"grid|next"):
        stream.window(replace(whole, timestamps=timestamps), lookback=3)
    same(stream.window(panel.slice(0, FIRST + 3), lookback=3), panel.slice(0, FIRST + 3))
