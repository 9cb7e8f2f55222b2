"""A whole paper session on stored bars: the trader bar by bar, its ledger, and its comparison with the backtest."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import (
    Settings,
    TradingError,
    array_sha256,
    artifact_folder,
    code_version,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.features import WARM_UP_BARS, MarketTable
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.replay import replay, research_act, research_sizes, shadow_backtest
from cappuccino_ml.trading.report import Comparison, compare

LEDGER = "ledger.sqlite"
EQUITY = "equity.parquet"
WEEK_BARS = 168
SESSION = "session.json"
_FEWEST_BARS = 24


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
    table: MarketTable,
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
        table: the features of the whole of `panel`.
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
    bars_seen = array_sha256(panel.open[: last + 1], panel.close[: last + 1], panel.is_filled[: last + 1])
    code = code_version("environment", "features", "policy", "trading")
    identity = [actor.key, model_version, *map(str, stamps), label, bars_seen, code]
    folder = root / digest(identity)[:16]
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            with Ledger(aside / LEDGER, durable=False) as ledger:
                session = replay(
                    actor=actor, panel=panel, first=first, last=last, ledger=ledger, model_version=model_version
                )
                rows = list(ledger.rows())
            shadow = shadow_backtest(actor=actor, table=table, first=first, last=last)
            report = SessionReport(
                label=label,
                model_key=actor.key,
                model_version=model_version,
                first=str(stamps[0]),
                last=str(stamps[1]),
                comparison=compare(
                    session,
                    shadow,
                    costs=actor.costs,
                    label=label,
                    rows=rows,
                    act_again=research_act(actor, table),
                    size_again=research_sizes(actor, table),
                ),
            )
            pd.DataFrame(
                {
                    "timestamp": panel.timestamps[first : last + 1],
                    "trader": session.equity,
                    "backtest": shadow.equity,
                }
            ).to_parquet(aside / EQUITY)
            write_json(aside / SESSION, report)
    return read_settings(SessionReport, folder / SESSION), folder


def rehearse(
    model: TradingModel, *, model_version: str, panel: BarPanel, table: MarketTable, bars: int = WEEK_BARS
) -> str:
    """Take a model through the newest bars before it may trade: its orders must be the backtest's.

    Args:
        model: the candidate.
        model_version: its registry version.
        panel: bars up to now.
        table: the features of the whole of `panel`.
        bars: how many decisions, fewer if the panel is short.

    Returns:
        What it came to.

    Raises:
        TradingError: too few bars, a refused tick, or an order unlike the backtest's.
    """
    last = len(panel) - 1
    first = max(last - bars, WARM_UP_BARS + model.lookback)
    if last - first < _FEWEST_BARS:
        raise TradingError(
            f"{len(panel)} bars leave {last - first} to rehearse on, {_FEWEST_BARS} are needed; load more bars."
        )
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / LEDGER, durable=False) as ledger:
        held = replay(actor=model, panel=panel, first=first, last=last, ledger=ledger, model_version=model_version)
        found = compare(
            held,
            shadow_backtest(actor=model, table=table, first=first, last=last),
            costs=model.costs,
            label="rehearsal",
            rows=list(ledger.rows()),
            act_again=research_act(model, table),
            size_again=research_sizes(model, table),
        )
    if not found.orders_equal:
        raise TradingError(f"{found.differing_bars} of {found.bars} bars differ; {found.deviations[0].sentence}")
    stamps = np.datetime_as_string(panel.timestamps[[first, last]], unit="m")
    return f"{found.bars} bars replayed, {stamps[0]}Z to {stamps[1]}Z: {found.fills} orders, equal to the backtest's"


def read_session(folder: Path) -> SessionReport:
    """Read what `run_session` wrote."""
    return read_settings(SessionReport, folder / SESSION)
