"""Raw indicators: the fourteen numbers per ticker and bar, from TA-Lib, knowing only bars <= t."""

import numpy as np
import talib
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import DataError
from cappuccino_ml.features.schema import FEATURES

Floats = NDArray[np.float64]

MACD_BARS = (12, 26, 9)  # fast, slow, signal
RSI_BARS = CCI_BARS = ADX_BARS = ATR_BARS = 14  # ADX_BARS is DX's too
ATR_REFERENCE_BARS = 50
BREAKOUT_BARS = 20


def raw_indicators(panel: BarPanel) -> Floats:
    """The fourteen raw features of every ticker.

    Filled bars are ordinary rows: volume 0, prices at the last close. `macd`, `macd_signal` and `macd_hist` are already
    divided by the close. Quotients without a value are defined. Where prices do not move: RSI 50 if TA-Lib has neither
    gain nor loss left, CCI 0, ATR shift 0 once no range is left, DX its last value (0 if there is none), as in TA-Lib.
    Where nothing was traded for 20 bars: breakout volume 0. Averages decay evenly while prices stand still, so that
    RSI, DX and the ATR shift remember what came before a standstill longer than the 300 bars of any moving market.

    Returns:
        float64 [T, N, 14] in the order of `FEATURES`; NaN where an indicator has not seen enough bars.

    Raises:
        DataError: a price not finite and positive, a volume not finite and >= 0, or arrays of unequal shape.
    """
    require_valid(panel)
    raw = np.full((*panel.close.shape, len(FEATURES)), np.nan)
    if len(panel) == 0:
        return raw
    bars = (panel.open, panel.high, panel.low, panel.close, panel.volume)
    for ticker in range(panel.close.shape[1]):
        # TA-Lib wants contiguous float64 series, one ticker at a time
        series = [np.ascontiguousarray(values[:, ticker], dtype=np.float64) for values in bars]
        raw[:, ticker] = np.column_stack([*series, *_indicators(*series[1:])])
    return raw


def trailing_mean(values: Floats, *, bars: int) -> Floats:
    """Mean of the last `bars` rows, the present one included; NaN before there are so many and where one is NaN.

    Summed afresh at every row rather than kept as a running sum (as TA-Lib's SMA does): a running sum remembers the
    rounding of every bar since the start, so it depends on where the history begins and is not 0 after zeros.
    """
    mean = np.full(values.shape, np.nan)
    rows = len(values) - bars + 1
    if rows > 0:
        total = values[:rows].copy()
        for lag in range(1, bars):
            total += values[lag : lag + rows]
        mean[bars - 1 :] = total / bars
    return mean


def _indicators(high: Floats, low: Floats, close: Floats, volume: Floats) -> list[Floats]:
    """The nine indicators of one ticker, each [T]."""
    fast, slow, signal = MACD_BARS
    macd = talib.MACD(close, fastperiod=fast, slowperiod=slow, signalperiod=signal)
    return [
        *(line / close for line in macd),
        _rsi(close),
        talib.CCI(high, low, close, timeperiod=CCI_BARS),
        talib.DX(high, low, close, timeperiod=ADX_BARS),
        _atr_regime_shift(high, low, close),
        _range_breakout_volume(high, low, close, volume),
        _second_difference(talib.ADX(high, low, close, timeperiod=ADX_BARS)),
    ]


def _rsi(close: Floats) -> Floats:
    rsi: Floats = talib.RSI(close, timeperiod=RSI_BARS)
    # TA-Lib says 0 ("nothing but losses") when there was neither gain nor loss
    rsi[(rsi == 0) & _did_not_move(close, bars=RSI_BARS + 1)] = 50.0
    return rsi


def _atr_regime_shift(high: Floats, low: Floats, close: Floats) -> Floats:
    atr = talib.ATR(high, low, close, timeperiod=ATR_BARS)
    reference = trailing_mean(atr, bars=ATR_REFERENCE_BARS)
    return quotient(atr - reference, reference)


def _range_breakout_volume(high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    ceiling = _one_bar_later(talib.MAX(high, timeperiod=BREAKOUT_BARS))
    floor = _one_bar_later(talib.MIN(low, timeperiod=BREAKOUT_BARS))
    side = (close > ceiling).astype(np.float64) - (close < floor)
    side[np.isnan(ceiling)] = np.nan
    return side * quotient(volume, trailing_mean(volume, bars=BREAKOUT_BARS))


def _one_bar_later(values: Floats) -> Floats:
    """What was known one bar ago: the window ends BEFORE bar t, else no close could ever leave it."""
    return np.concatenate([[np.nan], values[:-1]])


def _second_difference(values: Floats) -> Floats:
    change = np.full(values.shape, np.nan)
    change[2:] = values[2:] - 2 * values[1:-1] + values[:-2]
    return change


def quotient(above: Floats, below: Floats) -> Floats:
    """The ratio above / below; 0 where `below` is 0, NaN where it is NaN."""
    return np.divide(above, below, out=np.where(np.isnan(below), np.nan, 0.0), where=below > 0)


def _did_not_move(values: Floats, *, bars: int) -> NDArray[np.bool_]:
    """Whether the last `bars` values are equal; False before there are so many."""
    return np.asarray(talib.MAX(values, timeperiod=bars) == talib.MIN(values, timeperiod=bars), dtype=np.bool_)


def require_valid(panel: BarPanel) -> None:
    """Refuse a panel with a price not finite and positive, a volume not finite and >= 0, or arrays of unequal shape.

    Raises:
        DataError: names the symbol and the time.
    """
    shape = (len(panel), len(panel.universe.tickers))
    for name in ("open", "high", "low", "close", "volume", "is_filled"):
        values = getattr(panel, name)
        if values.shape != shape:
            raise DataError(
                f"{name} of the bar panel has shape {values.shape}, not (rows, tickers) = {shape}; align the bars."
            )
        if name == "is_filled":
            continue
        good = np.isfinite(values) & ((values >= 0) if name == "volume" else (values > 0))
        if not good.all():
            row, ticker = np.argwhere(~good)[0]
            symbol, when = panel.universe.symbols[ticker], panel.timestamps[row]
            limit = "finite and not negative" if name == "volume" else "finite and positive"
            raise DataError(
                f"{name} of {symbol} at {when}Z is {values[row, ticker]}, but must "
                f"be {limit}; re-run ohlcv_bars for that month."
            )
