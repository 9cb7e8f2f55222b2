"""Thousands of bars with random faults and kills on the simulated broker: nothing doubled, nothing lost, one book."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rich.console import Console
from rich.progress import track

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Guards
from cappuccino_ml.features import FEATURES
from cappuccino_ml.trading import Habits, Limits, Mode, Order, SimulatedBroker, Trader, engine
from cappuccino_ml.trading.orders import OPEN

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, Floats, make_desk, make_panel
from .faulty import FaultyBroker, last_statuses, state_of

QUIET_BARS = 3
Watched = Callable[[range], Iterable[int]]  # shows how far the rows are
HABITS = Habits(
    fee_in_coin=True, tells_fee=False, latency_s=2.0, partial_share=0.15, reject_share=0.02, min_buy_notional=10
)


class DyingBroker(FaultyBroker):
    """Also lets the process die inside a POST: before the order arrives, or after it was taken."""

    def submit(self, order: Order):  # type: ignore[no-untyped-def]
        word = self.script[0] if self.script else ""
        if word in {"killed before", "killed after"}:
            self.script.popleft()
            if word == "killed after":
                super().submit(order)
            raise CrashError
        return super().submit(order)


class NoFeatures:
    """The wishes of a soak come from a table: features would only cost time."""

    def window(self, panel: BarPanel, *, lookback: int) -> Floats:
        return np.zeros((lookback, len(panel.universe.tickers), len(FEATURES)))


def make_trouble(rng: random.Random, broker: DyingBroker, *, kill_share: float) -> tuple[str, int]:
    """Choose what goes wrong at the next bar -> (its name, ledger write at which the process dies or -1)."""
    broker.calm()
    kind = rng.choices(
        ["none", "posts", "looks", "both", "outage", "killed at a write", "killed in a POST"],
        weights=[0.72 - kill_share, 0.12, 0.06, 0.06, 0.04, kill_share / 2, kill_share / 2],
    )[0]
    if kind in {"posts", "both"}:
        broker.script.extend(rng.choices(["", "lost", "cut", "late", "busy", "used"], k=rng.randint(1, 6)))
    if kind in {"looks", "both"}:
        broker.looks.extend(rng.choices(["", "silent", "missing"], weights=[2, 3, 1], k=rng.randint(1, 8)))
    if kind == "outage":
        broker.down = rng.choice(["account", "positions", "quotes"])
    if kind == "killed in a POST":
        broker.script.extend([""] * rng.randint(0, 2))
        broker.script.append(rng.choice(["killed before", "killed after"]))
    return kind, rng.randint(1, 14) if kind == "killed at a write" else -1


def open_trader(desk: Desk, *, crash_at: int = -1, after: bool = False) -> Trader | None:
    try:
        return desk.open(ledger_type=CrashingLedger, crash_at=crash_at, after=after)
    except (CrashError, TradingError):
        return None


def soak(*, bars: int, seed: int, folder: Path, kills: int, watched: Watched = iter) -> dict[str, Any]:
    """Trade `bars` bars in trouble, with about so many `kills`, and a few in peace -> figures, bad ones included."""
    with patch.object(engine, "FeatureStream", NoFeatures):
        return trade_in_trouble(
            bars=bars, seed=seed, folder=folder, kill_share=min(0.12, kills / bars), watched=watched
        )


def trade_in_trouble(*, bars: int, seed: int, folder: Path, kill_share: float, watched: Watched) -> dict[str, Any]:
    rng = random.Random(seed)
    panel = make_panel(seed=seed, bars=FIRST + bars + QUIET_BARS + 2, filled=0.002)
    actor = FakeActor(guards=Guards(max_drawdown=0.999, dead_band=0.0), lookback=1)
    desk = make_desk(
        folder, panel=panel, actor=actor, cash="10000000", broker_type=DyingBroker, habits=HABITS.model_copy()
    )
    desk.limits = Limits()
    broker: DyingBroker = desk.broker
    wishes = np.random.default_rng(seed).uniform(-1, 1, (len(panel), 3))
    wishes[np.random.default_rng(seed + 1).random((len(panel), 3)) < 0.6] = 0.0
    wishes[FIRST + bars :] = 0.0  # the last fees in coin are seen when the books are compared once more
    actor.rule = lambda window, entries: wishes[desk.row]
    troubles: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    trader, longest_s = open_trader(desk), 0.0
    for row in watched(range(FIRST, FIRST + bars + QUIET_BARS)):
        desk.at(row)
        kind, crash_at = make_trouble(rng, broker, kill_share=kill_share) if row < FIRST + bars else ("none", -1)
        if row >= FIRST + bars:
            broker.calm()
        troubles[kind] += 1
        if crash_at > 0:  # the process that will die is another one than before
            trader = open_trader(desk, crash_at=crash_at, after=rng.random() < 0.5)
        for _ in range(3):
            began = desk.clock.now()
            try:
                trader = trader or open_trader(desk)
                if trader is not None:
                    counts[trader.tick().status] += 1
                    break
                counts["no start"] += 1
            except CrashError:
                counts["kills"] += 1
                trader = None
            except TradingError:
                counts["refused ticks"] += 1
                break
            finally:
                longest_s = max(longest_s, (desk.clock.now() - began).total_seconds())
        actor.seen.clear()
        if trader is not None and trader.mode == Mode.HALTED:
            break  # a person would have to look: a figure, and not a good one
    return {**figures(desk, broker), "longest_tick_s": longest_s, **counts, "troubles": dict(sorted(troubles.items()))}


def figures(desk: Desk, broker: FaultyBroker) -> dict[str, Any]:
    state, ends = state_of(desk), last_statuses(desk)
    held = {symbol: units for symbol, units in SimulatedBroker.positions(broker).items() if units}
    unknown = set(broker.accepted) - set(ends)
    return {
        "intents": len(ends),
        "posts": len(broker.posts),
        "orders_at_broker": len(broker.accepted),
        "duplicate_orders": broker.doubled,
        "lost_intents": len(unknown) + sum(status in OPEN for status in ends.values()),
        "book_equals_broker": state.positions == held,
        "halted": state.stopped,
        "ends": {str(status): count for status, count in sorted(Counter(ends.values()).items())},
    }


def is_clean(found: dict[str, Any]) -> bool:
    """Nothing doubled, nothing lost, one book, no halt."""
    wrong = found["duplicate_orders"] + found["lost_intents"] + bool(found["halted"])
    return found["book_equals_broker"] and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=80, help="about so many; each restart reads the whole ledger")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, errors = time.monotonic(), Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(
            bars=given.bars,
            seed=given.seed,
            folder=Path(folder),
            kills=given.kills,
            watched=lambda rows: track(rows, "bars", console=errors, disable=not errors.is_terminal),
        )
    found = {"bars": given.bars, "seed": given.seed, **found, "seconds": round(time.monotonic() - began)}
    for name, value in found.items():
        print(f"{name:>20}  {value}")
    print(json.dumps({name: found[name] for name in ("duplicate_orders", "lost_intents", "book_equals_broker")}))
    return 0 if is_clean(found) else 1


if __name__ == "__main__":
    sys.exit(main())
