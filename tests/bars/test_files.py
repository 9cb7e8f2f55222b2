"""A folder of bar files is read as its vendors write them, and what cannot be read is one sentence."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import BARS_COLUMNS, BarSource, FilesSource, Universe, align, audit_bars
from cappuccino_ml.bars import files as files_module
from cappuccino_ml.bars.file_names import BAR_FILE_SUFFIXES, quote_of_files
from cappuccino_ml.bars.files import files_source
from cappuccino_ml.core import ConfigurationError, DataError, canonical_json

from .vendor_files import BTC, VALUES, bars, binance, fetch, freqtrade, of, same

REAL_5M = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_5m"


def test_the_parts_of_a_symbol_are_joined_and_of_two_with_one_time_the_later_name_wins(tmp_path: Path):
    frame = bars("2024-12-01", 62 * 24)
    december, january = frame.iloc[: 31 * 24], frame.iloc[31 * 24 :]
    binance(tmp_path / "BTCUSDT-1h-2024-12.csv", december)
    binance(tmp_path / "BTCUSDT-1h-2025-01.csv", january, unit="us", header=True)
    same(fetch(tmp_path), frame)
    source = FilesSource(tmp_path)
    assert source.coverage(BTC) == (datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
    since, until = datetime(2024, 12, 31, 20, 30, tzinfo=UTC), datetime(2025, 1, 1, 5, tzinfo=UTC)
    inside = (frame["timestamp"] >= since) & (frame["timestamp"] < until)
    same(source.fetch(symbol="BTC-USDT", universe=BTC, start=since, end=until), frame[inside])
    # The archive's daily file came first; the month's file, which sorts after it, is the final word.
    binance(tmp_path / "BTCUSDT-1h-2024-12-05.csv", other(december))
    same(fetch(source), frame)
    binance(tmp_path / "BTCUSDT-1h-2025-01-01.csv", other(december))
    changed = frame.copy()
    changed.loc[96:119, VALUES] = other(december)[VALUES]
    same(fetch(source), changed)


def other(frame: pd.DataFrame) -> pd.DataFrame:
    """The fifth day of `frame` with other values."""
    day = frame.iloc[96:120].copy()
    day[VALUES] *= 2
    return day


def test_a_file_counts_only_if_its_name_tells_this_symbol_and_timeframe(tmp_path: Path):
    for timeframe, freq in {"5m": "5min", "1h": "1h", "1d": "1D"}.items():
        freqtrade(tmp_path / f"BTC_USDT-{timeframe}.feather", bars(freq=freq))
        same(fetch(tmp_path, universe=of(timeframe)), bars(freq=freq))
    for name in ("BTC_USDT_USDT-1h-futures.feather", "BTC_USDT_USDT-1h-mark.feather", "._BTC_USDT-1h.feather"):
        (tmp_path / name).write_bytes(b"not opened")
    for name in ("backup_BTC_USDT.csv", "WBTC_USDT-1h.csv", "BTC_USDT-1mo.csv", "BTC_USDT-trades.feather", "notes.txt"):
        (tmp_path / name).write_text("not opened")
    (tmp_path / "BTC-USDT.csv").mkdir()
    same(fetch(tmp_path), bars())
    with pytest.raises(DataError, match=r"no file for BTC-USDT with 15m bars.*set the timeframe their names tell"):
        fetch(tmp_path, universe=of("15m"))
    source = files_source(tmp_path, BTC)
    assert list(source.identity()["files"]) == ["BTC_USDT-1h.feather"]


@pytest.mark.parametrize(
    "names",
    [
        ("Binance_BTCUSDT_1h.csv", "Kraken_BTCUSDT_1h.csv"),
        ("BTC-USDT.csv", "BTCUSDT-1h-2024-01.csv"),
        ("BTCUSDT-1h-2024-01.csv", "BTCUSDT-1h.csv"),
        ("BTC-USDT.csv", "BTCUSDT.csv"),
        ("BTCUSDT-1h-2024-01.csv", "BTC_USDT-1h.feather"),
    ],
)
def test_two_markets_for_one_symbol_are_refused_by_name(tmp_path: Path, names: tuple[str, str]):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"holds .* and .* for BTC-USDT; keep one\.") as caught:
        fetch(tmp_path)
    assert all(name in str(caught.value) for name in names)
    with pytest.raises(DataError, match="keep one"):
        files_source(tmp_path, BTC).identity()


def test_the_identity_survives_a_move_and_later_parts_and_tells_other_bars(tmp_path: Path):
    frame = bars("2024-01-01", 60 * 24)
    january, february = frame.iloc[: 31 * 24], frame.iloc[31 * 24 :]
    folders = {name: tmp_path / name for name in ("days", "month", "moved", "later", "other", "earlier")}
    for folder in folders.values():
        folder.mkdir()
    for day in range(3):
        binance(folders["days"] / f"BTCUSDT-1h-2024-01-0{day + 1}.csv", january.iloc[24 * day : 24 * day + 24])
    binance(folders["month"] / "BTCUSDT-1h-2024-01.csv", january)
    for name in ("moved", "earlier"):
        binance(folders[name] / "BTCUSDT-1h-2024-01.csv", january)
        binance(folders[name] / "BTCUSDT-1h-2024-02.csv", february)
    binance(folders["earlier"] / "BTCUSDT-1h-2023-12.csv", bars("2023-12-01", 31 * 24))
    binance(folders["later"] / "BTCUSDT-1h-2024-02.csv", february)
    binance(folders["other"] / "BTCUSDT-1h-2024-01.csv", january.assign(volume=1.0))
    identities = {name: canonical_json(FilesSource(folder).identity()) for name, folder in folders.items()}
    assert identities["days"] == identities["month"] == identities["moved"]
    assert len(set(identities.values())) == 4
    ours = [files_source(folders[name], BTC).identity() for name in ("month", "moved")]
    freqtrade(folders["moved"] / "BTC_USDT-5m.feather", bars(freq="5min"))
    assert ours[0] == ours[1] == files_source(folders["moved"], BTC).identity()


def test_the_identity_is_of_the_bars_that_are_fetched(tmp_path: Path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    for folder in (alone, both):
        folder.mkdir()
        binance(folder / "BTCUSDT-1h-2024-01.csv", bars())
    binance(both / "BTCUSDT-1h-2024-01-01.csv", bars(seed=8, rows=24))
    same(fetch(both), bars())
    assert FilesSource(both).identity() == FilesSource(alone).identity()
    freqtrade(both / "BTC_USDT-1d.feather", bars(freq="1D"))
    every = FilesSource(both, symbols=BTC.symbols).identity()["files"]
    assert set(every) == {"BTCUSDT-1h", "BTC_USDT-1d.feather"}
    daily = FilesSource(both, symbols=BTC.symbols, timeframe="1d").identity()["files"]
    assert daily == {"BTC_USDT-1d.feather": every["BTC_USDT-1d.feather"]}
    assert FilesSource(both, timeframe="1d").identity()["files"] == daily


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []
    read = files_module.read_bar_file

    def counted(file: files_module.BarFile) -> pd.DataFrame:
        parsed.append(file.path.name)
        return read(file)

    monkeypatch.setattr(files_module, "read_bar_file", counted)
    frame = bars("2024-01-31", 48)
    paths = [tmp_path / f"BTCUSDT-1h-2024-0{month}.csv" for month in (1, 2)]
    binance(paths[0], frame.iloc[:24])
    binance(paths[1], frame.iloc[24:40])
    source = FilesSource(tmp_path)
    for _ in range(3):
        source.identity()
        source.coverage(BTC)
        same(fetch(source), frame.iloc[:40])
    assert sorted(parsed) == [path.name for path in paths]
    binance(paths[1], frame.iloc[24:])
    os.utime(paths[1], ns=(1, 1))
    same(fetch(source), frame)
    assert sorted(parsed) == [paths[0].name, paths[1].name, paths[1].name]


def test_what_fetch_returns_can_be_changed_without_harm(tmp_path: Path):
    binance(tmp_path / "BTCUSDT-1h-2024-01.csv", bars())
    source = FilesSource(tmp_path)
    taken = fetch(source)
    taken.loc[:, VALUES] = 0.0
    same(fetch(source), bars())


def test_bars_further_apart_than_the_timeframe_name_the_file_and_the_way_out(tmp_path: Path):
    bars(freq="4h").to_csv(tmp_path / "BTC-USDT.csv", index=False)
    with pytest.raises(DataError, match=r"BTC-USDT\.csv holds bars 240 minutes apart, not 1h ones; set the timeframe"):
        fetch(tmp_path)


def test_a_stretch_of_longer_bars_is_refused_where_it_begins_and_not_filled(tmp_path: Path):
    whole = bars(rows=400)
    path = tmp_path / "BTC-USDT.csv"
    pd.concat([whole.iloc[:100], whole.iloc[100:204:4], whole.iloc[204:]]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"mixes lengths: from 2024-01-05T04:00Z .* 240 minutes apart, not 1h; supply"):
        fetch(tmp_path)
    thin = whole.drop(index=[row for row in range(100, 160) if row % 5 in (1, 2)])
    thin.to_csv(path, index=False)
    same(fetch(tmp_path), thin.reset_index(drop=True))


def test_a_folder_whose_names_say_no_pair_is_told_what_it_holds_and_how_to_name_it(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"holds no Parquet, Feather or CSV file; put one for each ticker"):
        quote_of_files(tmp_path, tickers=("BTC",))
    (tmp_path / "ALPHA.csv").touch()
    for tickers in (("ALPHA",), ("BTC", "ETH")):
        with pytest.raises(
            ConfigurationError, match=r"holds ALPHA\.csv, .* rename them, or set CAPPUCCINO_TICKERS"
        ) as said:
            quote_of_files(tmp_path, tickers=tickers)
        assert f"named like {tickers[0]}-USD.parquet or {tickers[0]}USD.csv" in str(said.value)
        assert f"(now {','.join(tickers)})" in str(said.value)


def test_the_quote_of_a_folder_is_the_one_all_names_agree_on(tmp_path: Path):
    for name in (
        *("BTC_USDT-1h.feather", "ethusdt-1h-2024-01.csv", "Binance_LTCUSDT_1h.csv", "UNI-USDT.parquet"),
        *("ETHFIUSDT.csv", "BTC_USDT_USDT-1h-futures.feather", "XRPEUR.csv", "BTC-EUR.txt", "notes.csv"),
    ):
        (tmp_path / name).touch()
    tickers = ("BTC", "ETH", "LTC", "UNI", "ETHFI")
    assert quote_of_files(tmp_path, tickers=tickers) == "USDT"
    (tmp_path / "Kraken_BTCUSD_d.csv.gz").touch()
    with pytest.raises(ConfigurationError, match="are quoted in USD, USDT; choose one with CAPPUCCINO_QUOTE"):
        quote_of_files(tmp_path, tickers=tickers)
    assert set(BAR_FILE_SUFFIXES) == {".parquet", ".feather", ".csv", ".csv.gz"}


def audited(source: BarSource, universe: Universe) -> pd.DataFrame:
    start, end = source.coverage(universe)
    assert end is not None
    fetched = [
        source.fetch(symbol=symbol, universe=universe, start=start, end=end).assign(symbol=symbol)
        for symbol in universe.symbols
    ]
    return pd.concat(fetched, ignore_index=True)[list(BARS_COLUMNS)]


def test_five_minutes_are_a_base_timeframe_with_holes_of_six_hours(tmp_path: Path):
    universe = of("5m", "BTC", "ETH")
    frame = bars(rows=600, freq="5min")
    frame.drop(index=range(100, 172)).to_csv(tmp_path / "BTC-USDT-5m.csv", index=False)
    binance(tmp_path / "ETHUSDT-5m-2024-01.csv", bars(rows=600, freq="5min", seed=2))
    held = audited(files_source(tmp_path, universe), universe)
    report = audit_bars(held, universe)
    assert report.passed
    assert report.filled == {"BTC-USDT": 72, "ETH-USDT": 0}
    panel = align(held, universe)
    assert len(panel) == 600
    assert panel.is_filled.sum() == 72
    assert set(np.diff(panel.timestamps)) == {np.timedelta64(5, "m")}
    longer = held[(held["symbol"] != "BTC-USDT") | (held["timestamp"] != frame["timestamp"][172])]
    assert [finding.kind for finding in audit_bars(longer, universe).errors] == ["hole"]
    with pytest.raises(DataError, match="no bars for 73 bars from 2024-01-01T08:20Z, more than the 72"):
        align(longer, universe)


@pytest.mark.skipif(not REAL_5M.is_dir(), reason="real bars are not part of the repository")
def test_real_five_minute_bars_pass():
    universe = Universe(quote="USDT", timeframe="5m")
    assert quote_of_files(REAL_5M, tickers=universe.tickers) == "USDT"
    held = audited(files_source(REAL_5M, universe), universe)
    report = audit_bars(held, universe)
    assert report.passed
    assert set(report.rows.values()) == {35_136}
    assert set(report.filled.values()) == {0}
    panel = align(held, universe)
    assert len(panel) == 35_136
    assert not panel.is_filled.any()
