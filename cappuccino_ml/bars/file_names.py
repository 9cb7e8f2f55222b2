"""What the name of a bar file says: the pair, the length of its bars, and whether it is one part of several."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cappuccino_ml.bars.universe import TIMEFRAMES
from cappuccino_ml.core import ConfigurationError

BAR_FILE_SUFFIXES = (".parquet", ".feather", ".csv", ".csv.gz")
_LISTED_FILES = 12

_UNITS = {
    **dict.fromkeys(("S",), timedelta(seconds=1)),
    **dict.fromkeys(("M", "MIN", "MINUTE"), timedelta(minutes=1)),
    **dict.fromkeys(("H", "HR", "HOUR", "HOURLY"), timedelta(hours=1)),
    **dict.fromkeys(("D", "DAY", "DAILY"), timedelta(days=1)),
    **dict.fromkeys(("W",), timedelta(days=7)),
    **dict.fromkeys(("MO",), timedelta(days=30)),  # no universe has it; such a file only must not count
}
_BARE_UNITS = ("MINUTE", "HOUR", "HOURLY", "D", "DAY", "DAILY")  # those that mean one of it without a number
_DATE = r"(?:19|20)\d\d(?:-\d\d){0,2}"
# Binance dates its files after the timeframe, CryptoDataDownload before it.
_NAME = re.compile(
    rf"(?P<pair>.+?)(?:-(?P<year>{_DATE}))?"
    rf"(?:-(?P<bar>\d{{1,4}}(?:{'|'.join(_UNITS)})|{'|'.join(_BARE_UNITS)}))?(?:-(?P<date>{_DATE}))?"
)


@dataclass(frozen=True)
class BarFile:
    """One file that may hold bars, as far as its name tells."""

    path: Path
    words: tuple[str, ...]  # upper case: BTC USDT, BTCUSDT, KRAKEN BTCUSD, or something that is no pair at all
    bar: timedelta | None  # None if the name does not say it
    dated: bool  # one part (year, month or day) of a longer series

    @property
    def pair(self) -> str:
        """`BTCUSDT`, or `KRAKENBTCUSD` where the exchange is named too."""
        return "".join(self.words)

    @property
    def series(self) -> str:
        """The same for all parts of one series and for no other file: `BTCUSDT-1h`, or the name of a whole file."""
        if not self.dated:
            return self.path.name
        lengths = [name for name, bar in TIMEFRAMES.items() if bar == self.bar]
        return "-".join([self.pair, *(lengths or [str(self.bar)])])

    def may_hold(self, symbol: str, bar: timedelta | None = None) -> bool:
        """Whether the name is one of `symbol` (`BTC-USDT`), and does not speak of bars of another length than `bar`."""
        if bar is not None and self.bar is not None and bar != self.bar:
            return False
        return symbol.replace("-", "").upper() in {"".join(words) for words in self._readings()}

    def quote(self, tickers: Sequence[str]) -> str:
        """The quote currency if the pair's base is one of `tickers`; empty if not."""
        for words in self._readings():
            if len(words) == 2 and words[0] in tickers:
                return words[1]
            bases = [ticker for ticker in tickers if len(words) == 1 and words[0].startswith(ticker)]
            if bases:
                return words[0].removeprefix(max(bases, key=len))  # of ETH and ETHFI, ETHFIUSD means the longer
        return ""

    def _readings(self) -> list[tuple[str, ...]]:
        # Only names that tell the timeframe may begin with an exchange: backup_BTC-USD.csv is no second market.
        return [self.words] if self.bar is None or len(self.words) == 1 else [self.words, self.words[1:]]


def bar_files(folder: Path) -> list[BarFile]:
    """The files in `folder` with a suffix of bar files, in any case, sorted by name."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [file for file in map(_parse, paths) if file is not None]


def quote_of_files(folder: Path, *, tickers: Sequence[str]) -> str:
    """The quote currency on which the names of all of the tickers' files in `folder` agree, such as `USDT`.

    Raises:
        ConfigurationError: no file is named after one of the tickers, or the names speak of several quotes.
    """
    files = bar_files(folder)
    quotes = sorted({quote for file in files for quote in [file.quote(tickers)] if quote})
    if not quotes:
        wanted = f"named like {tickers[0]}-USD.parquet or {tickers[0]}USD.csv, ticker and quote currency"
        if not files:
            raise ConfigurationError(
                f"{folder} holds no Parquet, Feather or CSV file; put one for each ticker there, {wanted}."
            )
        raise ConfigurationError(
            f"{folder} holds {listed_files(files)}, of which none is {wanted}; rename them, or set CAPPUCCINO_TICKERS "
            f"to the tickers in their names (now {','.join(tickers)})."
        )
    if len(quotes) > 1:
        raise ConfigurationError(
            f"the files in {folder} are quoted in {', '.join(quotes)}; choose one with CAPPUCCINO_QUOTE."
        )
    return quotes[0]


def listed_files(files: Sequence[BarFile]) -> str:
    """The first names, for messages."""
    return ", ".join(file.path.name for file in files[:_LISTED_FILES]) + (", ..." if len(files) > _LISTED_FILES else "")


def suffix_of(path: Path) -> str:
    """The suffix of a bar file in lower case, `.csv.gz` as one; empty if it has none of them."""
    return next((suffix for suffix in reversed(BAR_FILE_SUFFIXES) if path.name.lower().endswith(suffix)), "")


def _parse(path: Path) -> BarFile | None:
    suffix = suffix_of(path)
    name = re.sub(r"[-_ ]+", "-", path.name[: len(path.name) - len(suffix)].upper()).strip("-")
    found = _NAME.fullmatch(name)
    if not suffix or found is None:
        return None
    return BarFile(
        path=path,
        words=tuple(found["pair"].split("-")),
        bar=_length(found["bar"]) if found["bar"] else None,
        dated=bool(found["year"] or found["date"]),
    )


def _length(text: str) -> timedelta:
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit) or 1) * _UNITS[unit]
