"""The composition root: the one place where adapters are chosen and put together from the configuration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cappuccino_ml.bars import (
    BUILT_TIMEFRAMES,
    AlpacaSource,
    BarPanel,
    BarSource,
    BuiltFromHours,
    CcxtSource,
    SimulatedSource,
    bars_table,
    files_source,
    open_months,
    read_bars,
    read_panel,
)
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import (
    Alerts,
    AllAlerts,
    Clock,
    ConfigurationError,
    FileAlerts,
    LogAlerts,
    SystemClock,
    WebhookAlerts,
    digest,
)
from cappuccino_ml.features import FeatureSchema
from cappuccino_ml.lake import LakeTable
from cappuccino_ml.registry import CHALLENGER, CHAMPION, ModelRegistry
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.current import Current
from cappuccino_pipeline.feature_months import FeatureMonths
from cappuccino_pipeline.stage_bar import Countdown, Step

if TYPE_CHECKING:
    from cappuccino_ml.policy import Actor
    from cappuccino_ml.study import Dataset, StudyResult
    from cappuccino_ml.verdict import Finalist
    from cappuccino_pipeline.plans import Plan

_LIVE_RETRY = RetrySettings(tries=3, longest_wait_s=5.0, deadline_s=20.0, timeout_s=10.0, answer_s=20.0)
_NO_END = datetime(2100, 1, 1, tzinfo=UTC)
_LOCK_TIMEOUT_S = 600.0  # an hourly update waits for the month that a backfill is just loading


class Cappuccino:
    """What assets, checks, sensors and commands work with. Nothing is opened before it is asked for."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        clock: Clock | None = None,
        plan: "Plan | None" = None,
        echo: Callable[[str], None] | None = None,
        watch: "Callable[[Step | None], None] | None" = None,
    ) -> None:
        self.configuration = configuration
        self.clock = clock or SystemClock()
        self.current = Current(configuration.state / "current" / configuration.market)
        self._plan, self._echo, self._watch = plan, echo, watch
        self._listener: Callable[[str], None] | None = None
        self._countdown = Countdown()

    def say(self, line: str) -> str:
        """Show a line of progress to whoever watches (the demo does), and give it back for the run's log.

        One that counts, such as `encoder 1/3 ...`, gets the time left.
        """
        step = self._countdown(line)
        if step is not None and step.words:
            line = f"{line}; {step.words}"
        if self._echo is not None:
            self._echo(line)
        self.watch(step)
        return line

    def watch(self, step: Step | None) -> None:
        """Show how far a stage is to whoever watches; None: it is over."""
        if self._watch is not None:
            self._watch(step)

    @property
    def budget(self) -> str:
        """How much may be trained: as it was chosen with the current data set, else the configuration's."""
        return self.current.budget() or self.configuration.budget

    @property
    def plan(self) -> "Plan":
        """How much to train: the budget's, unless one was given."""
        from cappuccino_pipeline.plans import plan_for  # noqa: PLC0415 - imports torch and optuna

        chosen = self.configuration
        return self._plan or plan_for(self.budget, seed=chosen.seed, search=chosen.search)

    @property
    def dataset(self) -> "Dataset":
        """The current frozen data set."""
        from cappuccino_ml.study.dataset import load_dataset  # noqa: PLC0415 - as above

        return load_dataset(self.current.folder("training_dataset"))

    @cached_property
    def source(self) -> BarSource:
        """Where bars come from; 4h and 1d bars are built from its hours."""
        chosen = self.configuration
        if chosen.files_folder is not None:
            return files_source(chosen.files_folder, chosen.universe)
        source = self._venue()
        return BuiltFromHours(source) if chosen.universe.timeframe in BUILT_TIMEFRAMES else source

    @cached_property
    def live_source(self) -> BarSource:
        """The same source for the trader: it is asked for 20 s at most, and the simulated market has no end.

        Raises:
            ConfigurationError: see `require_new_bars`.
        """
        self.require_new_bars()
        chosen = self.configuration
        source = self._venue(live=True)
        return BuiltFromHours(source) if chosen.universe.timeframe in BUILT_TIMEFRAMES else source

    def require_new_bars(self) -> None:
        """A trader needs a source whose bars keep coming.

        Raises:
            ConfigurationError: files do not grow by the hour.
        """
        if self.configuration.files_folder is not None:
            raise ConfigurationError(
                "CAPPUCCINO_SOURCE is files, which have no new bar at each close; trade with ccxt, alpaca or simulated."
            )

    def _venue(self, *, live: bool = False) -> BarSource:
        chosen = self.configuration
        retry = _LIVE_RETRY if live else RetrySettings()
        if chosen.exchange is not None:
            return CcxtSource(
                chosen.exchange, since=chosen.since, clock=self.clock, url=chosen.url, retry=retry, tell=self._tell
            )
        if chosen.source == "alpaca":
            return AlpacaSource(
                since=chosen.since,
                clock=self.clock,
                key=chosen.alpaca_key,
                secret=chosen.alpaca_secret,
                url=chosen.url,
                retry=retry,
                tell=self._tell,
            )
        variant: Literal["planted", "placebo"] = "placebo" if chosen.source == "placebo" else "planted"
        end = {"end": _NO_END} if live else {}
        return SimulatedSource(seed=chosen.seed, variant=variant, **end)

    @cached_property
    def alerts(self) -> Alerts:
        """Where alerts go: the log, alerts.jsonl, and the webhook if there is one."""
        url = self.configuration.alert_url
        webhook = [WebhookAlerts(url)] if url is not None else []
        return AllAlerts([LogAlerts(), FileAlerts(self.configuration.alerts_file), *webhook])

    def wanted_version(self) -> str | None:
        """The version that the aliases name: the challenger, else the champion, else none."""
        aliases = self.aliases()
        return aliases.get(CHALLENGER, aliases.get(CHAMPION))

    def _tell(self, line: str) -> None:
        self.say(line)
        if self._listener is not None:
            self._listener(line)

    @cached_property
    def coverage(self) -> tuple[datetime, datetime | None]:
        """First bar open and end (exclusive; None where bars keep coming), UTC, of what the source offers."""
        return self.source.coverage(self.configuration.universe)

    @property
    def coverage_text(self) -> str:
        """The coverage as people read it: `2024-01-01 to 2026-01-01`, or `from 2023-01-01 on`."""
        first, end = self.coverage
        return f"from {first:%Y-%m-%d} on" if end is None else f"{first:%Y-%m-%d} to {end:%Y-%m-%d}"

    @cached_property
    def bars(self) -> LakeTable:
        """The table of bars, one partition per month."""
        return bars_table(
            self.configuration.state,
            source=self.source,
            universe=self.configuration.universe,
            market=self.configuration.market,
            lock_timeout_s=_LOCK_TIMEOUT_S,
        )

    @cached_property
    def features(self) -> LakeTable:
        """The table of features, one partition per month."""
        # Another source, universe or schema is another table: switching back and forth never mixes or destroys data.
        schema = FeatureSchema.of(self.configuration.universe)
        identity = {
            "source": self.source.identity(),
            "universe": self.configuration.universe.model_dump(mode="json"),
            "schema_hash": schema.hash,
            "schema": schema.model_dump(mode="json"),
        }
        return LakeTable(
            self.configuration.state,
            stage="features",
            name=f"{self.configuration.market}-{digest(identity)[:8]}",
            identity=identity,
            lock_timeout_s=_LOCK_TIMEOUT_S,
        )

    def panel(self, *, start: datetime | None = None, end: datetime | None = None) -> BarPanel:
        """Stored bars on one grid, [start, end), none from before the coverage: it may begin later than it once did."""
        since = self.coverage[0]
        start = since if start is None else max(start, since)
        return read_panel(self.bars, self.configuration.universe, start=start, end=end)

    def covered_bars(self) -> pd.DataFrame:
        """All stored bars of the coverage in long form.

        Raises:
            DataError: there are none.
        """
        since = self.coverage[0]
        bars = read_bars(self.bars, start=since)
        return bars[bars["timestamp"] >= pd.Timestamp(since)].reset_index(drop=True)

    def feature_months(self, panel: BarPanel) -> FeatureMonths:
        """How features of single months come from the stored bars; `panel` holds all of these."""
        return FeatureMonths(
            self.panel,
            universe=self.configuration.universe,
            common_first=panel.timestamps[0].item().replace(tzinfo=UTC),
        )

    def open_months(self, now: datetime) -> list[str]:
        """Stored months for which the source has not yet answered to their end, and those since the newest one."""
        return open_months(self.bars, self.configuration.universe, window=self.coverage, now=now)

    @contextmanager
    def told(self, tell: Callable[[str], None]) -> Iterator[None]:
        """While the block runs, what the source says about its progress goes to `tell` too: the run's log."""
        self._listener = tell
        try:
            yield
        finally:
            self._listener = None

    def at(self, timeframe: str) -> "Cappuccino":
        """The same source and universe in bars of another length; its table of bars is another one."""
        universe = self.configuration.universe.model_copy(update={"timeframe": timeframe})
        configuration = self.configuration.model_copy(update={"universe": universe})
        return Cappuccino(configuration, clock=self.clock, plan=self._plan, echo=self._echo)

    @cached_property
    def registry(self) -> ModelRegistry:
        """The MLflow registry; its first use imports MLflow and makes the database."""
        chosen = self.configuration
        served = chosen.mlflow_address_file
        address = {"ui_url": served.read_text()} if served.is_file() else {}
        return ModelRegistry(chosen.mlflow_root, model_name=chosen.model_name, clock=self.clock, **address)

    def finalists(self, study: "StudyResult", dataset: "Dataset") -> "dict[str, Finalist]":
        """The best trial of each side, refitted by `optuna_study`."""
        from cappuccino_ml.policy import Actor  # noqa: PLC0415 - imports torch
        from cappuccino_ml.study import encoder_jobs, finalist_job  # noqa: PLC0415
        from cappuccino_ml.verdict import Finalist  # noqa: PLC0415

        encoders = encoder_jobs(dataset, self.plan.encoder, root=self.configuration.encoders_root)
        found = {}
        for side in ("ft", "mlp"):
            trial = study.best(side)
            job = finalist_job(dataset, study, trial, encoders=encoders, root=self.configuration.studies_root)
            found[side] = Finalist(trial=trial, actor=Actor.load(job.folder / "agent"), folder=job.folder / "agent")
        return found

    def champion(self, dataset: "Dataset") -> "tuple[Actor | None, str]":
        """What passed paper and is to be beaten, read back from the registry and verified; else None and why.

        A champion that was fitted on bars of this data set's holdout cannot be judged on it: it does not count here.
        """
        from cappuccino_ml.policy import Actor  # noqa: PLC0415 - imports torch

        version = self.aliases().get(CHAMPION)
        if version is None:
            return None, "no champion is set"
        champion = Actor.load(self.download(version))
        if champion.config.trained_until >= dataset.time(dataset.splits.holdout[0]):
            return None, f"champion version {version} was fitted on bars of this holdout"
        return champion, ""

    def download(self, version: str) -> Path:
        """A registered version's folder, every file checked against its manifest."""
        return self.registry.download(version, into=self.configuration.models_root / self.configuration.market)

    def aliases(self) -> dict[str, str]:
        """Alias -> version of `challenger` and `champion`; empty, without loading MLflow, before a registration."""
        if not self.configuration.mlflow_database.is_file():
            return {}
        found = {alias: self.registry.alias(alias) for alias in (CHALLENGER, CHAMPION)}
        return {alias: version for alias, version in found.items() if version is not None}


@cache
def this_process() -> Cappuccino:
    """The one made from this process's environment, for definitions and commands."""
    return Cappuccino(Configuration.read())
