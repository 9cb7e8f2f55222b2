"""A range of bars, page by page: explicit windows, each row checked, a cursor that only moves forward."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars.retries import RetrySettings, Transient, ask_patiently
from cappuccino_ml.bars.schema import BAR_COLUMNS, empty_bars, tidy_bars
from cappuccino_ml.core import Clock, DataError, SourceError

__all__ = ["AskPage", "Page", "RetrySettings", "Transient", "fetch_pages", "silent"]

_TELL_EVERY_S = 5.0
_MS = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = (datetime(3000, 1, 1, tzinfo=UTC) - _EPOCH) // _MS  # later ones are in another unit
CLOCKS_AGREE_WITHIN = timedelta(minutes=5)  # farther apart, a server's time is a cache's or this machine's is wrong
_TELLING_ROWS = 10  # as many all on a coarser grid are bars of another length; fewer may be chance
Floats = NDArray[np.float64]


def silent(message: str) -> None:
    """A `tell` that tells nobody."""


@dataclass(frozen=True)
class Page:
    """One answer of a venue.

    Args:
        rows: [open time in ms UTC, open, high, low, close, volume] as the venue sent them, any order, unchecked.
        exhausted: the venue said that nothing more lies in [since, until).
        server_now: from the HTTP Date header, when there is one.
    """

    rows: Sequence[Sequence[float]]
    exhausted: bool
    server_now: datetime | None = None


class AskPage(Protocol):
    """Makes one request."""

    def __call__(self, *, since: datetime, until: datetime, limit: int) -> Page:
        """Bars that open in [since, until), at most `limit` of them.

        Raises:
            Transient: another try may help.
            SourceError: refused.
            DataError: no such symbol, or the range is not served.
        """


def fetch_pages(
    ask: AskPage,
    *,
    venue: str,
    symbol: str,
    bar: timedelta,
    start: datetime,
    end: datetime,
    limit: int,
    clock: Clock,
    retry: RetrySettings,
    sleep: Callable[[float], None],
    tell: Callable[[str], None],
    monotonic: Callable[[], float] = time.monotonic,
) -> pd.DataFrame:
    """Closed bars of `symbol` that open in [start, end): BAR_COLUMNS, sorted, each time once, whole or an error.

    Every request moves the cursor by at least one bar, so there are never more requests (retries aside) than bars fit
    in the range. A page that says it is complete and lacks closed bars at its end is gone on from: the next answer
    brings them or confirms the hole. A row that is not a bar makes the whole answer garbage, which is asked for again,
    and so do a server's time that is not the clock's, rows of the future, and bars of another length. Rows outside the
    window asked for are left out; of a repeated time the row that came last counts; bars that have not closed by both
    the clock and the server's time are left out. The range ends by the clock alone.

    Args:
        ask: makes one request.
        venue: for messages.
        symbol: for messages.
        bar: length of one bar.
        start: first bar open wanted.
        end: end (exclusive) of the bar opens wanted.
        limit: most rows the venue gives in one answer.
        clock: the present moment; a server's time may differ from it by `CLOCKS_AGREE_WITHIN`.
        retry: see `RetrySettings`.
        sleep: waits that many seconds between tries.
        tell: is told about progress, at most about every 5 s, and about holes.
        monotonic: seconds since any origin, to pace `tell`.

    Raises:
        DataError: the venue serves only newer bars than `start`.
        SourceError: no usable answer, or answers that lead nowhere.
    """
    step = bar // _MS
    cursor, stop = -(-_ms(start) // step) * step, _ms(end)
    first = cursor
    pages: list[Floats] = []
    told_at = monotonic()
    while cursor < stop and cursor + step <= _whole_ms(clock.now()):
        until = min(cursor + limit * step, stop)
        rows, exhausted, now = _ask_window(ask, venue, symbol, step, cursor, until, limit, clock, retry, sleep)
        _refuse_newest_only(rows, venue, symbol, cursor, step, limit, now)
        inside = rows[(rows[:, 0] >= cursor) & (rows[:, 0] < until)]
        pages.append(inside[inside[:, 0] + step <= now])
        closed = min(until, now // step * step)  # the window's bars that open before it have closed
        reached = int(inside[:, 0].max()) + step if len(inside) else cursor
        if exhausted and (reached >= closed or not len(inside)):
            cursor = until
        elif len(inside):
            cursor = reached
        else:
            raise SourceError(
                f"{venue} was asked for bars of {symbol} from {_text(cursor)}, sent {_span_text(rows)} and did not say "
                "that there is nothing more, so the cursor would stand still; run it again later or use another venue."
            )
        if (seconds := monotonic()) - told_at >= _TELL_EVERY_S:
            told_at = seconds
            tell(
                f"{venue} {symbol}: bars to {_text(cursor)}, {(cursor - first) / max(stop - first, 1):.0%} of the range"
            )
    bars = _frame(pages, symbol)
    _tell_holes(bars, venue, symbol, step, tell)
    return bars


def _ask_window(
    ask: AskPage,
    venue: str,
    symbol: str,
    step: int,
    since: int,
    until: int,
    limit: int,
    clock: Clock,
    retry: RetrySettings,
    sleep: Callable[[float], None],
) -> tuple[Floats, bool, int]:
    """A page's rows [R, 6], whether nothing more lies there, and the time (ms). What cannot be true is asked again."""

    def one_try() -> tuple[Floats, bool, int]:
        page = ask(since=_moment(since), until=_moment(until), limit=limit)
        here, there = clock.now(), page.server_now
        if there is not None and abs(there - here) > CLOCKS_AGREE_WITHIN:
            raise Transient(
                f"it says it is {there:%Y-%m-%dT%H:%M:%SZ}, this machine says {here:%Y-%m-%dT%H:%M:%SZ}; "
                "set the clock, or do not ask through a cache"
            )
        rows = _checked(page.rows, step)
        # The server may tell its time less exactly than it serves: what opens a little later is the forming bar.
        if there is not None and len(late := rows[rows[:, 0] > _whole_ms(there + CLOCKS_AGREE_WITHIN)]):
            raise Transient(
                f"{len(late)} of {len(rows)} rows from the future, such as {_text(int(late[0, 0]))} at "
                f"{there:%Y-%m-%dT%H:%M:%SZ} by its own time"
            )
        return rows, page.exhausted, _whole_ms(here if there is None else min(here, there))

    what = f"{venue}, asked for bars of {symbol} from {_text(since)},"
    return ask_patiently(one_try, what=what, retry=retry, sleep=sleep)


