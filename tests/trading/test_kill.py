"""A trader in a real process, killed with SIGKILL while its order is on the wire, and started again."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lookalikes.alpaca_paper import Asset, PaperLookAlike
from lookalikes.server import Market, Request

from cappuccino_ml.trading import Ledger, Status, TradingState
from cappuccino_ml.trading.feed import close_time

from .child import KEYS
from .conftest import FIRST, make_panel

ROOT = Path(__file__).resolve().parents[2]


class Killer(PaperLookAlike):
    """Kills the process that posts an order, before the order counts or after."""

    victim: subprocess.Popen[str] | None = None
    accepts = False

    def answer(self, request: Request, alter: Any) -> Any:
        if request.method != "POST" or self.victim is None:
            return super().answer(request, alter)
        victim, self.victim = self.victim, None
        if self.accepts:
            super().answer(request, alter)
        victim.kill()
        victim.wait()
        return {}


def start(venue: PaperLookAlike, ledger: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.trading.child", venue.url, str(ledger)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("accepts", [False, True], ids=["fault 5, the order did not count", "fault 6, it counted"])
def test_fault_05_06_p1_p2_p10_kill_minus_nine_while_an_order_is_on_the_wire(tmp_path: Path, accepts: bool):
    now = close_time(make_panel(bars=FIRST + 2), FIRST)
    assets = [Asset(f"{ticker}/USD", Decimal(30_000)) for ticker in ("BTC", "ETH", "UNI")]
    with Killer(Market(now=now, first=now), assets=assets, cash=Decimal(100_000), keys=KEYS) as venue:
        venue.accepts = accepts
        venue.victim = start(venue, tmp_path / "ledger.db")
        said = venue.victim.communicate(timeout=120)
        assert len(venue.posts()) == 1, said
        again = start(venue, tmp_path / "ledger.db")
        out, _ = again.communicate(timeout=120)
        assert out.strip() == "repeated"  # the bar is spent: its order is settled, not decided again
        assert len(venue.posts()) == 1
        assert len(venue.orders) == int(accepts)
        with Ledger(tmp_path / "ledger.db") as ledger:
            ledger.verify()
            state = TradingState.replay(ledger.rows())
        (tracked,) = state.orders.values()
        assert tracked.status == (Status.FILLED if accepts else Status.ABANDONED)
        assert state.positions == {name.replace("/", "-"): units for name, units in venue.units.items()}
