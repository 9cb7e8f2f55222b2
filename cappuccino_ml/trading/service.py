"""The trading service: waits for each bar's close, follows the deployment, trades, and says how it is."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Alert, Alerts, CappuccinoError, Clock, DataError, SourceError, TradingError
from cappuccino_ml.trading.broker import Broker
from cappuccino_ml.trading.engine import Tick, Trader
from cappuccino_ml.trading.feed import BarFeed, close_time, closed_rows
from cappuccino_ml.trading.following import Follower
from cappuccino_ml.trading.health import Health, State
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.model import ModelFailedError, TradingModel
from cappuccino_ml.trading.pace import Pace
from cappuccino_ml.trading.source_feed import floor
from cappuccino_ml.trading.state import TradingState

_SAME_AGAIN = timedelta(hours=1)
_MEASURED = re.compile(r"[+-]?\d[\d.,]* s\b")  # a time that was measured is no news


class _HeldFeed:
    """The bars that the service has just read: one tick, one question to the source."""

    def __init__(self) -> None:
        self.held: BarPanel | None = None

    def panel(self, now: datetime) -> BarPanel:
        if self.held is None:
            raise DataError("no bars have been read yet; look at the source.")
        return self.held


class Service:
    """One account, one ledger, one model at a time; `run` returns when it was asked to stop.

    Everything that may fail in the world (source, broker, model, record) is said, counted and tried again at a known
    pace; what the engine refuses stays refused until its reason is gone. An error nobody thought of ends the service:
    health says CRASHED, and the next start begins with a reconciliation.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        open_broker: Callable[[TradingModel], Broker],
        feed: BarFeed,
        ledger: Ledger,
        universe: Universe,
        clock: Clock,
        sleep: Callable[[float], None],
        publish: Callable[[Health], None],
        alerts: Alerts,
        limits: Limits | None = None,
        kill_file: Path | None = None,
        pace: Pace | None = None,
        names: tuple[str, str] = ("", ""),
        told: Callable[[Tick], None] = lambda tick: None,
    ) -> None:
        """Nothing is asked or sent yet.

        Args:
            follower: which model trades.
            open_broker: opens the account for the first model.
            feed: trailing bars, asked once per tick.
            ledger: this account's; whoever holds it is the only trader.
            universe: what is traded.
            clock: the only source of time.
            sleep: waits that many seconds on the same time.
            publish: is given the state of health at each heartbeat and after each bar.
            alerts: where what a person should know goes.
            limits: of the account.
            kill_file: while it exists nothing is sent.
            pace: when to look.
            names: of market and broker, for health.
            told: is given each tick.
        """
        self._follower, self._open_broker, self._feed, self._ledger = follower, open_broker, feed, ledger
        self._universe, self._clock, self._sleep = universe, clock, sleep
        self._publish, self._alerts, self._told = publish, alerts, told
        self._limits = limits if limits is not None else Limits()
        self._kill_file = kill_file
        self._pace = pace if pace is not None else Pace()
        self._held = _HeldFeed()
        self._broker: Broker | None = None
        self._trader: Trader | None = None
        self._stopping = False
        self._halted = ""  # while there is no trader to ask
        self._failures = 0
        self._said: dict[str, datetime] = {}
        now = clock.now()
        market, broker = names
        self.health = Health(pid=os.getpid(), market=market, broker=broker, started=now, heartbeat=now)

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping

    def ask_to_stop(self) -> None:
        """Send nothing more and let `run` return soon; safe to call from a signal handler."""
        self._stopping = True
        if self._trader is not None:
            self._trader.ask_to_stop()

    def run(self, *, until: datetime | None = None) -> None:
        """Trade bar after bar until asked to stop, or until the bar that closes at `until` has been looked at."""
        try:
            self._beat("STARTING", **self._last_mark())
            while not self._stopping:
                self._follow()
                again = self._serve()
                self._beat()
                if until is not None and self._clock.now() >= until:
                    break
                self._wait(again)
            self._shut()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._alert(f"the trader crashed: {why}")
            self._beat("CRASHED", why)
            raise

    def _serve(self) -> datetime:
        """One look at the market -> when to look again."""
        expected = floor(self._clock.now(), self._universe.bar)
        following = expected + self._universe.bar + timedelta(seconds=self._pace.settle_s)
        if self._follower.chosen is None:
            return following
        if self._trader is None and not self._open_trader():
            return self._later(following)
        fresh_until = expected + self._limits.max_age_bars * self._universe.bar
        if self._clock.now() > fresh_until:  # the service began, or a model came, too late for this bar
            return following
        self._get_bars(expected)
        if self._stopping or self._held.held is None:
            return self._later(following)
        done = self._tick()
        again = self._later(following)
        return following if done or again > fresh_until else again

    def _open_trader(self) -> bool:
        chosen = self._follower.chosen
        assert chosen is not None
        try:
            self._broker = self._broker or self._open_broker(chosen.model)
            self._trader = Trader(
                actor=chosen.model,
                model_version=chosen.version,
                feed=self._held,
                broker=self._broker,
                ledger=self._ledger,
                clock=self._clock,
                limits=self._limits,
                kill_file=self._kill_file,
                sleep=self._pause,
                tell=self._alert,
            )
        except CappuccinoError as error:
            self._failed(str(error))
            self._halted = TradingState.replay(self._ledger.rows()).stopped
            return False
        self._halted = ""
        if self._stopping:
            self._trader.ask_to_stop()
        return True

    def _get_bars(self, expected: datetime) -> None:
        """Ask for bars until those that closed at `expected` are there for every symbol, or patience ends."""
        give_up = expected + timedelta(seconds=self._pace.patience_s)
        while not self._stopping:
            try:
                now = self._clock.now()
                panel = self._feed.panel(now)
                closed = closed_rows(panel, now)
                if closed:
                    self._held.held = panel
                    newest = close_time(panel, closed - 1)
                    self._beat(newest_bar=newest, feed_is_stale=newest < expected)
                    if newest >= expected and not panel.is_filled[closed - 1].any():
                        return
            except (SourceError, DataError) as error:
                if self._stopping:
                    return
                self._failed(f"no new bars: {error}")
                self._beat(feed_is_stale=True)
            if self._clock.now() >= give_up:
                return
            self._wait(self._clock.now() + timedelta(seconds=self._pace.ask_again_s), follow=False)

    def _tick(self) -> bool:
        """Whether this bar needs no second look."""
        assert self._trader is not None
        try:
            tick = self._trader.tick()
        except ModelFailedError as error:
            self._failed(str(error), tell=False)
            if said := self._follower.fall_back(str(error)):
                self._alert(said)
                self._hand_over()
                return self._follower.chosen is None or self._tick()
            return False
        except TradingError as error:
            self._failed(str(error), tell=False)  # the engine has told it
            return bool(self._trader.mode == "HALTED")
        self._failures = 0
        if tick.status == "traded":
            self._follower.proven()
            assert tick.equity is not None
            peak = max(self._trader.peak, tick.equity)
            self._beat(
                bar_decided=tick.bar_close,
                equity=tick.equity,
                peak=peak,
                drawdown=1 - tick.equity / peak,
                bars_traded=self.health.bars_traded + 1,
            )
        self._told(tick)
        return True

    def _follow(self) -> bool:
        """Look at the deployment; whether another model trades from now on."""
        before = self._follower.chosen
        if said := self._follower.look():
            self._alert(said)
        if self._follower.chosen is before:
            return False
        self._hand_over()
        return True

    def _hand_over(self) -> None:
        """Between two bars: book, peak and latches stay as they are."""
        chosen = self._follower.chosen
        if chosen is not None and self._trader is not None:
            try:
                self._trader.swap(actor=chosen.model, model_version=chosen.version)
            except TradingError as error:
                self._failed(str(error))
                self._trader = None  # begins afresh, from the ledger

    def _shut(self) -> None:
        why = "asked to stop" if self._stopping else "done"
        if self._trader is not None:
            try:
                self._trader.stop()
            except TradingError as error:
                self._failed(str(error), tell=False)
                why = f"{why}; not everything could be settled: {error}"
        self._beat("STOPPED", why)

    def _wait(self, moment: datetime, *, follow: bool = True) -> None:
        """Until `moment`, a request to stop, or another model."""
        while not self._stopping and (left_s := (moment - self._clock.now()).total_seconds()) > 0:
            self._sleep(min(left_s, self._pace.nap_s))
            if self._beat_is_due():
                self._beat()
                if follow and self._follow():
                    return

    def _pause(self, seconds: float) -> None:
        """The engine's own waits: never cut short, because an order may be on its way."""
        until = self._clock.now() + timedelta(seconds=seconds)
        while (left_s := (until - self._clock.now()).total_seconds()) > 0:
            self._sleep(min(left_s, self._pace.nap_s))
            if self._beat_is_due():
                self._beat()

    def _later(self, following: datetime) -> datetime:
        wait_s = self._pace.retry_s * 2 ** min(max(self._failures - 1, 0), 4)
        return min(self._clock.now() + timedelta(seconds=wait_s), following)

    def _failed(self, reason: str, *, tell: bool = True) -> None:
        self._failures += 1
        self.health = self.health.model_copy(
            update={"last_error": reason, "last_error_at": self._clock.now(), "errors": self.health.errors + 1}
        )
        if tell:
            self._alert(reason)

    def _alert(self, reason: str) -> None:
        """Tell it, unless the same was told within the hour."""
        now = self._clock.now()
        self._said = {text: when for text, when in self._said.items() if abs(now - when) < _SAME_AGAIN}
        kind = _MEASURED.sub("# s", reason)
        if kind not in self._said:
            self._said[kind] = now
            version = self._follower.chosen.version if self._follower.chosen else "none"
            self._alerts.send(Alert(when=now, source="trader", reason=reason, about={"model_version": version}))

    def _beat_is_due(self) -> bool:
        return abs((self._clock.now() - self.health.heartbeat).total_seconds()) >= self._pace.heartbeat_s

    def _beat(self, state: State | None = None, why: str = "", **facts: Any) -> None:
        """Publish how the service is."""
        now, chosen = self._clock.now(), self._follower.chosen
        if state is None:
            state, why = self._state()
        model = chosen.model if chosen is not None else None
        self.health = self.health.model_copy(
            update={
                **facts,
                "state": state,
                "why": why,
                "heartbeat": now,
                "uptime_s": (now - self.health.started).total_seconds(),
                "model_version": chosen.version if chosen is not None else None,
                "model_arm": model.arm if model is not None else None,
                "model_key": model.key if model is not None else None,
                "refused_version": self._follower.refused,
            }
        )
        self._publish(self.health)

    def _state(self) -> tuple[State, str]:
        if self._kill_file is not None and self._kill_file.exists():
            return "HALTED", f"{self._kill_file} exists; remove it to go on"
        if self._halted:
            return "HALTED", self._halted
        if self._trader is not None and self._trader.mode != "ACTIVE":
            return self._trader.mode.value, self._trader.why
        if self._follower.chosen is None:
            return "WAITING", "no model is deployed"
        if self._trader is None:
            return ("WAITING", self.health.last_error) if self._failures else ("STARTING", "")
        return "ACTIVE", ""

    def _last_mark(self) -> dict[str, Any]:
        """What the ledger knows of the account from before."""
        marks = [row.payload for row in self._ledger.rows() if row.kind == "mark"]
        if not marks:
            return {}
        last = marks[-1]
        equity, peak = last["equity"], max(last["peak"], last["equity"])
        decided = datetime.fromisoformat(last["bar_close"]).astimezone(UTC)
        return {"bar_decided": decided, "equity": equity, "peak": peak, "drawdown": 1 - equity / peak}
