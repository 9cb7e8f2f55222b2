"""A venue that speaks kraken's REST API: its newest 720 rows whatever is asked, seconds, errors with HTTP 200."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lookalikes.server import LookAlike, Refused, Request, Row, ms

_OHLC = "/0/public/OHLC"
_ASSETS = {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD"}
_ALTNAMES = {"BTC": "XBT"}
_INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
NEWEST = 720


class Kraken(LookAlike):
    """`since` is exclusive, an older one than the newest 720 rows is ignored; the forming bar is one of the rows."""

    def is_bars(self, path: str) -> bool:
        return path == _OHLC

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        if request.path == "/0/public/Assets":
            return {"error": [], "result": self._assets()}
        if request.path == "/0/public/AssetPairs":
            return {"error": [], "result": dict(self._pair(base, quote) for base, quote in self.market.symbols)}
        if request.path == _OHLC:
            return self._ohlc(request.query, alter)
        raise Refused(404, {"error": ["EGeneral:Unknown method"]})

    def _assets(self) -> dict[str, Any]:
        codes = sorted({code for pair in self.market.symbols for code in pair})
        return {
            _ASSETS.get(code, code): {
                "aclass": "currency",
                "altname": _ALTNAMES.get(code, code),
                "decimals": 10,
                "display_decimals": 5,
                "status": "enabled",
            }
            for code in codes
        }

    def _pair(self, base: str, quote: str) -> tuple[str, dict[str, Any]]:
        altname = _ALTNAMES.get(base, base) + _ALTNAMES.get(quote, quote)
        return self._id(base, quote), {
            "altname": altname,
            "wsname": f"{_ALTNAMES.get(base, base)}/{quote}",
            "aclass_base": "currency",
            "base": _ASSETS.get(base, base),
            "aclass_quote": "currency",
            "quote": _ASSETS.get(quote, quote),
            "lot": "unit",
            "pair_decimals": 2,
            "lot_decimals": 8,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, 0.4]],
            "fees_maker": [[0, 0.25]],
            "fee_volume_currency": "ZUSD",
            "ordermin": "0.0001",
            "costmin": "0.5",
            "tick_size": "0.01",
            "status": "online",
        }

    def _id(self, base: str, quote: str) -> str:
        if base in _ASSETS and quote in _ASSETS:
            return _ASSETS[base] + _ASSETS[quote]
        return _ALTNAMES.get(base, base) + quote

    def _ohlc(self, query: dict[str, str], alter: Callable[[list[Row]], list[Row]]) -> dict[str, Any]:
        names = {self._id(base, quote): f"{base}-{quote}" for base, quote in self.market.symbols}
        if query.get("pair") not in names:
            return {"error": ["EQuery:Unknown asset pair"]}
        interval = int(query.get("interval", 1))
        if interval not in _INTERVALS:
            return {"error": ["EGeneral:Invalid arguments:interval"]}
        bar = timedelta(minutes=interval)
        oldest = self.market.now - 2 * NEWEST * bar  # far enough: holes make the newest rows reach further back
        rows = self.market.rows(names[query["pair"]], bar, since=ms(oldest))[-NEWEST:]
        since = 1000 * int(query.get("since", 0))
        rows = [row for row in rows if row[0] > since]
        last = rows[-2][0] // 1000 if len(rows) > 1 else 0
        return {"error": [], "result": {query["pair"]: [_candle(row) for row in alter(rows)], "last": last}}


def _candle(row: Row) -> list[Any]:
    opened, *numbers = row
    o, h, low, c, v = (None if number is None else f"{number:.8f}" for number in numbers)
    return [None if opened is None else opened // 1000, o, h, low, c, c, v, 9]
