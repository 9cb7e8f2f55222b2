"""Writes bars to files as the usual vendors do, and reads them back through the source."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cappuccino_ml.bars import BarSource, FilesSource, Universe

BTC = Universe(tickers=("BTC",), quote="USDT")
BEGIN, FOREVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
VALUES = ["open", "high", "low", "close", "volume"]
VOLUMES = {"volume btc": "volume", "volume usdt": "quoted"}
BINANCE = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def bars(start: str = "2024-01-01", rows: int = 48, *, freq: str = "1h", seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    price = 100 * np.exp(np.cumsum(0.01 * random.standard_normal(rows + 1)))
    first, last = price[:-1], price[1:]
    return pd.DataFrame(
        {
            "timestamp": pd.date_range(start, periods=rows, freq=freq, tz="UTC").as_unit("us"),
            "open": first,
            "high": np.maximum(first, last) * 1.002,
            "low": np.minimum(first, last) * 0.997,
            "close": last,
            "volume": random.lognormal(3, 1, rows),
        }
    )


def epoch(frame: pd.DataFrame, unit: str) -> pd.Series:
    return frame["timestamp"].dt.tz_convert(None).astype(f"datetime64[{unit}]").astype("int64")


def freqtrade(path: Path, frame: pd.DataFrame, *, unit: str = "ms") -> None:
    dated = frame.rename(columns={"timestamp": "date"})
    dated["date"] = dated["date"].dt.as_unit(unit)
    dated.to_feather(path)


def klines(frame: pd.DataFrame, *, unit: str = "ms") -> pd.DataFrame:
    """The twelve columns of data.binance.vision; quote and taker volumes are there to be taken by mistake."""
    table = pd.DataFrame({"open_time": epoch(frame, unit), **frame[VALUES].to_dict("series")})
    table["close_time"] = table["open_time"] + 3_599_999
    return table.assign(
        quote_volume=frame["volume"] * 1000, count=7, taker_buy_volume=1.0, taker_buy_quote_volume=2.0, ignore=0
    )[BINANCE.split(",")]


def binance(path: Path, frame: pd.DataFrame, *, unit: str = "ms", header: bool = False) -> None:
    klines(frame, unit=unit).to_csv(path, header=header, index=False)


def cryptodatadownload(path: Path, frame: pd.DataFrame, *, header: str, date_form: str = "%Y-%m-%d %H:%M:%S") -> None:
    """Newest first, a line with an address above; the volume in quote comes after the one in base."""
    columns = {
        "unix": epoch(frame, "ms"),
        "date": frame["timestamp"].dt.strftime(date_form),
        "symbol": "BTC/USDT",
        **frame[VALUES].to_dict("series"),
        "quoted": frame["volume"] * 1000,
        "tradecount": 7,
    }
    names = [name.lower() for name in header.split(",")]
    table = pd.DataFrame({title: columns[VOLUMES.get(title, title)] for title in names})
    path.write_text(
        "https://www.CryptoDataDownload.com\n" + header + "\n" + table.iloc[::-1].to_csv(header=False, index=False)
    )


def pack(path: Path, table: pd.DataFrame) -> None:
    path.write_bytes(gzip.compress(table.to_csv(header=False, index=False).encode()))


def fetch(source: Path | BarSource, symbol: str = "BTC-USDT", universe: Universe = BTC) -> pd.DataFrame:
    source = FilesSource(source) if isinstance(source, Path) else source
    return source.fetch(symbol=symbol, universe=universe, start=BEGIN, end=FOREVER)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other.reset_index(drop=True), check_exact=True)


def of(timeframe: str, *tickers: str) -> Universe:
    return Universe(tickers=tickers or ("BTC",), quote="USDT", timeframe=timeframe)
