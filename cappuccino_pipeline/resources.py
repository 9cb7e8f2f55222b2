"""The composition root: the one place where adapters are chosen and put together from the configuration."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from cappuccino_ml.bars import BARS_SCHEMA, BarPanel, BarSource, FilesSource, SimulatedSource, read_panel
from cappuccino_ml.core import Clock, SystemClock, digest
from cappuccino_ml.features import FeatureSchema
from cappuccino_ml.lake import LakeTable
from cappuccino_ml.registry import CHALLENGER, CHAMPION, ModelRegistry
from cappuccino_pipeline.configuration import Configuration


class Cappuccino:
    """What assets, checks, sensors and commands work with. Nothing is opened before it is asked for."""

    def __init__(self, configuration: Configuration, *, clock: Clock | None = None) -> None:
        self.configuration = configuration
        self.clock = clock or SystemClock()

    @cached_property
    def source(self) -> BarSource:
        """Where bars come from."""
        chosen = self.configuration
        if chosen.files_folder is not None:
            return FilesSource(chosen.files_folder)
        return SimulatedSource(seed=chosen.seed, variant="placebo" if chosen.source == "placebo" else "planted")

    @cached_property
    def coverage(self) -> tuple[datetime, datetime]:
        """First bar open and end (exclusive), UTC, of what the source offers for the universe."""
        return self.source.coverage(self.configuration.universe)

    @cached_property
    def bars(self) -> LakeTable:
        """The table of bars, one partition per month."""
        return self._table("bars", schema={"columns": BARS_SCHEMA})

    @cached_property
    def features(self) -> LakeTable:
        """The table of features, one partition per month."""
        schema = FeatureSchema.of(self.configuration.universe)
        return self._table("features", schema={"schema_hash": schema.hash, "schema": schema.model_dump(mode="json")})

    def panel(self, *, start: datetime | None = None, end: datetime | None = None) -> BarPanel:
        """Stored bars on one grid, [start, end)."""
        return read_panel(self.bars, self.configuration.universe, start=start, end=end)

    @cached_property
    def registry(self) -> ModelRegistry:
        """The MLflow registry; its first use imports MLflow and makes the database."""
        return ModelRegistry(self.configuration.mlflow_root, clock=self.clock)

    def aliases(self) -> dict[str, str]:
        """Alias -> version of `challenger` and `champion`; empty, without loading MLflow, before a registration."""
        if not self.configuration.mlflow_database.is_file():
            return {}
        found = {alias: self.registry.alias(alias) for alias in (CHALLENGER, CHAMPION)}
        return {alias: version for alias, version in found.items() if version is not None}

    def _table(self, stage: str, *, schema: Mapping[str, Any]) -> LakeTable:
        # Another source, universe or schema is another table: switching back and forth never mixes or destroys data.
        universe = self.configuration.universe
        identity = {"source": self.source.identity(), "universe": universe.model_dump(mode="json"), **schema}
        name = f"{self.configuration.source}-{universe.quote.lower()}-{universe.timeframe}-{digest(identity)[:8]}"
        return LakeTable(self.configuration.state, stage=stage, name=name, identity=identity)


@cache
def this_process() -> Cappuccino:
    """The one made from this process's environment, for definitions and commands."""
    return Cappuccino(Configuration.read())
