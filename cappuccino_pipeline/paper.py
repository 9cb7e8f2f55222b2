"""A paper session with everything that is judged about it, put together from the registry, the lake and the trader."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cappuccino_ml.bars import BarPanel
from cappuccino_ml.core import read_settings
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import Actor
from cappuccino_ml.registry import CHAMPION
from cappuccino_ml.study import measure
from cappuccino_ml.trading import (
    Deployment,
    faults_of,
    fills_of,
    model_to_trade,
    read_deployment,
    read_ledger,
    run_session,
)
from cappuccino_ml.trading.decision import GoSettings, decide_session
from cappuccino_ml.trading.drift import FEATURE_BINS, Drift, FeatureBins, drift
from cappuccino_ml.trading.drill import held_drill
from cappuccino_ml.trading.ledger import Row
from cappuccino_ml.trading.live import live_rows, store_live
from cappuccino_ml.trading.paper import PaperReport, Shadow, execution, holdings, shadow, uptime
from cappuccino_ml.trading.session import EQUITY, LEDGER, SessionReport

if TYPE_CHECKING:
    from cappuccino_pipeline.resources import Cappuccino


def paper_report(cappuccino: "Cappuccino") -> tuple[PaperReport, Path]:
    """Hold the session of the deployed model, or a rehearsal of the candidate -> the report and the session's folder.

    Raises:
        CappuccinoError: nothing is registered, the bars do not reach, or a tick refused.
    """
    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    version, label = model_to_trade(record=configuration.deployment_record, candidate=cappuccino.current.version)
    folder = cappuccino.download(version)
    actor, panel = Actor.load(folder), cappuccino.panel()
    table, (first, last) = MarketTable.from_panel(panel), dataset.splits.paper
    held = _live(cappuccino, version, label, actor, panel, table)
    if held is None:
        session, held_in = run_session(
            configuration.trading_root / "sessions",
            actor=actor,
            model_version=version,
            panel=panel,
            table=table,
            first_open=dataset.market.timestamps[first],
            bars=last - first,
            label=label,
        )
        rows = read_ledger(held_in / LEDGER)
    else:
        session, held_in, rows = held
    start, end = (int(np.searchsorted(panel.timestamps, np.datetime64(when))) for when in (session.first, session.last))
    report = judge_session(
        session,
        held_in=held_in,
        rows=rows,
        actor=actor,
        panel=panel,
        table=table,
        drills=configuration.trading_root / "drills",
        settings=cappuccino.plan.go,
        source=dataset.config.label,
        replayed=held is None,
        deployment=read_deployment(configuration.deployment_record),
        champion=_champion(cappuccino, version, table, start, end),
        drifts=_drift(folder, table, start, end),
    )
    return report, held_in


def judge_session(
    session: SessionReport,
    *,
    held_in: Path,
    rows: Sequence[Row],
    actor: Actor,
    panel: BarPanel,
    table: MarketTable,
    drills: Path,
    settings: GoSettings,
    source: str,
    replayed: bool,
    deployment: Deployment | None,
    champion: tuple[Shadow | None, str],
    drifts: tuple[tuple[Drift, ...], str],
) -> PaperReport:
    """Drill the guards, decide, and put everything that a person judges a session by together.

    Args:
        session: the session beside the backtest of the same bars.
        held_in: its folder, with its equity.
        rows: of its ledger.
        actor: the model that traded.
        panel: bars up to the session's end.
        table: the features of the whole of `panel`.
        drills: folder where drills are kept.
        settings: thresholds of the decision.
        source: label of the bars.
        replayed: history through the trader, not a session as it happened.
        deployment: how the model came to trade, if it was deployed.
        champion: the champion on the same bars, or why there is none.
        drifts: the features beside those of training, or why they are not.

    Raises:
        TradingError: the bars do not reach for a drill.
    """
    start, end = (int(np.searchsorted(panel.timestamps, np.datetime64(when))) for when in (session.first, session.last))
    fills, faults = fills_of(rows), faults_of(rows)
    drill = held_drill(drills, model=actor, model_version=session.model_version, panel=panel, first=start, last=end)
    # Bars that the model was not fitted on: what its drawdowns are compared with.
    trained_until = np.datetime64(actor.config.trained_until.replace(tzinfo=None), "us")
    unseen = int(np.searchsorted(panel.timestamps, trained_until)) + actor.lookback
    decision = decide_session(
        comparison=session.comparison,
        faults=faults,
        drill=drill,
        reference=measure(actor, table, (unseen, start)).returns if unseen < start else np.empty(0),
        bars_per_year=panel.universe.bars_per_year,
        settings=settings,
    )
    worth = float(pd.read_parquet(held_in / EQUITY)["trader"].iloc[-1])
    return PaperReport(
        source=source,
        replayed=replayed,
        session=session,
        deployment=deployment,
        decision=decision,
        drill=drill,
        faults=faults,
        uptime=uptime(rows, expected=end - start),
        fills=fills,
        execution=execution(fills, panel=panel, costs=actor.costs),
        holdings=holdings(rows, panel=panel, row=end, equity=worth),
        champion=champion[0],
        champion_note=champion[1],
        drift=drifts[0],
        drift_note=drifts[1],
    )


def _live(
    cappuccino: "Cappuccino", version: str, label: str, actor: Actor, panel: BarPanel, table: MarketTable
) -> tuple[SessionReport, Path, list[Row]] | None:
    """The session of the trader that runs by the clock, once it has decided on a bar with the deployed version."""
    ledger = cappuccino.configuration.ledger_file
    if label != "paper session" or not ledger.is_file():
        return None
    rows = read_ledger(ledger)
    found = store_live(
        cappuccino.configuration.trading_root / "sessions",
        actor=actor,
        model_version=version,
        rows=rows,
        panel=panel,
        table=table,
        label=label,
    )
    return None if found is None else (*found, live_rows(rows, version=version))


def may_crown(cappuccino: "Cappuccino", report: PaperReport) -> bool:
    """Whether a go of this session may move `champion`: a paper session, and as live as its source allows.

    Where bars keep coming, history replayed in a minute shows nothing of crashes, feeds or the venue: only a session
    as it happened counts there.
    """
    ends = cappuccino.coverage[1] is not None
    return report.session.label == "paper session" and (ends or not report.replayed)


def _champion(
    cappuccino: "Cappuccino", version: str, table: MarketTable, first: int, last: int
) -> tuple[Shadow | None, str]:
    champion = cappuccino.aliases().get(CHAMPION)
    if champion is None:
        return None, "no version is champion"
    if champion == version:
        return None, "the model of this session is the champion"
    model = Actor.load(cappuccino.download(champion))
    return shadow(version=champion, model=model, table=table, first=first, last=last)


def _drift(folder: Path, table: MarketTable, first: int, last: int) -> tuple[tuple[Drift, ...], str]:
    if not (folder / FEATURE_BINS).is_file():
        return (), f"the model was registered without {FEATURE_BINS}"
    return drift(table.features[first : last + 1], read_settings(FeatureBins, folder / FEATURE_BINS)), ""
