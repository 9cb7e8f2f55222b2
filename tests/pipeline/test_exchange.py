"""An exchange behind the real assets: first load, a night, faults that change nothing, keys that stay secret."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from lookalikes.alpaca import AlpacaLookAlike
from lookalikes.binance import Binance
from lookalikes.server import HTML, LookAlike
from lookalikes.simulated_market import SimulatedMarket
from pydantic import SecretStr

from cappuccino_ml.bars import CcxtSource, SimulatedSource, Universe
from cappuccino_ml.core import ManualClock
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.definitions import definitions_for
from cappuccino_pipeline.demo import failure_reason
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.resources import Cappuccino

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 3, 10, 5, 3, tzinfo=UTC)
CANARY_KEY, CANARY_SECRET = "PKCANARYKEY0123456789", "canary+secret/0123456789=="
PAIR = Universe(tickers=("BTC", "ETH"), quote="USDT")


@pytest.fixture
def binance() -> Iterator[Binance]:
    with Binance(SimulatedMarket(now=NOW, first=SINCE)) as venue:
        yield venue


def over_binance(state: Path, venue: LookAlike, universe: Universe = PAIR) -> Cappuccino:
    configuration = Configuration(
        state=state, source="ccxt", exchange="binance", since=SINCE, url=venue.url, universe=universe
    )
    return Cappuccino(configuration, clock=ManualClock(NOW))


def update(cappuccino: Cappuccino, first: str, last: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions_for(cappuccino).resolve_job_def("update_bars")
    return job.execute_in_process(instance=instance, tags=months_tags(first=first, last=last), raise_on_error=False)


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_first_load_then_a_night_asks_for_the_new_day_only(tmp_path: Path, binance: Binance):
    cappuccino, instance = over_binance(tmp_path, binance), dg.DagsterInstance.ephemeral()
    assert cappuccino.coverage == (SINCE, None)
    assert cappuccino.configuration.market.startswith("binance-usdt-1h")
    assert update(cappuccino, "2024-01", "2024-03", instance).success
    truth = SimulatedSource(start=SINCE, end=NOW.replace(minute=0))
    held = cappuccino.bars.read_all()
    for symbol in PAIR.symbols:
        bars = held[held["symbol"] == symbol].drop(columns="symbol").reset_index(drop=True)
        expected = truth.fetch(symbol=symbol, universe=PAIR, start=SINCE, end=NOW)
        pd.testing.assert_frame_equal(bars, expected, rtol=0, atol=1e-8)

    first_load = len(binance.asked())
    binance.market.now += timedelta(days=1)
    cappuccino.clock.set(NOW + timedelta(days=1))
    assert update(cappuccino, "2024-03", "2024-03", instance).success
    night = binance.asked()[first_load:]
    assert len(night) == len(PAIR.symbols)
    assert cappuccino.bars.read_all()["timestamp"].max() == pd.Timestamp("2024-03-11T04:00", tz="UTC")


def test_answers_that_are_no_bars_fail_the_run_in_one_sentence_and_leave_the_lake_as_it_was(
    tmp_path: Path, binance: Binance
):
    cappuccino, instance = over_binance(tmp_path, binance), dg.DagsterInstance.ephemeral()
    cappuccino.source = CcxtSource(
        "binance", since=SINCE, clock=cappuccino.clock, url=binance.url, sleep=lambda seconds: None
    )
    assert update(cappuccino, "2024-01", "2024-02", instance).success
    before = bytes_of(tmp_path / "bars")
    binance.stay(HTML)
    result = update(cappuccino, "2024-03", "2024-03", instance)
    assert not result.success
    reason = failure_reason(result)
    assert "binance" in reason
    assert "not JSON" in reason
    assert "what is stored stays as it is" in reason
    assert "\n" not in reason
    assert bytes_of(tmp_path / "bars") == before
    binance.stay(None)
    assert update(cappuccino, "2024-03", "2024-03", instance).success


def test_after_an_outage_that_cannot_be_filled_a_later_beginning_is_the_way_out(tmp_path: Path):
    outage = frozenset(datetime(2024, 1, 20, hour, tzinfo=UTC) for hour in range(12))
    instance = dg.DagsterInstance.ephemeral()
    with Binance(SimulatedMarket(now=NOW, first=SINCE, holes=outage)) as venue:
        cappuccino = over_binance(tmp_path, venue)
        result = update(cappuccino, "2024-01", "2024-03", instance)
        assert not result.success
        assert "no bars for 12 bars from 2024-01-20T00:00Z" in failure_reason(result)
        configuration = cappuccino.configuration.model_copy(update={"since": datetime(2024, 1, 21, tzinfo=UTC)})
        later = Cappuccino(configuration, clock=ManualClock(NOW))
        assert later.bars.folder == cappuccino.bars.folder
        asked = len(venue.asked())
        assert update(later, "2024-01", "2024-02", instance).success
        assert len(venue.asked()) == asked
        assert later.panel().timestamps[0] == np.datetime64("2024-01-21", "us")


def test_months_from_before_a_later_beginning_are_neither_stale_nor_in_the_way(tmp_path: Path, binance: Binance):
    instance = dg.DagsterInstance.ephemeral()
    cappuccino = over_binance(tmp_path, binance)
    assert update(cappuccino, "2024-01", "2024-03", instance).success
    configuration = cappuccino.configuration.model_copy(update={"since": datetime(2024, 2, 3, tzinfo=UTC)})
    later = Cappuccino(configuration, clock=ManualClock(NOW))
    result = update(later, "2024-02", "2024-02", instance)
    assert result.success
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "features_are_current"]
    assert (check.passed, check.metadata["months"].value) == (True, 2)
    assert set(later.features.partitions) == {"2024-01", "2024-02", "2024-03"}


def test_another_universe_or_timeframe_is_a_new_table_beside_the_old_one(tmp_path: Path, binance: Binance):
    instance = dg.DagsterInstance.ephemeral()
    assert update(over_binance(tmp_path, binance), "2024-01", "2024-01", instance).success
    before = bytes_of(tmp_path / "bars")
    others = [
        Universe(tickers=("ETH",), quote="USDT"),
        Universe(tickers=("BTC", "ETH"), quote="USDT", timeframe="4h"),
    ]
    for universe in others:
        cappuccino = over_binance(tmp_path, binance, universe)
        assert update(cappuccino, "2024-01", "2024-03", instance).success
        assert set(cappuccino.bars.read_all()["symbol"]) == set(universe.symbols)
    after = bytes_of(tmp_path / "bars")
    assert before.items() <= after.items()
    assert len({name.split("/")[0] for name in after}) == 3


@pytest.mark.parametrize("timeframe", ["4h", "1d"])
def test_long_bars_begin_at_midnight_and_a_forming_one_is_never_stored(
    tmp_path: Path, binance: Binance, timeframe: str
):
    universe = PAIR.model_copy(update={"timeframe": timeframe})
    cappuccino = over_binance(tmp_path, binance, universe)
    job = definitions_for(cappuccino).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=dg.DagsterInstance.ephemeral(),
        asset_selection=[dg.AssetKey("ohlcv_bars")],
        tags=months_tags(first="2024-01", last="2024-03"),
    )
    assert result.success
    stamps = cappuccino.bars.read_all()["timestamp"]
    assert set(stamps.dt.hour) == ({0} if timeframe == "1d" else {0, 4, 8, 12, 16, 20})
    last = pd.Timestamp("2024-03-09" if timeframe == "1d" else "2024-03-10T00:00", tz="UTC")
    assert stamps.max() == last
    assert {request.query["interval"] for request in binance.asked()} == {"1h"}


def test_p9_the_keys_of_alpaca_reach_the_server_and_nothing_else(tmp_path: Path):
    market = SimulatedMarket(now=NOW, first=SINCE)
    with AlpacaLookAlike(market, keys=(CANARY_KEY, CANARY_SECRET)) as venue:
        configuration = Configuration(
            state=tmp_path / "state",
            source="alpaca",
            since=SINCE,
            url=venue.url,
            universe=Universe(tickers=("BTC", "ETH")),
            alpaca_key=SecretStr(CANARY_KEY),
            alpaca_secret=SecretStr(CANARY_SECRET),
        )
        cappuccino = Cappuccino(configuration, clock=ManualClock(NOW))
        (tmp_path / "dagster").mkdir()
        with dg.instance_for_test(temp_dir=str(tmp_path / "dagster")) as instance:
            assert update(cappuccino, "2024-02", "2024-03", instance).success
            refused = Cappuccino(
                configuration.model_copy(update={"alpaca_key": SecretStr("wrong"), "state": tmp_path / "other"}),
                clock=ManualClock(NOW),
            )
            result = update(refused, "2024-02", "2024-02", instance)
            assert not result.success
            assert "APCA_API_KEY_ID" in failure_reason(result)
    assert {request.headers.get("apca-api-key-id") for request in venue.asked()} == {CANARY_KEY, "wrong"}
    assert CANARY_KEY not in repr(configuration) + str(configuration.model_dump())
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    leaks = [path for path in written if any(c.encode() in path.read_bytes() for c in (CANARY_KEY, CANARY_SECRET))]
    assert leaks == []
