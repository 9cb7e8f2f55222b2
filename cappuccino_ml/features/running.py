"""The raw indicators one bar at a time: fixed windows and running averages, started and rounded as TA-Lib does it."""

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.features.indicators import (
    ADX_BARS,
    ATR_BARS,
    ATR_REFERENCE_BARS,
    BREAKOUT_BARS,
    CCI_BARS,
    MACD_BARS,
    RSI_BARS,
    quotient,
)
from cappuccino_ml.features.stationary import PRICE_REFERENCE_BARS, VOLUME_REFERENCE_BARS

Floats = NDArray[np.float64]
Memory = dict[str, Floats]

_WINDOWS = {  # the last so many values, [bars, N], the newest last; NaN until there are so many
    "close": PRICE_REFERENCE_BARS,
    "high": BREAKOUT_BARS,
    "low": BREAKOUT_BARS,
    "volume": VOLUME_REFERENCE_BARS,
    "atr_window": ATR_REFERENCE_BARS,
    "adx_window": 2,
    "typical_price": CCI_BARS,  # in slots, bar t in slot t % 14: TA-Lib adds them up in that order
}
_AVERAGES = ("ema_fast", "ema_slow", "ema_signal", "gain", "loss", "plus", "minus", "span", "dx", "adx", "atr")  # [N]
_FAST, _SLOW, _SIGNAL = MACD_BARS
_LINE_ROW = _SLOW - 1  # the first row with a MACD line
_SIGNAL_ROW = _LINE_ROW + _SIGNAL - 1
_ADX_ROW = 2 * ADX_BARS - 1
_NOTHING = 1e-14  # TA-Lib's zero, for numbers without a unit or relative to the price


def fresh_memory(tickers: int) -> Memory:
    """What is known before the first bar. The size never changes."""
    windows = {name: np.full((bars, tickers), np.nan) for name, bars in _WINDOWS.items()}
    return windows | {name: np.zeros(tickers) for name in _AVERAGES}


def next_raw(memory: Memory, *, row: int, bar: Floats) -> Floats:
    """Take in the bar of row `row` (0 is the first ever) and give its raw indicators, as `raw_indicators` would.

    Args:
        memory: what earlier rows left; changed in place.
        row: bars taken in so far.
        bar: [5, N], open, high, low, close and volume, valid.

    Returns:
        float64 [N, 14]; NaN where an indicator has not seen enough bars.
    """
    _, high, low, close, volume = bar
    previous_high, previous_low, previous_close = memory["high"][-1], memory["low"][-1], memory["close"][-1]
    # all NaN at row 0, where nobody looks at them
    change, rise, fall = close - previous_close, high - previous_high, previous_low - low
    true_range = np.maximum(np.maximum(high - low, np.abs(high - previous_close)), np.abs(low - previous_close))
    side = _breakout_side(memory, close)  # before this bar joins the windows
    for name, values in (("high", high), ("low", low), ("close", close), ("volume", volume)):
        _push(memory[name], values)
    macd = _macd(memory, row, close)
    cci = _cci(memory, row, (high + low + close) / 3)
    rsi = _rsi(memory, row, change)
    dx, adx = _directions(memory, row, rise, fall, true_range)
    shift = _atr_shift(memory, row, true_range)
    breakout = side * quotient(volume, mean_of_last(memory["volume"], bars=BREAKOUT_BARS))
    before, last = memory["adx_window"]
    reacceleration = adx - 2 * last + before
    _push(memory["adx_window"], adx)
    return np.column_stack([*bar, *macd, rsi, cci, dx, shift, breakout, reacceleration])


def mean_of_last(window: Floats, *, bars: int) -> Floats:
    """Mean [N] of the last `bars` rows, NaN where one is NaN; added up afresh, oldest first, as in `trailing_mean`."""
    # accumulate: sum() would add up in pairs for a single ticker
    total: Floats = np.add.accumulate(window[len(window) - bars :], axis=0)[-1]
    return total / bars


def _unknown(values: Floats) -> Floats:
    return np.full(values.shape, np.nan)


def _push(window: Floats, values: Floats) -> None:
    window[:-1] = window[1:]
    window[-1] = values


def _breakout_side(memory: Memory, close: Floats) -> Floats:
    ceiling, floor = memory["high"].max(axis=0), memory["low"].min(axis=0)
    side: Floats = (close > ceiling).astype(np.float64) - (close < floor)
    side[np.isnan(ceiling)] = np.nan
    return side


