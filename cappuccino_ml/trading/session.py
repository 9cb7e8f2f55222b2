"""A whole paper session on stored bars: the trader bar by bar, its ledger, and its comparison with the backtest."""

import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import (
    Settings,
    TradingError,
    artifact_folder,
    code_version,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.replay import replay, shadow_backtest
from cappuccino_ml.trading.report import Comparison, compare

LEDGER = "ledger.sqlite"
EQUITY = "equity.parquet"
_REPORT = "session.json"


class SessionReport(Settings):
    """What a session was and how it ended."""

    label: str
    model_key: str
    model_version: str
    first: str  # open time of the first decided bar, UTC
    last: str
    comparison: Comparison


def run_session(
    root: Path,
    *,
    actor: TradingModel,
    model_version: str,
    panel: BarPanel,
    first_open: np.datetime64,
    bars: int,
    label: str,
) -> tuple[SessionReport, Path]:
    """Trade `bars` bars of `panel` with fills at the next open; a session that has been held is only read.

    Args:
        root: folder of sessions; this one gets a folder named by model, bars and label, with a ledger of its own.
        actor: the deployed model, or in a rehearsal the one that would be.
        model_version: registry version, written in every ledger row.
        panel: bars up to the session's end, with enough before it for the features' warm-up.
        first_open: open time of the first decided bar.
        bars: decisions to take.
        label: "paper session" or "REHEARSAL", said wherever the session is shown.

    Returns:
        The report and its folder.

    Raises:
        TradingError: the panel does not hold those bars, or a tick refused.
    """
    first = int(np.searchsorted(panel.timestamps, first_open))
    if first >= len(panel) or panel.timestamps[first] != first_open or first + bars >= len(panel):
        raise TradingError(
            f"the session needs {bars + 1} bars from {first_open}Z, but the bars end at {panel.timestamps[-1]}Z; "
            "materialize ohlcv_bars and training_dataset again."
        )
    last = first + bars
    stamps = np.datetime_as_string(panel.timestamps[[first, last]], unit="m")
    bars_seen = hashlib.sha256()
    for values in (panel.open, panel.close, panel.is_filled):
        bars_seen.update(np.ascontiguousarray(values[: last + 1]).tobytes())
    code = code_version("environment", "features", "policy", "trading")
    identity = [actor.key, model_version, *map(str, stamps), label, bars_seen.hexdigest(), code]
    folder = root / digest(identity)[:16]
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            with Ledger(aside / LEDGER, durable=False) as ledger:
                session = replay(
                    actor=actor, panel=panel, first=first, last=last, ledger=ledger, model_version=model_version
                )
            shadow = shadow_backtest(actor=actor, panel=panel, first=first, last=last)
            report = SessionReport(
                label=label,
                model_key=actor.key,
                model_version=model_version,
                first=str(stamps[0]),
                last=str(stamps[1]),
                comparison=compare(session, shadow, costs=actor.costs, label=label),
            )
            pd.DataFrame(
                {
                    "timestamp": panel.timestamps[first : last + 1],
                    "trader": session.equity,
                    "backtest": shadow.equity,
                }
            ).to_parquet(aside / EQUITY)
            write_json(aside / _REPORT, report)
    return read_settings(SessionReport, folder / _REPORT), folder


def read_fills(folder: Path) -> pd.DataFrame:
    """What a session's orders came to, from its ledger: `timestamp`, `ticker`, `side`, `quantity`, `price`.

    An order decided at a bar's close is filled at the open of the next, which has that time: UTC without a zone, as in
    the equity file.
    """
    with Ledger(folder / LEDGER, durable=False) as ledger:
        orders = {row.payload["id"]: row.payload for row in ledger.rows() if row.kind == "order"}  # the last one counts
    return pd.DataFrame(
        [
            {
                "timestamp": datetime.fromisoformat(order["bar_close"]).replace(tzinfo=None),
                "ticker": order["symbol"].split("-")[0],
                "side": order["side"],
                "quantity": float(order["filled"]),
                "price": float(order["price"]),
            }
            for order in orders.values()
            if float(order["filled"]) > 0
        ],
        columns=["timestamp", "ticker", "side", "quantity", "price"],
    ).astype({"timestamp": "datetime64[us]", "quantity": "float64", "price": "float64"})  # a session may have none


def read_session(folder: Path) -> SessionReport:
    """Read what `run_session` wrote."""
    return read_settings(SessionReport, folder / _REPORT)
