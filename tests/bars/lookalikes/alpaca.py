"""A look-alike of Alpaca's crypto bars: several symbols, inclusive end, short pages with tokens, rate headers."""

import base64
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lookalikes.server import EPOCH, Fault, LookAlike, Market, Refused, Request, Row, ms

PATH = "/v1beta3/crypto/us/bars"
SHORT_PAGES = (126, 420, 233, 311)  # rows of one page, measured between these on the real host
TIMEFRAMES = {
    "1Min": timedelta(minutes=1),
    "5Min": timedelta(minutes=5),
    "15Min": timedelta(minutes=15),
    "30Min": timedelta(minutes=30),
    "1Hour": timedelta(hours=1),
}
_PER_MINUTE = 200


class AlpacaLookAlike(LookAlike):
    """`GET /v1beta3/crypto/us/bars`, as the real host answers it.

    Args:
        market: what is served, by symbols such as `BTC-USD`.
        page_rows: most rows of the first page, the second, ..., over and over, whatever `limit` allows.
        keys: the pair that may ask; None lets everybody ask, with keys or without.
    """

    def __init__(
        self, market: Market, *, page_rows: Sequence[int] = SHORT_PAGES, keys: tuple[str, str] | None = None
    ) -> None:
        super().__init__(market)
        self._page_rows = itertools.cycle(page_rows)
        self._keys = keys
        self._left = _PER_MINUTE

    def is_bars(self, path: str) -> bool:
        return path.endswith("/bars")

    def _fault_for(self, path: str) -> Fault:
        """Every answer, right or wrong, carries the rate headers."""
        self._left -= 1
        reset = int(self.market.now.timestamp()) // 60 * 60 + 60
        rate = {"X-RateLimit-Limit": str(_PER_MINUTE), "X-RateLimit-Remaining": str(max(0, self._left))}
        fault = super()._fault_for(path)
        return dataclasses.replace(fault, headers=rate | {"X-RateLimit-Reset": str(reset)} | fault.headers)

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        given = (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key"))
        if self._keys is not None and given != self._keys:
            raise Refused(403, {"message": "forbidden."})
        if not request.path.startswith("/v1beta3/crypto/us/"):
            raise Refused(400, {"message": f"Invalid location: {request.path.split('/')[3:4]}"})
        if request.path != PATH:
            raise Refused(404, {"message": "endpoint not found."})
        query = request.query
        names = sorted(set(query.get("symbols", "").split(",")))
        if bad := [name for name in names if name.count("/") != 1]:
            raise Refused(400, {"message": f"invalid symbol: {bad[0]} does not match ^[A-Z]+/[A-Z]+$"})
        if query.get("timeframe") not in TIMEFRAMES:
            raise Refused(400, {"message": f"invalid timeframe: {query.get('timeframe')}"})
        limit = query.get("limit", "1000")
        if not limit.isdigit() or not 1 <= int(limit) <= 10_000:
            raise Refused(400, {"message": "invalid limit: must be between 1 and 10000"})
        bar = TIMEFRAMES[query["timeframe"]]
        day = self.market.now.replace(hour=0, minute=0, second=0, microsecond=0)
        since, last = _moment(query.get("start"), day), _moment(query.get("end"), self.market.now)
        listed = {f"{base}/{quote}" for base, quote in self.market.symbols}  # others have no bars, and no error
        rows = [
            (name, row)
            for name in names
            if name in listed
            for row in self.market.rows(name.replace("/", "-"), bar, since=ms(since), until=ms(last) + 1)
        ]
        if token := query.get("page_token"):
            after = _read_token(token)
            rows = [(name, row) for name, row in rows if (name, row[0]) > after]
        page = rows[: min(int(limit), next(self._page_rows))]
        bars = {
            name: [_bar(row) for row in alter([row for _, row in held])]
            for name, held in itertools.groupby(page, key=lambda pair: pair[0])
        }
        return {"bars": bars, "next_page_token": _token(page[-1]) if len(page) < len(rows) else None}


def _bar(row: Row) -> dict[str, Any]:
    opened, o, h, low, c, volume = row
    t = None if opened is None else f"{EPOCH + timedelta(milliseconds=opened):%Y-%m-%dT%H:%M:%SZ}"
    mean = None if None in row else round((o + h + low + c) / 4, 6)
    return {"t": t, "o": o, "h": h, "l": low, "c": c, "v": volume, "n": int(10 * (volume or 0)), "vw": mean}


def _token(pair: tuple[str, Row]) -> str:
    return base64.b64encode(f"{pair[0]}|{pair[1][0]}".encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    try:
        name, opened = base64.b64decode(token, validate=True).decode().split("|")
        return name, int(opened)
    except ValueError as error:
        raise Refused(400, {"message": "invalid page_token"}) from error


def _moment(text: str | None, default: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if text else default
    except ValueError as error:
        raise Refused(400, {"message": f"invalid time: {text}"}) from error
    return moment.replace(tzinfo=moment.tzinfo or UTC)
