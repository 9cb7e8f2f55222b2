"""The service around the trader: bars and deployments as they come, and what it says of itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import SimulatedSource
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ManualClock, SourceError, TradingError
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import CONTEXT_BARS
from cappuccino_ml.trading import (
    NO_LIMITS,
    Ledger,
    OneModel,
    OpenQuotes,
    Service,
    SimulatedBroker,
    SourceFeed,
    SourceQuotes,
    StoredBroker,
    Tick,
    TradingState,
    health_problems,
    read_health,
    replay,
)

from .conftest import FIRST, FakeActor, always, make_panel
from .shop import HOUR, Shop, Told, keyed


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, make_panel(filled=0.0), models={"1": keyed("1"), "2": keyed("2")})


def test_a_source_asked_bar_by_bar_gives_the_orders_of_a_replay_of_its_stored_bars(tmp_path: Path) -> None:
    universe, bars = Universe(tickers=("BTC", "ETH", "UNI")), 12
    begin = datetime(2024, 3, 1, tzinfo=UTC)
    source = SimulatedSource(start=begin - (CONTEXT_BARS - 1) * HOUR, end=begin + 100 * HOUR)
    actor = FakeActor(universe=universe, costs=Costs())
    empty = pd.DataFrame(
        {"symbol": pd.Series([], dtype="str"), "timestamp": pd.Series([], dtype="datetime64[us, UTC]")}
    )
    stored = SourceFeed(source, universe, history=lambda since: empty).panel(begin + (bars + 2) * HOUR)
    clock, ticks = ManualClock(begin + HOUR + timedelta(seconds=3)), list[Tick]()
    first = int(np.searchsorted(stored.timestamps, np.datetime64("2024-03-01T00:00")))
    broker = SimulatedBroker(
        symbols=universe.symbols,
        cash=Decimal(100_000),
        costs=actor.costs,
        quotes=SourceQuotes(source, universe, now=clock.now),
    )
    with Ledger(tmp_path / "live.db", durable=False) as ledger:
        Service(
            follower=OneModel(actor, "1"),
            open_broker=lambda model: broker,
            feed=SourceFeed(source, universe, history=lambda since: empty, since=source.start),
            ledger=ledger,
            universe=universe,
            clock=clock,
            sleep=lambda seconds: clock.set(clock.now() + timedelta(seconds=seconds)),
            publish=lambda health: None,
            alerts=Told(),
            limits=NO_LIMITS,
            told=ticks.append,
        ).run(until=clock.now() + (bars - 1) * HOUR)
    with Ledger(tmp_path / "replayed.db", durable=False) as ledger:
        session = replay(actor=actor, panel=stored, first=first, last=first + bars, ledger=ledger)
    live = np.array([tick.filled for tick in ticks if tick.status == "traded"])
    assert len(live) == bars
    np.testing.assert_allclose(live, session.orders, atol=1.5e-6)
    assert np.count_nonzero(live) > 5


def test_another_model_is_handed_over_between_two_bars_with_the_book(shop: Shop) -> None:
    shop.deploy("1")
    shop.at[shop.clock.now() + timedelta(hours=1, minutes=30)] = lambda: shop.deploy("2")
    health = shop.run(bars=4)
    assert shop.versions() == ["1", "1", "2", "2"]
    assert (health.state, health.model_version, health.bars_traded) == ("STOPPED", "2", 4)
    assert "version 2 (mlp) trades as challenger" in shop.told.reasons
    assert {each.state for each in shop.published[1:-1]} <= {"STARTING", "ACTIVE"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda shop: shop.models.pop("2"),
        lambda shop: shop.models["2"].__setattr__("key", "another"),
        lambda shop: shop.models["2"].__setattr__("universe", Universe(tickers=("ETH", "BTC", "UNI"))),
    ],
    ids=["altered", "another key", "another order of tickers"],
)
def test_a_model_that_cannot_be_used_leaves_the_last_good_one_trading_over_a_restart(
    shop: Shop, spoil: Callable[[Shop], object]
) -> None:
    shop.deploy("1")
    shop.run(bars=1)
    shop.deploy("2")
    spoil(shop)
    shop.sleep(3600)
    health = shop.run(bars=2)
    assert shop.versions() == ["1", "1", "1"]
    assert (health.model_version, health.refused_version) == ("1", "2")
    assert any("version 2 cannot be used" in said and "version 1 goes on" in said for said in shop.told.reasons)


def test_a_model_without_a_good_one_before_it_sends_no_orders_and_says_so(shop: Shop) -> None:
    shop.deploy("9")
    health = shop.run(bars=2)
    assert shop.broker.posts == []
    assert shop.published[-2].state == "WAITING"
    assert health.model_version is None
    assert any("nothing trades" in said for said in shop.told.reasons)


def test_a_new_model_whose_first_action_is_no_number_never_costs_the_bar(shop: Shop) -> None:
    shop.models["2"].rule = always(np.nan, 0, 0)
    shop.deploy("1")
    shop.at[shop.clock.now() + timedelta(minutes=30)] = lambda: shop.deploy("2")
    health = shop.run(bars=3)
    assert shop.versions() == ["1", "1", "1"]
    assert health.refused_version == "2"


def test_no_deployment_no_orders_and_a_withdrawn_one_stops_them(shop: Shop) -> None:
    assert shop.run(bars=1).model_version is None
    shop.deploy("1")
    shop.at[shop.clock.now() + timedelta(minutes=90)] = (shop.root / "deployment.json").unlink
    shop.sleep(3600)
    shop.run(bars=4)
    assert shop.versions() == ["1"]
    assert "no model is deployed, so nothing trades" in shop.told.reasons


def test_p5_a_source_that_fails_is_said_and_trading_goes_on_with_the_next_bar(shop: Shop) -> None:
    real, down, offs = shop.feed.panel, {"now": False}, count(11.3, 0.4)

    def panel(now: datetime) -> BarPanel:
        if down["now"]:
            raise SourceError(f"kraken gave no usable answer, its clock is {next(offs):.1f} s off.")
        return real(now)

    shop.feed.panel = panel  # type: ignore[method-assign]
    shop.deploy("1")
    shop.at[shop.clock.now() + timedelta(minutes=30)] = lambda: down.update(now=True)
    shop.at[shop.clock.now() + timedelta(minutes=150)] = lambda: down.update(now=False)
    health = shop.run(bars=5)
    assert shop.versions() == ["1"] * 3
    assert any(each.feed_is_stale and each.state == "ACTIVE" for each in shop.published)
    assert not health.feed_is_stale
    assert health.errors > 0
    assert sum("kraken" in said for said in shop.told.reasons) == 2, "once an hour, not once a try"


def test_p3_a_broker_that_is_silent_at_the_start_is_asked_again(shop: Shop) -> None:
    shop.broker.down = "positions"
    shop.deploy("1")
    shop.at[shop.clock.now() + timedelta(minutes=5)] = lambda: setattr(shop.broker, "down", "")
    shop.run(bars=2)
    assert shop.versions() == ["1", "1"]
    assert any(each.state == "WAITING" and "500" in each.why for each in shop.published)


def test_p12_fault_30_a_stop_in_the_middle_of_a_tick_sends_no_further_order(shop: Shop) -> None:
    shop.models["1"].rule = always(1, 1, 1)
    shop.deploy("1")
    with Ledger(shop.root / "ledger.db", durable=False) as ledger:
        service = shop.service(ledger)
        shop.broker.on_post = lambda order: service.ask_to_stop()
        began = shop.clock.now()
        service.run()
        kinds = [row.kind for row in ledger.rows()]
        state = TradingState.replay(ledger.rows())
    assert len(shop.broker.posts) == 1
    assert kinds[-1] == "stopped"
    assert not state.unresolved() or not state.positions
    assert state.positions == shop.broker.positions()
    assert (shop.clock.now() - began).total_seconds() < 60
    assert shop.published[-1].state == "STOPPED"


def test_fault_29_p7_a_halt_shows_in_health_and_survives_the_next_start(shop: Shop) -> None:
    shop.models["1"].guards = Guards(max_drawdown=0.02)
    shop.models["1"].rule = always(1, 1, 1)
    for prices in (shop.panel.open, shop.panel.high, shop.panel.low, shop.panel.close):
        prices[FIRST + 3 :] *= 0.7
    shop.deploy("1")
    shop.run(bars=6)
    assert shop.published[-2].state == "HALTED"
    assert shop.published[-2].drawdown > 0.02
    assert not any(shop.broker.positions().values())
    shop.sleep(3600)
    shop.run(bars=3)
    assert shop.published[-2].state == "HALTED"


def test_a_book_unlike_the_brokers_is_a_halt_that_health_explains(shop: Shop) -> None:
    shop.models["1"].rule = always(1, 1, 1)
    shop.deploy("1")
    shop.run(bars=1)
    shop.broker._units = {}
    shop.sleep(3600)
    shop.run(bars=1)
    health = shop.published[-2]
    assert (health.state, health.why) == ("HALTED", health.why)
    assert "our book says" in health.why
    problems = health_problems(health, deployment=None, wanted_version=None, now=health.heartbeat)
    assert any("our book says" in problem for problem in problems)


def test_the_kill_file_shows_in_health_and_sends_nothing(shop: Shop) -> None:
    (shop.root / "KILL").touch()
    shop.deploy("1")
    shop.run(bars=1)
    assert shop.published[-2].state == "HALTED"
    assert "KILL" in shop.published[-2].why
    assert shop.broker.posts == []


def test_an_error_nobody_thought_of_is_a_crash_that_health_names(shop: Shop) -> None:
    shop.deploy("1")
    shop.feed.panel = lambda now: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        shop.run(bars=1)
    health = read_health(shop.root / "health.json")
    assert health is not None
    assert health.state == "CRASHED"
    assert "ZeroDivisionError" in health.why


def test_p1_two_services_on_one_ledger_are_refused(shop: Shop) -> None:
    with Ledger(shop.root / "ledger.db", durable=False), pytest.raises(TradingError, match="another trader holds"):
        shop.run(bars=1)


def test_the_simulated_account_outlives_its_process(tmp_path: Path, shop: Shop) -> None:
    def account() -> StoredBroker:
        return StoredBroker(
            tmp_path / "account.json",
            symbols=shop.panel.universe.symbols,
            cash=Decimal(100_000),
            costs=FakeActor().costs,
            quotes=OpenQuotes(shop.panel, shop.clock),
            clock=shop.clock,
        )

    shop.models["1"].rule = always(1, 1, 1)
    shop.deploy("1")
    shop.broker = account()  # type: ignore[assignment]
    shop.run(bars=1)
    held = shop.broker.positions()
    shop.broker = account()  # type: ignore[assignment]
    assert shop.broker.positions() == held != {}
    shop.sleep(3600)
    assert shop.run(bars=1).state == "STOPPED"
    assert shop.versions() == ["1", "1"]