def _macd(memory: Memory, row: int, close: Floats) -> tuple[Floats, Floats, Floats]:
    """Line, signal and histogram over price. Both averages start at row 25: from the last 12 and from all 26 closes."""
    fast, slow, signal = memory["ema_fast"], memory["ema_slow"], memory["ema_signal"]
    nothing = _unknown(close)
    if row <= _LINE_ROW:
        slow += close
        if row > _LINE_ROW - _FAST:
            fast += close
        if row < _LINE_ROW:
            return nothing, nothing, nothing
        fast /= _FAST
        slow /= _SLOW
    else:
        _ema(fast, close, bars=_FAST)
        _ema(slow, close, bars=_SLOW)
    line = fast - slow
    if row <= _SIGNAL_ROW:
        signal += line
        if row < _SIGNAL_ROW:
            return nothing, nothing, nothing
        signal /= _SIGNAL
    else:
        _ema(signal, line, bars=_SIGNAL)
    return line / close, signal / close, (line - signal) / close


def _ema(mean: Floats, values: Floats, *, bars: int) -> None:
    keep = (bars - 1) / (bars + 1)
    mean *= keep
    mean += (1 - keep) * values


def _rsi(memory: Memory, row: int, change: Floats) -> Floats:
    gain, loss = memory["gain"], memory["loss"]
    if row == 0:
        return _unknown(change)
    if row > RSI_BARS:
        gain *= RSI_BARS - 1
        loss *= RSI_BARS - 1
    up = np.maximum(change, 0.0)
    gain += up
    loss += up - change
    if row < RSI_BARS:
        return _unknown(change)
    gain *= 1 / RSI_BARS
    loss *= 1 / RSI_BARS
    rsi = 100.0 * quotient(gain, gain + loss)
    recent = memory["close"][-RSI_BARS - 1 :]
    rsi[(rsi == 0) & (recent.max(axis=0) == recent.min(axis=0))] = 50.0
    return rsi


def _cci(memory: Memory, row: int, typical_price: Floats) -> Floats:
    slots = memory["typical_price"]
    slots[row % CCI_BARS] = typical_price
    mean = mean_of_last(slots, bars=CCI_BARS)
    deviation = mean_of_last(np.abs(slots - mean), bars=CCI_BARS)
    distance = typical_price - mean
    nothing = _NOTHING * mean
    cci = quotient(distance, 0.015 * deviation)
    cci[(np.abs(distance) <= nothing) | (deviation <= nothing)] = 0.0
    return cci


def _directions(memory: Memory, row: int, rise: Floats, fall: Floats, true_range: Floats) -> tuple[Floats, Floats]:
    """DX and ADX. Where there is neither a rise nor a fall left, DX keeps its last value and ADX stays as it is."""
    plus, minus, span, dx, adx = (memory[name] for name in ("plus", "minus", "span", "dx", "adx"))
    nothing = _unknown(rise)
    if row == 0:
        return nothing, nothing
    if row >= ADX_BARS:
        plus -= plus / ADX_BARS
        minus -= minus / ADX_BARS
        span -= span / ADX_BARS
    plus += np.where((rise > fall) & (rise > 0), rise, 0.0)
    minus += np.where((fall > rise) & (fall > 0), fall, 0.0)
    span += true_range
    if row < ADX_BARS:
        return nothing, nothing
    plus_share, minus_share = 100.0 * quotient(plus, span), 100.0 * quotient(minus, span)
    total = plus_share + minus_share
    moved = total >= _NOTHING
    np.copyto(dx, 100.0 * quotient(np.abs(minus_share - plus_share), total), where=moved)
    if row <= _ADX_ROW:
        adx += np.where(moved, dx, 0.0)
        if row < _ADX_ROW:
            return dx, nothing
        adx /= ADX_BARS
    else:
        np.copyto(adx, (adx * (ADX_BARS - 1) + dx) / ADX_BARS, where=moved)
    return dx, adx


def _atr_shift(memory: Memory, row: int, true_range: Floats) -> Floats:
    atr = memory["atr"]
    if row == 0:
        return _unknown(true_range)
    if row <= ATR_BARS:
        atr += true_range
        if row < ATR_BARS:
            return _unknown(true_range)
        atr /= ATR_BARS
    else:
        keep = (ATR_BARS - 1) / ATR_BARS
        atr *= keep
        atr += (1 - keep) * true_range
    _push(memory["atr_window"], atr)
    reference = mean_of_last(memory["atr_window"], bars=ATR_REFERENCE_BARS)
    return quotient(atr - reference, reference)
