"""The base of all look-alikes: a threaded HTTP server, the market it serves, a script of faults, a log of requests."""

import contextlib
import functools
import hashlib
import json
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import pandas as pd

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Row = tuple[Any, ...]  # open time in ms, open, high, low, close, volume; None where a fault emptied it


def ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


@functools.lru_cache(maxsize=50_000)
def _draws(symbol: str, opened: int, bar: timedelta) -> tuple[float, ...]:
    """Open, reach above, reach below, close, share of volume: a function of the arguments alone."""
    seed = hashlib.sha256(f"{symbol} {opened} {bar}".encode()).digest()
    a, b, c, d, e = (int.from_bytes(seed[k : k + 4], "big") / 2**32 for k in range(0, 20, 4))
    level = 100 + 50 * (opened % 10**10) / 10**10
    return round(level + a, 2), c, d, round(level + b, 2), e


@dataclass
class Market:
    """Bars of any symbol and bar length, each a function of the symbol and its open time alone.

    Args:
        now: the venue's present. The bar that holds it is served half-formed; the Date header tells this time.
        first: open of the first bar anything has.
        holes: opens of bars that do not exist, for every symbol.
        symbols: tickers and quotes that are listed.
    """

    now: datetime
    first: datetime
    holes: frozenset[datetime] = frozenset()
    symbols: tuple[tuple[str, str], ...] = (("BTC", "USD"), ("ETH", "USD"), ("BTC", "USDT"), ("ETH", "USDT"))

    def row(self, symbol: str, opened: int, bar: timedelta) -> Row:
        """Two decimals, so that text and float are the same number."""
        o, up, down, close, e = _draws(symbol, opened, bar)
        if opened + bar // timedelta(milliseconds=1) > ms(self.now):
            close, e = round(close + 3, 2), e / 10  # half-formed: it will close elsewhere, with more volume
        return opened, o, round(max(o, close) + up, 2), round(min(o, close) - down, 2), close, round(1 + 9 * e, 4)

    def rows(self, symbol: str, bar: timedelta, *, since: int | None = None, until: int | None = None) -> list[Row]:
        """Bars that open in [since, until) (ms), oldest first, the forming one included."""
        step = bar // timedelta(milliseconds=1)
        low = max(ms(self.first), since if since is not None else 0)
        high = min(ms(self.now) + 1, until if until is not None else ms(self.now) + 1)
        holes = {ms(moment) for moment in self.holes}
        return [self.row(symbol, t, bar) for t in range(-(-low // step) * step, high, step) if t not in holes]

    def truth(self, symbol: str, start: datetime, end: datetime, bar: timedelta = HOUR) -> pd.DataFrame:
        """What a source must give for [start, end): closed bars only."""
        last = ms(self.now) - bar // timedelta(milliseconds=1)
        rows = [row for row in self.rows(symbol, bar, since=ms(start), until=ms(end)) if row[0] <= last]
        frame = pd.DataFrame(rows, columns=["timestamp", "open", "high", "low", "close", "volume"], dtype="float64")
        stamps = pd.to_datetime(frame["timestamp"].astype("int64"), unit="ms", utc=True)
        frame["timestamp"] = stamps.astype("datetime64[us, UTC]")
        return frame


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. Only what is given differs from the right answer.

    Args:
        name: for the log.
        status: instead of 200.
        headers: added to the answer.
        body: sent instead of the right body.
        cut: share of the right body that is sent, with a Content-Length that fits: valid HTTP, broken JSON.
        promise: send `Content-Length` for the whole body but only half of it, then close.
        reset: end the connection with RST instead of answering.
        silent: never answer.
        trickle_s: send one byte, wait so long, send the next.
        rows: replaces the bars before the dialect writes them down; others of the answer stay right.
        after: what was asked takes effect first, and only then the answer goes wrong.
    """

    name: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: float | None = None
    promise: bool = False
    reset: bool = False
    silent: bool = False
    trickle_s: float | None = None
    rows: Callable[[list[Row]], list[Row]] | None = None
    after: bool = False


def status(code: int, *, body: bytes = b'{"message":"no"}', **headers: str) -> Fault:
    """`status(429, Retry_After="3")`."""
    return Fault(f"status {code}", status=code, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def _half_formed_then_right(rows: list[Row]) -> list[Row]:
    """Each bar first as it stood halfway, then as it closed: the last of a repeated time is the right one."""
    early = [(t, o, max(o, c), min(o, c), o, v / 2) for t, o, _, _, c, v in rows]
    return [row for pair in zip(early, rows, strict=True) for row in pair]


def _shuffled(rows: list[Row]) -> list[Row]:
    return random.Random(1).sample(rows, len(rows))


HTML = Fault("HTML with 200", body=b"<html><body>Just a moment...</body></html>", headers={"Content-Type": "text/html"})
EMPTY = Fault("nothing with 200", body=b"")
TRUNCATED = Fault("truncated JSON", cut=0.6)
SHORT_BODY = Fault("fewer bytes than promised", promise=True)
RESET = Fault("connection reset", reset=True)
SILENCE = Fault("silence", silent=True)
TRICKLE = Fault("a byte now and then", trickle_s=0.05)
NULL_ROWS = Fault("null rows", rows=lambda rows: [(None,) * len(row) for row in rows])
ONE_NULL_PRICE = Fault("one null price", rows=lambda rows: [*rows[:-1], (*rows[-1][:4], None, rows[-1][5])])
UNORDERED = Fault("unordered rows", rows=_shuffled)
REPEATED = Fault("repeated rows", rows=lambda rows: [*rows[:7], *rows, *rows[-7:]])
REVISED = Fault("revised rows", rows=_half_formed_then_right)


@dataclass(frozen=True)
class Request:
    """One request the server saw.

    Args:
        method: GET, POST, ...
        path: without the query, unquoted.
        query: the last value of each parameter.
        headers: with lower-case names.
        body: as sent.
        fault: name of the fault it was answered with, or "".
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    fault: str


class Refused(Exception):  # noqa: N818 - a venue's answer, not a fault of the server
    """Raised by a dialect: answer with this status and JSON, as the venue would."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(status)
        self.status = status
        self.answer = answer


class LookAlike:
    """A venue on 127.0.0.1. A dialect derives from it and says what the paths answer.

    Args:
        market: what is served.
    """

    def __init__(self, market: Market) -> None:
        self.market = market
        self.requests: list[Request] = []
        self._scripts: dict[bool, deque[Fault]] = {True: deque(), False: deque()}
        self._lasting: dict[bool, Fault | None] = {True: None, False: None}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    # What a dialect says

    def is_bars(self, path: str) -> bool:
        """Does this path ask for bars? Faults are played there unless told otherwise."""
        raise NotImplementedError

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        """The JSON of the right answer; bars pass through `alter`, the fault of the moment, before they are encoded."""
        raise NotImplementedError

    # What a test does

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def play(self, *faults: Fault | None, bars: bool = True) -> None:
        """Answer the next requests for bars (or the others) with these, in order; None is a right answer."""
        self._scripts[bars].extend(fault or _RIGHT for fault in faults)

    def stay(self, fault: Fault | None, *, bars: bool = True) -> None:
        """Answer so whenever no script is left."""
        self._lasting[bars] = fault

    def asked(self, *, bars: bool = True) -> list[Request]:
        """The requests for bars (or the others) so far."""
        return [request for request in self.requests if self.is_bars(request.path) == bars]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    # What happens in between

    def _fault_for(self, path: str) -> Fault:
        bars = self.is_bars(path)
        with self._lock:
            return self._scripts[bars].popleft() if self._scripts[bars] else (self._lasting[bars] or _RIGHT)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        path = unquote(parts.path)
        fault = self._fault_for(path)
        request = Request(
            method=handler.command,
            path=path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=handler.rfile.read(int(handler.headers.get("Content-Length") or 0)),
            fault=fault.name,
        )
        with self._lock:
            self.requests.append(request)
        if fault.after:
            with contextlib.suppress(Refused):
                self.answer(request, lambda rows: rows)
        if fault.silent:
            self._closed.wait(30)
            handler.close_connection = True
            return
        if fault.reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        code, body = fault.status, fault.body
        if body is None:
            try:
                body = json.dumps(self.answer(request, fault.rows or (lambda rows: rows))).encode()
            except Refused as refusal:
                code, body = refusal.status, json.dumps(refusal.answer).encode()
        if code == 204:
            body = b""
        length = len(body)
        if fault.cut is not None:
            body = body[: int(length * fault.cut)]
            length = len(body)
        if fault.promise:
            body = body[: length // 2]
            handler.close_connection = True
        handler.send_response(code)
        for name, value in ({"Content-Type": "application/json"} | fault.headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if fault.trickle_s is None:
            handler.wfile.write(body)
            return
        for place in range(length):
            handler.wfile.write(body[place : place + 1])
            if self._closed.wait(fault.trickle_s):
                return


_RIGHT = Fault("")


def _handler(venue: LookAlike) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(venue.market.now.replace(microsecond=0), usegmt=True)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests read `requests`."""

        def do_GET(self) -> None:
            venue._serve(self)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names http.server calls

        def finish(self) -> None:
            with contextlib.suppress(OSError):  # the connection was reset on purpose
                super().finish()

    return Handler
