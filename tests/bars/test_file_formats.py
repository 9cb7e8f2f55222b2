"""One file is read as its vendor writes it, and what is not bars is one sentence."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cappuccino_ml.bars import FilesSource
from cappuccino_ml.bars.file_names import bar_files, quote_of_files
from cappuccino_ml.core import DataError

from .vendor_files import bars, binance, cryptodatadownload, epoch, fetch, freqtrade, klines, pack, same

SPELLINGS: dict[str, tuple[str, Callable[[Path, pd.DataFrame], None]]] = {
    "freqtrade ms": ("BTC_USDT-1h.feather", freqtrade),
    "freqtrade ns": ("BTC_USDT-1h.feather", lambda path, frame: freqtrade(path, frame, unit="ns")),
    "binance ms": ("BTCUSDT-1h-2024-01.csv", binance),
    "binance us": ("BTCUSDT-1h-2024-01.csv", lambda path, frame: binance(path, frame, unit="us")),
    "binance with header": ("BTCUSDT-1h-2024-01-01.csv", lambda path, frame: binance(path, frame, header=True)),
    "binance packed": ("BTCUSDT-1h-2024-01.CSV.GZ", lambda path, frame: pack(path, klines(frame))),
    "cryptodatadownload": (
        "Binance_BTCUSDT_1h.csv",
        lambda path, frame: cryptodatadownload(
            path, frame, header="Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount"
        ),
    ),
    "cryptodatadownload, volumes in the other order": (
        "Binance_BTCUSDT_1h.csv",
        lambda path, frame: cryptodatadownload(
            path, frame, header="unix,date,symbol,open,high,low,close,Volume USDT,Volume BTC"
        ),
    ),
    "cryptodatadownload, half days": (
        "Kraken_BTCUSDT_1hr.csv",
        lambda path, frame: cryptodatadownload(
            path,
            frame,
            header="Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT",
            date_form="%Y-%m-%d %I-%p",
        ),
    ),
    "cryptodatadownload, a year": (
        "Bitstamp_BTCUSDT_2024_1h.csv",
        lambda path, frame: cryptodatadownload(
            path, frame, header="date,symbol,open,high,low,close,volume btc,volume usdt"
        ),
    ),
    "plain with a timeframe": ("btc-usdt_1H.parquet", lambda path, frame: frame.to_parquet(path)),
    "plain with an index": ("BTC-USDT.parquet", lambda path, frame: frame.set_index("timestamp").to_parquet(path)),
    "plain feather": ("BTCUSDT.feather", lambda path, frame: frame.to_feather(path)),
}


@pytest.mark.parametrize(("name", "write"), SPELLINGS.values(), ids=SPELLINGS)
def test_every_usual_spelling_gives_the_same_bars_to_the_last_bit(
    tmp_path: Path, name: str, write: Callable[[Path, pd.DataFrame], None]
):
    write(tmp_path / name, bars())
    same(fetch(tmp_path), bars())
    assert quote_of_files(tmp_path, tickers=("BTC", "ETH")) == "USDT"
    assert set(FilesSource(tmp_path).identity()["files"]) == {bar_files(tmp_path)[0].series}


def test_epochs_are_read_value_by_value_across_the_change_from_ms_to_us(tmp_path: Path):
    frame = bars("2024-12-31", 48)
    table = pd.concat([klines(frame.iloc[:24]), klines(frame.iloc[24:], unit="us")])
    table.to_csv(tmp_path / "BTCUSDT-1h-2025-01.csv", header=False, index=False)
    same(fetch(tmp_path), frame)
    mixed = [epoch(frame, unit).iloc[row] for row, unit in enumerate(["s", "ms", "us", "ns"])]
    (frame.iloc[:4].assign(timestamp=mixed)).to_csv(tmp_path / "ETH-USDT.csv", index=False)
    same(fetch(tmp_path, "ETH-USDT"), frame.iloc[:4])


def test_columns_that_could_not_be_mapped_are_named(tmp_path: Path):
    frame = bars().rename(columns={"close": "last", "volume": "Amount (BTC)"})
    frame.assign(symbol="BTC/USDT", close_time=1).to_csv(tmp_path / "BTC-USDT.csv", index=False)
    with pytest.raises(DataError, match=r"lacks close, volume; .* of which last, Amount \(BTC\) were not understood"):
        fetch(tmp_path)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"volume": "Volume Spot", "more": "Volume Margin"}, "may be volume, Volume Spot and Volume Margin"),
        ({"volume": "Volume", "more": "volume"}, "may be volume, Volume and volume"),
        ({"volume": "Volume ETH", "more": "Volume USDT"}, "may be volume, Volume ETH and Volume USDT"),
        ({"more": "close"}, r"may be close, close and close\.1"),
        ({"volume": "Volume USDT"}, r"lacks volume; .* of which Volume USDT, more were not understood"),
    ],
)
def test_a_column_that_may_be_another_is_an_error_that_names_both(tmp_path: Path, columns: dict[str, str], named: str):
    bars().assign(more=1.0).rename(columns=columns).to_csv(tmp_path / "BTC-USDT.csv", index=False)
    with pytest.raises(DataError, match=named):
        fetch(tmp_path)


@pytest.mark.parametrize("column", ["symbol", "Symbol", "SYMBOL ", "Symbol.1"])
def test_a_file_with_the_bars_of_several_symbols_is_refused(tmp_path: Path, column: str):
    both = pd.concat([bars().assign(**{column: "BTC-USDT"}), bars(seed=2).assign(**{column: "ETH-USDT"})])
    both.to_parquet(tmp_path / "BTC-USDT.parquet")
    with pytest.raises(DataError, match="holds bars of BTC-USDT and ETH-USDT; give each symbol a file of its own"):
        fetch(tmp_path)


HTML = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"
NO_ROWS = b"time,open,high,low,close,volume\n"
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty parquet": ("BTC-USDT.parquet", b"", "cannot be read as PARQUET (it is empty)"),
    "empty feather": ("BTC-USDT.feather", b"", "cannot be read as FEATHER (it is empty)"),
    "empty csv": ("BTC-USDT.csv", b"", "cannot be read as CSV (it is empty)"),
    "blank csv": ("BTC-USDT.csv", b"\n\n", "cannot be read as CSV"),
    "only a header": ("BTC-USDT.csv", NO_ROWS, "holds no rows"),
    "only a banner": ("Binance_BTCUSDT_1h.csv", b"https://www.CryptoDataDownload.com\n", "cannot be read as CSV"),
    "a page instead": ("BTCUSDT-1h-2024-01.csv", HTML, "cannot be read as CSV (it is not lines of values"),
    "zeros": ("BTC-USDT.csv", bytes(5000), "cannot be read as CSV (it is not lines of values"),
    "no text": ("BTC-USDT.csv", b"\xff\xfe\x81,\xd8\n", "cannot be read as CSV"),
    "not feather": ("BTC_USDT-1h.feather", b"PAR1 but not this", "cannot be read as FEATHER"),
    "not parquet": ("BTC-USDT.parquet", b"ARROW1", "cannot be read as PARQUET"),
    "not packed": ("BTC-USDT.csv.gz", NO_ROWS, "cannot be read as CSV"),
    "packed and cut": ("BTC-USDT.csv.gz", gzip.compress(NO_ROWS * 99)[:-12], "cannot be read as CSV"),
    "six columns without a header": ("BTC-USDT.csv", b"1,2,3,4,5,6\n", "it has no header line, and not the 12"),
    "more values than names": ("BTC-USDT.csv", NO_ROWS + b"1704067200,1,1,1,1,1,9\n", "more values than its header"),
    "a longer row": ("BTC-USDT.csv", NO_ROWS + b"1,1,1,1,1,1\n1,1,1,1,1,1,1,1\n", "cannot be read as CSV"),
    "a cut row": ("BTC-USDT.csv", NO_ROWS + b"1704067200,1,1,1,1,1\n1704070800,1,1,1", "1 rows with an empty"),
    "an infinite time": ("BTC-USDT.csv", NO_ROWS + b"inf,1,1,1,1,1\n", "neither ISO 8601 nor an epoch"),
    "no time": ("BTC-USDT.csv", NO_ROWS + b"1704067200,1,1,1,1,1\n,1,1,1,1,1\n", "1 rows without a time"),
    "a word as a price": ("BTC-USDT.csv", NO_ROWS + b"1704067200,1,1,1,one,1\n", "not a number"),
    "semicolons": (
        "BTC-USDT.csv",
        b"time;open;high;low;close;volume\n2024-01-01;1,5;1,5;1,5;1,5;1\n",
        "has semicolons",
    ),
    "tabs": ("BTC-USDT.csv", NO_ROWS.replace(b",", b"\t"), "has tabs between its values; save it with commas"),
    "decimal comma": ("BTC-USDT.csv", NO_ROWS + b'1704067200,1,1,1,"1,5",1\n', "close is '1,5' in one of its rows"),
    "thousands": ("BTC-USDT.csv", NO_ROWS + b'1704067200,1,1,1,"1,234.50",1\n', "nothing between thousands"),
    "local day": (
        "BTC-USDT.csv",
        NO_ROWS + b"31.01.2024 13:00,1,1,1,1,1\n",
        "('31.01.2024 13:00'); write the bars' opens",
    ),
    "local noon": ("BTC-USDT.csv", NO_ROWS + b"01/31/2024 12:00 PM,1,1,1,1,1\n", "('01/31/2024 12:00 PM')"),
    "a day beside": (
        "BTC-USDT.csv",
        b"Date,Time,open,high,low,close,volume\n2024-01-31,13:00,1,1,1,1,1\n",
        "if Date has the rest of it, join them in one column timestamp",
    ),
    "half a time of day": ("BTC-USDT.csv", NO_ROWS + b"2024-01-01 13-AM,1,1,1,1,1\n", "neither ISO 8601"),
}


@pytest.mark.parametrize(("name", "content", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_not_bars_is_one_sentence_that_names_the_file(tmp_path: Path, name: str, content: bytes, words: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        fetch(tmp_path)
    message = str(caught.value)
    assert name in message
    assert words in message
    assert "\n" not in message
    assert message.endswith(".")


def test_a_real_format_cut_short_is_one_sentence(tmp_path: Path):
    for name, write in {"a.parquet": bars().to_parquet, "b.feather": bars().to_feather}.items():
        write(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        path = tmp_path / f"BTC-USDT{name[1:]}"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"BTC-USDT\.\w+ cannot be read as \w+ \(.*\); replace the file\.$"):
            fetch(tmp_path)
        path.unlink()
