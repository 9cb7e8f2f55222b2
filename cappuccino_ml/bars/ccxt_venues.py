"""What ccxt does not tell about single exchanges: how many bars a page has and what an answer about bars looks like."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Venue:
    """One exchange's way to answer.

    Args:
        page_bars: most bars in one answer.
        is_answer: does this JSON speak about bars of the market with this id, even where it holds none? ccxt makes an
            empty list out of anything that lacks the place where bars should be, so "no bars" needs this proof.
        takes_until: both ends of the window are part of the request, so what lies between them is complete.
        newest_only: the exchange keeps no older bars than one page and ignores an older beginning.
        known: a venue whose answers were studied; of others every doubtful answer is checked by a second request.
    """

    page_bars: int
    is_answer: Callable[[Any, str], bool]
    takes_until: bool = False
    newest_only: bool = False
    known: bool = True


def venue_of(exchange: str, *, page_bars: int | None) -> Venue:
    """What is known of `exchange`; `page_bars` is what ccxt says, used where nothing better is known."""
    return _VENUES.get(exchange) or Venue(page_bars=page_bars or 200, is_answer=_holds_a_list, known=False)


def _binance(answer: Any, market_id: str) -> bool:
    return isinstance(answer, list)


def _kraken(answer: Any, market_id: str) -> bool:
    result = answer.get("result") if isinstance(answer, dict) else None
    return isinstance(result, dict) and isinstance(result.get(market_id), list)


def _coinbase(answer: Any, market_id: str) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("candles"), list)


def _holds_a_list(answer: Any, market_id: str) -> bool:
    if isinstance(answer, dict):
        return any(_holds_a_list(value, market_id) for value in answer.values())
    return isinstance(answer, list)


_VENUES = {
    "binance": Venue(page_bars=1000, is_answer=_binance, takes_until=True),
    "binanceus": Venue(page_bars=1000, is_answer=_binance, takes_until=True),
    "coinbase": Venue(page_bars=300, is_answer=_coinbase, takes_until=True),
    "kraken": Venue(page_bars=720, is_answer=_kraken, newest_only=True),
}
