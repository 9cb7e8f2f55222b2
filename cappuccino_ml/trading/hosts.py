"""Which hosts orders may go to: the paper host and this machine. Real money is out of reach by construction."""

from urllib.parse import urlsplit

from cappuccino_ml.core import TradingError

PAPER_HOST = "paper-api.alpaca.markets"
DATA_HOST = "data.alpaca.markets"  # quotes: nothing can be ordered there
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def require_paper_host(url: str) -> str:
    """Give `url` back if it is the paper host over https, or a loopback address (test servers).

    Raises:
        TradingError: any other host, scheme or port, or a URL that carries a user name.
    """
    return _require(url, PAPER_HOST, "a paper host")


def require_data_host(url: str) -> str:
    """Give `url` back if it is the host of quotes over https, or a loopback address (test servers).

    Raises:
        TradingError: any other host, scheme or port, or a URL that carries a user name.
    """
    return _require(url, DATA_HOST, "the host of quotes")


def _require(url: str, allowed: str, what: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.username is None and parts.password is None:
        if host in _LOOPBACK and parts.scheme in {"http", "https"}:
            return url
        if host == allowed and parts.scheme == "https" and port in {None, 443}:
            return url
    # The URL itself stays out of the message: it may carry a key.
    raise TradingError(f"host {host!r} is not {what}; only https://{allowed} and loopback are allowed.")
