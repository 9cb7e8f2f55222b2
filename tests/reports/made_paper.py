"""An invented paper session, made with the real constructors."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from cappuccino_ml.bars import Universe
from cappuccino_ml.trading.decision import GoSettings, decide_session
from cappuccino_ml.trading.drift import Drift
from cappuccino_ml.trading.drill import Drill, Scenario
from cappuccino_ml.trading.paper import Execution, Holding, PaperReport, Shadow, Uptime
from cappuccino_ml.trading.record import Faults, Fill
from cappuccino_ml.trading.report import Comparison
from cappuccino_ml.trading.session import SessionReport

PER_YEAR = Universe().bars_per_year


def make_session(label: str) -> SessionReport:
    return SessionReport(
        label=label,
        model_key="0123456789abcdef",
        model_version="3",
        first="2024-12-23T22:00",
        last="2024-12-30T22:00",
        comparison=Comparison(
            label=label,
            bars=168,
            orders_equal=True,
            differing_bars=0,
            hours=168.0,
            deviations=(),
            fills=41,
            backtest_fills=41,
            turnover=2.345,
            total_return=0.0123,
            return_gap=0.00000123,
            gap_bps_per_turnover=0.0052,
            max_drawdown=0.0345,
            sharpe=3.21,
            sharpe_error=7.22,
            backtest_sharpe=3.2,
        ),
    )


def make_paper(session: str, *, label: str = "simulated", **changes: Any) -> PaperReport:
    """A session of 168 bars with two fills, a champion beside it and one shifted feature."""
    report, random = make_session(session), np.random.default_rng(3)
    scenarios = (Scenario(name="kill file", expected="no order", seen="0 orders with it, 2 after", passed=True),)
    drill = Drill(model_key=report.model_key, model_version="3", bar=report.first, scenarios=scenarios)
    faults = Faults(counts={"skipped": 1}, first={"skipped": "it does not trade now"}, crashes=0)
    decision = decide_session(
        comparison=report.comparison,
        faults=faults,
        drill=drill,
        reference=random.normal(0, 0.004, 2000),
        bars_per_year=PER_YEAR,
        settings=GoSettings(resamples=199),
    )
    closed = datetime(2024, 12, 24, 3, tzinfo=UTC)
    values: dict[str, Any] = {
        "source": label,
        "replayed": True,
        "session": report,
        "deployment": None,
        "decision": decision,
        "drill": drill,
        "faults": faults,
        "uptime": Uptime(decided=168, expected=168),
        "fills": tuple(
            Fill(
                order_id=f"cap-{side}", bar_close=closed, symbol="BTC-USD", side=side, quantity=0.1, price=9e4, fee=22.5
            )
            for side in ("buy", "sell")
        ),
        "execution": Execution(
            notional=18_000, fees=45, fee_bps=25, model_fee_bps=25, slippage_bps=5, model_slippage_bps=5
        ),
        "holdings": (Holding(symbol="ETH-USD", units=1.5, price=3000, value=4500, weight=0.045),),
        "champion": Shadow(
            version="2", arm="mlp", total_return=0.01, sharpe=2.0, max_drawdown=0.02, turnover=1.5, fills=30
        ),
        "champion_note": "",
        "drift": (
            Drift(feature="rsi", psi=0.3, usual=0.2, word="shifted"),
            Drift(feature="cci", psi=0.05, usual=None, word="stable"),
        ),
        "drift_note": "",
    }
    return PaperReport(**{**values, **changes})
