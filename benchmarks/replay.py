"""The last days of real bars through the live trader, with trained agents: its orders must be the backtest's.

An MLP and an FT-Transformer are trained for a moment on rows long before those days, replayed by the same service that
trades by the clock, on the simulated broker with fills at the next open, and compared order by order with the research
backtest of the same bars. The page of each session, pictures included, is left in STATE/reports/<arm>/paper.html. So
short a training makes no model worth anything: this shows that the trader does what the backtest does.
`python -m benchmarks.replay --bars FOLDER --state FOLDER [--days 30]`; exit code 1 if an order differs.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import markets
from cappuccino_ml.bars import BarPanel, BarSource, Universe, files_source
from cappuccino_ml.core import code_version
from cappuccino_ml.encoder import SMALL
from cappuccino_ml.environment import Layout
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import AGENT_ROOMS, Actor, AgentSettings, PPOSettings, TrainingSettings
from cappuccino_ml.study import Dataset, FitJob, SplitSettings, fit, freeze_dataset, make_splits
from cappuccino_ml.study.fitting import AGENT
from cappuccino_ml.trading import read_ledger, run_session
from cappuccino_ml.trading.decision import GoSettings
from cappuccino_ml.trading.drift import FeatureBins, drift
from cappuccino_ml.trading.paper import PaperReport, store_paper
from cappuccino_ml.trading.session import LEDGER
from cappuccino_pipeline.paper import judge_session
from cappuccino_pipeline.paper_page import draw_paper

STEPS, LOOKBACK, DAYS = 32_768, 6, 30
AGENTS = {
    "mlp": AgentSettings(arm="mlp", lookback=LOOKBACK),
    "ft_scratch": AgentSettings(
        arm="ft_scratch", lookback=LOOKBACK, encoder=SMALL.model_copy(update={"lookback": LOOKBACK})
    ),
}
HASTE, SHORT = PPOSettings(learning_rate=2e-3, batch_size=512), Layout(timestamps=8, environments=8, steps=32)


@dataclass(frozen=True)
class Month:
    """Bars, and the data set they were frozen to: trained on `development`, replayed over `paper`."""

    panel: BarPanel
    dataset: Dataset

    @property
    def span(self) -> tuple[int, int]:
        """First and last row of the session."""
        return self.dataset.splits.paper


@dataclass(frozen=True)
class Held:
    """What one agent's session came to."""

    report: PaperReport
    page: Path
    trained_s: float
    replayed_s: float

    @property
    def line(self) -> str:
        found, session = self.report.session.comparison, self.report.session
        equal = "all" if found.orders_equal and found.fills == found.backtest_fills else f"NOT {found.differing_bars}"
        return (
            f"{session.model_version:12}{found.bars:>6}{found.fills:>7}{found.backtest_fills:>10}{equal:>7}"
            f"{round(1e4 * found.return_gap, 4) + 0.0:>10.4f}{found.turnover:>10.2f}{found.max_drawdown:>10.2%}"
            f"{self.trained_s:>9.1f}{self.replayed_s:>9.1f}  {self.report.decision.outcome}"
        )


def last_days(source: BarSource, universe: Universe, *, days: int, state: Path) -> Month:
    """Everything that `source` has, its last `days` kept for the session."""
    start, end = source.coverage(universe)
    if end is None:
        raise SystemExit(f"{source.label} bars have no end; give a folder of files.")
    panel = markets.panel(source, universe, start=start, end=end)
    market = MarketTable.from_panel(panel)
    paper_bars = round(days * universe.bars_per_year / 365)
    dataset = freeze_dataset(
        state / "datasets",
        market=market,
        splits=make_splits(len(market), SplitSettings(paper_bars=paper_bars)),
        label=source.label,
        source=source.identity(),
        bars_manifest="made for a benchmark",
        bars_per_year=universe.bars_per_year,
    )
    return Month(panel, dataset)


def hold(month: Month, arm: str, *, steps: int, state: Path, seed: int = 0) -> Held:
    """Train, replay, compare, judge and draw; what is finished is only read."""
    panel, dataset, (first, last) = month.panel, month.dataset, month.span
    training = TrainingSettings(agent=AGENTS[arm], ppo=HASTE.model_copy(update={"steps": steps}), layout=SHORT)
    job = FitJob(
        dataset_folder=dataset.folder,
        dataset_key=dataset.key,
        train_rows=dataset.splits.development,
        test_rows=None,
        training=training,
        seed=seed,
        code=code_version(*AGENT_ROOMS, "study"),
        root=state / "agents",
    )
    began = time.monotonic()
    fit(job)
    trained_s, actor = time.monotonic() - began, Actor.load(job.folder / AGENT)
    began = time.monotonic()
    session, held_in = run_session(
        state / "sessions",
        actor=actor,
        model_version=arm,
        panel=panel,
        table=dataset.market,
        first_open=dataset.market.timestamps[first],
        bars=last - first,
        label="REHEARSAL",
    )
    replayed_s = time.monotonic() - began
    market = dataset.market
    bins = FeatureBins.fit(market.features[slice(*dataset.splits.development)], schema=market.schema)
    report = judge_session(
        session,
        held_in=held_in,
        rows=read_ledger(held_in / LEDGER),
        actor=actor,
        panel=panel,
        table=market,
        drills=state / "drills",
        settings=GoSettings(),
        source=dataset.config.label,
        replayed=True,
        deployment=None,
        champion=(None, "no registry: both agents were trained for this replay"),
        drifts=(drift(market.features[first : last + 1], bins), ""),
    )
    store_paper(state / "paper", report)
    facts = {
        "arm": arm,
        "outcome": "none",
        "study_key": "none",
        "data_manifest": dataset.key,
        "schema_hash": market.schema.hash,
        "dagster_run_id": "",
        "run_url": "",
    }
    drawn = draw_paper(report, panel=panel, held_in=held_in, facts=facts, folder=state / "reports" / arm)
    return Held(report, drawn.page, trained_s, replayed_s)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, required=True, help="folder of hourly bars")
    parser.add_argument("--quote", default="USDT", help="quote currency of those files")
    parser.add_argument("--state", type=Path, required=True, help="keeps agents, sessions and pages")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--steps", type=int, default=STEPS, help="of training, each agent")
    given = parser.parse_args(arguments)
    universe = Universe(quote=given.quote)
    month = last_days(files_source(given.bars, universe), universe, days=given.days, state=given.state)
    stamps = [str(month.panel.timestamps[row])[:16].replace("T", " ") for row in month.span]
    print(f"{stamps[0]} to {stamps[1]} UTC, {len(month.panel):,} bars of {len(universe.tickers)} tickers in all")
    print(
        f"{'arm':12}{'bars':>6}{'fills':>7}{'backtest':>10}{'equal':>7}{'gap bps':>10}{'turnover':>10}{'drawdown':>10}"
        f"{'train s':>9}{'replay s':>9}  decision"
    )
    held = {}
    for arm in AGENTS:
        held[arm] = hold(month, arm, steps=given.steps, state=given.state)
        print(held[arm].line, flush=True)
    for one in held.values():
        print(f"{one.report.decision.sentence}\n  {one.page}")
    found = [one.report.session.comparison for one in held.values()]
    equal = all(one.orders_equal and one.fills == one.backtest_fills > 0 for one in found)
    print(json.dumps({"orders_equal": equal, "fills": [one.fills for one in found]}))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
