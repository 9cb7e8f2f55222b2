"""Which model trades now: the deployed one, or the last good one if that cannot be used."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import CappuccinoError, CheckpointError, write_json
from cappuccino_ml.features import FeatureSchema
from cappuccino_ml.trading.deployment import Deployment, read_deployment
from cappuccino_ml.trading.model import TradingModel


@dataclass(frozen=True)
class Chosen:
    """A model that may trade and its version in the registry."""

    model: TradingModel
    version: str
    deployment: Deployment | None = None


class Follower(Protocol):
    """Where the service's model comes from."""

    chosen: Chosen | None
    refused: str | None  # a deployed version that cannot be used

    def look(self) -> str:
        """Look again; what has changed, as a sentence, "" if nothing has."""
        ...

    def proven(self) -> None:
        """The chosen model has decided a bar."""
        ...

    def fall_back(self, reason: str) -> str:
        """The chosen model cannot decide: go back to the last good one; what came of it, "" if it stays chosen."""
        ...


class OneModel:
    """Always the same one: for replays."""

    refused: str | None = None

    def __init__(self, model: TradingModel, version: str) -> None:
        self.chosen: Chosen | None = Chosen(model, version)

    def look(self) -> str:
        """Nothing changes."""
        return ""

    def proven(self) -> None:
        """Nothing to remember."""

    def fall_back(self, reason: str) -> str:
        """There is no other."""
        return ""


class DeploymentFollower:
    """Follows deployment.json and loads the verified copy it names."""

    def __init__(
        self, *, record: Path, last_good: Path, load: Callable[[Path], TradingModel], universe: Universe
    ) -> None:
        """Nothing is read yet.

        Args:
            record: deployment.json.
            last_good: the record of the model that last decided a bar is kept here, for restarts.
            load: reads a model's folder and checks its hashes: `Actor.load`.
            universe: what the account trades, order included.
        """
        self._record, self._last_good, self._load, self._universe = record, last_good, load, universe
        self.chosen: Chosen | None = None
        self.refused: str | None = None
        self._seen: Deployment | None = None
        self._said = ""
        self._looked = False
        self._good: Chosen | None = None

    def look(self) -> str:
        """See `Follower`. A record that cannot be read changes nothing."""
        try:
            record = read_deployment(self._record)
        except CappuccinoError as error:
            said, self._said = self._said, f"the deployment record cannot be read, so nothing changes: {error}"
            return self._said if said != self._said else ""
        if self._looked and record == self._seen:
            return ""
        self._looked, self._seen, self.refused = True, record, None
        if record is None:
            self.chosen = None
            return "no model is deployed, so nothing trades"
        try:
            self.chosen = self._choose(record)
        except CheckpointError as error:
            return self._go_back(record.version, str(error))
        return f"version {record.version} ({record.arm}) trades as {record.alias}"

    def proven(self) -> None:
        """See `Follower`."""
        if self.chosen is not None and self.chosen is not self._good:
            self._good = self.chosen
            if self.chosen.deployment is not None:
                write_json(self._last_good, self.chosen.deployment)

    def fall_back(self, reason: str) -> str:
        """See `Follower`. A model that has decided before stays chosen."""
        if self.chosen is None or self.chosen is self._good:
            return ""
        return self._go_back(self.chosen.version, reason)

    def _go_back(self, version: str, reason: str) -> str:
        self.refused = version
        self.chosen = self._good or self._stored_good()
        goes_on = f"version {self.chosen.version} goes on" if self.chosen else "there is no other, so nothing trades"
        return f"version {version} cannot be used: {reason.rstrip('.')}; {goes_on}"

    def _stored_good(self) -> Chosen | None:
        try:
            record = read_deployment(self._last_good)
            return None if record is None or record == self._seen else self._choose(record)
        except CappuccinoError:
            return None

    def _choose(self, record: Deployment) -> Chosen:
        try:
            model = self._load(Path(record.folder))
            FeatureSchema.of(self._universe).require_same(model.schema, what=f"version {record.version}")
        except (CappuccinoError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(str(error)) from error
        if model.key != record.key:
            raise CheckpointError(f"{record.folder} holds model {model.key}, not {record.key}; deploy it again.")
        return Chosen(model, record.version, record)
