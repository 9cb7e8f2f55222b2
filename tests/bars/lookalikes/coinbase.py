"""A venue that speaks coinbase's Advanced Trade REST API: newest first, at most 350 rows, the range in seconds."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lookalikes.server import LookAlike, Refused, Request, Row

_PRODUCTS = "/api/v3/brokerage/market/products"
_CANDLES = re.compile(_PRODUCTS + r"/([^/]+)/candles")
_GRANULARITIES = {
    "ONE_MINUTE": 1,
    "FIVE_MINUTE": 5,
    "FIFTEEN_MINUTE": 15,
    "THIRTY_MINUTE": 30,
    "ONE_HOUR": 60,
    "TWO_HOUR": 120,
    "SIX_HOUR": 360,
    "ONE_DAY": 1440,
}
_MOST = 350


class Coinbase(LookAlike):
    """Both `start` and `end` are needed and inclusive; a range of more than 350 candles is refused."""

    def is_bars(self, path: str) -> bool:
        return _CANDLES.fullmatch(path) is not None

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        if request.path == "/v2/currencies":
            return {"data": [{"id": "USD", "name": "US Dollar", "min_size": "0.01"}]}
        if request.path == "/v2/currencies/crypto":
            bases = sorted({base for base, _ in self.market.symbols})
            return {
                "data": [{"asset_id": f"id-{b}", "code": b, "name": b, "exponent": 8, "type": "crypto"} for b in bases]
            }
        if request.path == "/v2/exchange-rates":
            return {"data": {"currency": "USD", "rates": {"USD": "1.0"}}}
        if request.path == _PRODUCTS:
            spot = request.query.get("product_type", "SPOT") == "SPOT"
            products = [_product(base, quote) for base, quote in self.market.symbols] if spot else []
            return {"products": products, "num_products": len(products)}
        if match := _CANDLES.fullmatch(request.path):
            return {"candles": self._candles(match.group(1), request.query, alter)}
        raise Refused(404, _error("NOT_FOUND", "no such path"))

    def _candles(self, product: str, query: dict[str, str], alter: Callable[[list[Row]], list[Row]]) -> list[Any]:
        if tuple(product.split("-")) not in self.market.symbols:
            raise Refused(404, _error("NOT_FOUND", "valid product_id is required"))
        if query.get("granularity") not in _GRANULARITIES or not {"start", "end"} <= set(query):
            raise Refused(400, _error("INVALID_ARGUMENT", "granularity, start and end are required"))
        bar = timedelta(minutes=_GRANULARITIES[query["granularity"]])
        start, end = int(query["start"]), int(query["end"])
        if (end - start) / bar.total_seconds() > _MOST:
            raise Refused(400, _error("INVALID_ARGUMENT", "number of candles requested should be less than 350"))
        rows = self.market.rows(product, bar, since=start * 1000, until=end * 1000 + 1)
        return [_candle(row) for row in alter(rows[::-1])]


def _error(code: str, message: str) -> dict[str, str]:
    return {"error": code, "error_details": message, "message": message}


def _product(base: str, quote: str) -> dict[str, Any]:
    return {
        "product_id": f"{base}-{quote}",
        "price": "100",
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "price_increment": "0.01",
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": "0.00000001",
        "base_max_size": "3400",
        "base_name": base,
        "quote_name": quote,
        "is_disabled": False,
        "status": "online",
        "trading_disabled": False,
        "product_type": "SPOT",
        "quote_currency_id": quote,
        "base_currency_id": base,
        "alias": "",
        "alias_to": [],
        "display_name": f"{base}-{quote}",
        "product_venue": "CBE",
    }


def _candle(row: Row) -> dict[str, Any]:
    opened, *numbers = row
    names = ("open", "high", "low", "close", "volume")
    text = {name: None if number is None else str(number) for name, number in zip(names, numbers, strict=True)}
    return {"start": None if opened is None else str(opened // 1000), **text}
