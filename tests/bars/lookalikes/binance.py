"""A venue that speaks binance's spot REST API: oldest first, at most 1000 rows, both ends of the range inclusive."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lookalikes.server import LookAlike, Refused, Request, Row, ms

_KLINES, _INFO = "/api/v3/klines", "/api/v3/exchangeInfo"
_INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "1d": 1440}
_FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    {
        "filterType": "NOTIONAL",
        "minNotional": "5.00000000",
        "applyMinToMarket": True,
        "maxNotional": "9000000.00000000",
    },
]


class Binance(LookAlike):
    """Spot only: the futures' paths answer 404, and are logged."""

    def is_bars(self, path: str) -> bool:
        return path == _KLINES

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        if request.path == _INFO:
            return self._info()
        if request.path == _KLINES:
            return self._klines(request.query, alter)
        raise Refused(404, {"code": 404, "msg": "no such path"})

    def _info(self) -> dict[str, Any]:
        return {
            "timezone": "UTC",
            "serverTime": ms(self.market.now),
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [
                {
                    "symbol": base + quote,
                    "status": "TRADING",
                    "baseAsset": base,
                    "baseAssetPrecision": 8,
                    "quoteAsset": quote,
                    "quotePrecision": 8,
                    "quoteAssetPrecision": 8,
                    "baseCommissionPrecision": 8,
                    "quoteCommissionPrecision": 8,
                    "orderTypes": ["LIMIT", "MARKET"],
                    "isSpotTradingAllowed": True,
                    "isMarginTradingAllowed": False,
                    "filters": _FILTERS,
                    "permissions": [],
                    "permissionSets": [["SPOT"]],
                }
                for base, quote in self.market.symbols
            ],
        }

    def _klines(self, query: dict[str, str], alter: Callable[[list[Row]], list[Row]]) -> list[Any]:
        names = {base + quote: f"{base}-{quote}" for base, quote in self.market.symbols}
        if query.get("symbol") not in names:
            raise Refused(400, {"code": -1121, "msg": "Invalid symbol."})
        if query.get("interval") not in _INTERVALS:
            raise Refused(400, {"code": -1120, "msg": "Invalid interval."})
        bar = timedelta(minutes=_INTERVALS[query["interval"]])
        limit = min(int(query.get("limit", 500)), 1000)
        since = int(query["startTime"]) if "startTime" in query else None
        until = int(query["endTime"]) + 1 if "endTime" in query else None
        rows = self.market.rows(names[query["symbol"]], bar, since=since, until=until)
        rows = rows[-limit:] if since is None else rows[:limit]
        step = bar // timedelta(milliseconds=1)
        return [_kline(row, step) for row in alter(rows)]


def _kline(row: Row, step: int) -> list[Any]:
    opened, *numbers = row
    o, h, low, c, v = (None if number is None else f"{number:.8f}" for number in numbers)
    return [opened, o, h, low, c, v, None if opened is None else opened + step - 1, "1.00000000", 9, "0.5", "0.5", "0"]
