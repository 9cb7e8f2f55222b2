"""The drill trips every guard of the real trader; a trader whose guard is broken fails it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cappuccino_ml.environment import Guards
from cappuccino_ml.trading import Trader, TradingState
from cappuccino_ml.trading import submission as submission_module
from cappuccino_ml.trading.drill import Drill, held_drill, run_drill

from .conftest import FIRST, FakeActor, always, make_panel

NAMES = ["kill file", "stop", "stale feed", "daily loss", "drawdown halt"]


def drilled(actor: FakeActor, *, seed: int = 3) -> Drill:
    panel = make_panel(seed=seed, bars=FIRST + 60, filled=0.02)
    return run_drill(model=actor, model_version="4", panel=panel, first=FIRST, last=FIRST + 50)


@pytest.mark.parametrize("lost", [0.2, 0.5, 0.9])
def test_every_guard_is_shown_with_a_model_that_trades(lost: float) -> None:
    drill = drilled(FakeActor(guards=Guards(max_drawdown=lost)))
    assert [one.name for one in drill.scenarios] == NAMES
    assert [one for one in drill.scenarios if one.passed is not True] == []
    assert (drill.model_key, drill.model_version) == ("fake-model", "4")


def test_what_a_resting_model_cannot_show_is_said_and_its_halt_is_shown_all_the_same() -> None:
    drill = drilled(FakeActor(rule=lambda window, entries: np.zeros(3)))
    assert [one.passed for one in drill.scenarios] == [None, None, None, True, True]
    assert "no order that could be held back" in drill.scenarios[0].seen


def test_a_greedy_model_cannot_buy_against_a_guard() -> None:
    assert all(one.passed for one in drilled(FakeActor(rule=always(1, 1, 1))).scenarios)


def test_a_session_too_short_for_a_drill_is_drilled_on_the_bars_before_it_too(tmp_path: Path) -> None:
    panel = make_panel(seed=3, bars=FIRST + 60)
    last = FIRST + 50
    drill = held_drill(tmp_path, model=FakeActor(), model_version="4", panel=panel, first=last - 2, last=last)
    assert [one.passed for one in drill.scenarios] == [True] * len(NAMES)


OF_POSITIONS = {"stop_loss": 0.1, "trailing_stop": 0.2, "min_holding_bars": 6, "cooldown_bars": 24}
PER_TICKER = ["stop-loss", "trailing stop", "minimum hold", "cool-down"]


@pytest.mark.usefixtures("quick_features")
@pytest.mark.parametrize(
    ("sizes", "wish"),
    [(OF_POSITIONS, 1.0), ({"stop_loss": 0.5, "min_holding_bars": 2, "cooldown_bars": 1}, -1.0)],
)
def test_the_guards_of_positions_that_a_model_has_are_shown_whatever_it_wishes(
    sizes: dict[str, Any], wish: float
) -> None:
    rule = always(wish, wish, wish)
    drill = drilled(FakeActor(rule=rule, guards=Guards.model_validate({"max_drawdown": 0.15, **sizes})))
    shown = [one for one in drill.scenarios if one.name in PER_TICKER]
    assert [one.name for one in shown] == [name for name in PER_TICKER if len(sizes) == 4 or name != "trailing stop"]
    assert [one for one in shown if one.passed is not True] == []


@pytest.mark.usefixtures("quick_features")
def test_a_trader_that_forgets_its_positions_fails_the_drill_of_each_of_their_guards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = TradingState.book

    def forgetful(self: TradingState, *given: Any, **named: Any) -> Any:
        self.memory = {}
        return plain(self, *given, **named)

    monkeypatch.setattr(TradingState, "book", forgetful)
    scenarios = drilled(FakeActor(rule=always(0, 0, 0), guards=Guards.model_validate(OF_POSITIONS))).scenarios
    assert [one.name for one in scenarios if one.passed is False] == PER_TICKER


@pytest.mark.parametrize("broken", ["kill file", "stale feed", "drawdown halt"])
def test_a_broken_guard_fails_the_drill(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    if broken == "kill file":
        monkeypatch.setattr(submission_module.Submission, "gate", lambda self, bar_close: None)
    elif broken == "stale feed":
        monkeypatch.setattr(Trader, "_fresh_until", lambda self, universe, bar_close: bar_close + 9 * universe.bar)
    else:
        plain = Trader._book

        def forgetful(self: Trader, *given: Any) -> Any:
            book, held = plain(self, *given)
            book.peak[0], book.halted[0] = 0.0, False
            return book, held

        monkeypatch.setattr(Trader, "_book", forgetful)
    failed = [one.name for one in drilled(FakeActor(rule=always(1, 1, 1))).scenarios if one.passed is False]
    assert broken in failed
