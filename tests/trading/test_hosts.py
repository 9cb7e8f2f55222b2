"""P8: orders go to paper, or nowhere."""

import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading import require_paper_host


@pytest.mark.parametrize(
    "url",
    [
        "https://paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets/v2",
        "http://127.0.0.1:8080",
        "http://[::1]:9",
    ],
)
def test_p8_paper_and_loopback_are_allowed(url: str) -> None:
    assert require_paper_host(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://api.alpaca.markets",
        "http://paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets:8443",
        "https://paper-api.alpaca.markets.evil.com",
        "https://paper-api.alpaca.markets@api.alpaca.markets",
        "https://secret@paper-api.alpaca.markets",
        "https://api.alpaca.markets/paper-api.alpaca.markets",
        "https://api.alpaca.markets#@127.0.0.1",
        "paper-api.alpaca.markets",
        "ftp://127.0.0.1",
        "https://[bad",
        "",
    ],
)
def test_p8_everything_else_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(TradingError, match="paper host") as caught:
        require_paper_host(url)
    assert "secret" not in str(caught.value)