def _checked(rows: Sequence[Sequence[float]], step: int) -> Floats:
    if len(rows) == 0:
        return np.zeros((0, 6))
    try:
        table = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise Transient(f"rows that are not six numbers each, such as {rows[0]!r}") from error
    if table.ndim != 2 or table.shape[1] != 6:
        raise Transient(f"rows that are not six numbers each, such as {rows[0]!r}")
    opened, prices, volume = table[:, 0], table[:, 1:5], table[:, 5]
    with np.errstate(invalid="ignore"):
        body_top, body_bottom = np.maximum(table[:, 1], table[:, 4]), np.minimum(table[:, 1], table[:, 4])
        wrong = {
            "a value that is missing or not finite": ~np.isfinite(table).all(axis=1),
            "a time off the grid": (opened % step != 0) | (opened < 0) | (opened > LAST_MS),
            "a price that is not above zero": (prices <= 0).any(axis=1),
            "a low above or a high below the body": (table[:, 3] > body_bottom) | (table[:, 2] < body_top),
            "a volume below zero": volume < 0,
        }
    for what, bad in wrong.items():
        if bad.any():
            raise Transient(
                f"{int(bad.sum())} of {len(table)} rows with {what}, such as {list(rows[int(bad.argmax())])}"
            )
    opens = np.unique(opened).astype(np.int64)
    if len(opens) >= _TELLING_ROWS and (apart := int(np.gcd.reduce(np.diff(opens)))) > step:
        raise Transient(f"bars {apart // 60_000} minutes apart where one every {step // 60_000} was asked for")
    return table


def _refuse_newest_only(rows: Floats, venue: str, symbol: str, cursor: int, step: int, limit: int, now: int) -> None:
    """A full page that begins after the bar asked for and ends at the newest one: older bars are not served."""
    opens = np.unique(rows[:, 0])
    if len(opens) >= limit and opens[0] > cursor and opens[-1] + 2 * step > now:
        raise DataError(
            f"{venue} serves only the newest {len(opens)} bars of {symbol}, the oldest at {_text(int(opens[0]))}, and "
            f"was asked for {_text(cursor)}; begin there or take older bars from binance, coinbase or files."
        )


def _frame(pages: list[Floats], symbol: str) -> pd.DataFrame:
    table = np.concatenate(pages) if pages else np.zeros((0, 6))
    if len(table) == 0:
        return empty_bars(BAR_COLUMNS)
    frame = pd.DataFrame(table[:, 1:], columns=list(BAR_COLUMNS[1:]))
    frame.insert(0, "timestamp", pd.to_datetime(table[:, 0].astype(np.int64), unit="ms", utc=True))
    return tidy_bars(frame, symbol=symbol)


def _tell_holes(bars: pd.DataFrame, venue: str, symbol: str, step: int, tell: Callable[[str], None]) -> None:
    opens = bars["timestamp"].astype("datetime64[ms, UTC]").astype(np.int64).to_numpy()
    missing = np.diff(opens) // step - 1
    if missing.any():
        longest = int(missing.argmax())
        tell(
            f"{venue} {symbol}: bars that the venue lacks: {int(missing.sum())}, holes: {int((missing > 0).sum())}, "
            f"the longest of {int(missing[longest])} from {_text(int(opens[longest]) + step)}"
        )


def _ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded up: bar opens are whole, so that no bar is moved across an edge."""
    return -((_EPOCH - moment) // _MS)


def _whole_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down, so that no bar counts as closed too early."""
    return (moment - _EPOCH) // _MS


def _moment(ms: int) -> datetime:
    return _EPOCH + ms * _MS


def _text(ms: int) -> str:
    return f"{_moment(ms):%Y-%m-%dT%H:%MZ}"


def _span_text(rows: Floats) -> str:
    if len(rows) == 0:
        return "nothing"
    return f"{len(rows)} bars from {_text(int(rows[:, 0].min()))} to {_text(int(rows[:, 0].max()))}"
