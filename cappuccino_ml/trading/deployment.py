"""Which model trades: chosen by alias, verified before use, written down; a bad one leaves the last good one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import (
    CappuccinoError,
    CheckpointError,
    Clock,
    Settings,
    read_json,
    read_settings,
    write_json,
)
from cappuccino_ml.features import FeatureSchema
from cappuccino_ml.registry import CHALLENGER, CHAMPION, ModelRegistry
from cappuccino_ml.trading.model import TradingModel

EXAMPLE = "example.json"  # {"window": [L, N, F], "entries": [1 + N], "action": [N]}
_TOLERANCE = 1e-4  # other processors round float32 differently


class Deployment(Settings):
    """The record in deployment.json: the model that trades now and the one before it."""

    version: str
    alias: str
    key: str
    arm: str
    schema_hash: str
    folder: str
    previous: str | None
    who: str
    when: datetime
    why: str


def wanted(registry: ModelRegistry) -> tuple[str, str] | None:
    """(alias, version) that should trade: the challenger if there is one, else the champion, else nothing."""
    for alias in (CHALLENGER, CHAMPION):
        version = registry.alias(alias)
        if version is not None:
            return alias, version
    return None


@dataclass(frozen=True)
class Followed:
    """What following the aliases came to."""

    deployment: Deployment | None
    sentence: str


def follow_registry(
    registry: ModelRegistry,
    *,
    load: Callable[[Path], TradingModel],
    universe: Universe,
    record: Path,
    into: Path,
    who: str,
    clock: Clock,
) -> Followed:
    """Deploy what the aliases name. Without any alias the record is set aside: no alias, no model, no orders.

    Args:
        registry: whose aliases decide.
        load: `Actor.load`.
        universe: what the account trades.
        record: deployment.json.
        into: folder for verified copies of registered versions.
        who: who or what asks.
        clock: time of the record.

    Raises:
        CheckpointError: the named version fails verification; the record stands as it was.
    """
    choice = wanted(registry)
    if choice is None:
        if record.exists():
            record.replace(record.with_name("deployment-withdrawn.json"))
        return Followed(deployment=None, sentence="no alias is set, so no model is deployed and nothing trades")
    alias, version = choice
    made = deploy(
        registry.download(version, into=into),
        load=load,
        universe=universe,
        record=record,
        version=version,
        alias=alias,
        who=who,
        why=f"alias {alias} names version {version}",
        clock=clock,
    )
    return Followed(deployment=made, sentence=f"version {version} ({made.arm}) is deployed as {alias}")


def model_to_trade(*, record: Path, candidate: Callable[[], str]) -> tuple[str, str]:
    """(version, label) of a session: the deployed model's paper session, else a rehearsal of the `candidate`."""
    deployed = read_deployment(record)
    return (deployed.version, "paper session") if deployed is not None else (candidate(), "REHEARSAL")


def read_deployment(record: Path) -> Deployment | None:
    """The deployment written in `record`; None before the first one."""
    return read_settings(Deployment, record) if record.exists() else None


def deploy(
    folder: Path,
    *,
    load: Callable[[Path], TradingModel],
    universe: Universe,
    record: Path,
    version: str,
    alias: str,
    who: str,
    why: str,
    clock: Clock,
) -> Deployment:
    """Verify the model in `folder` and make it the deployed one; the version that is deployed already changes nothing.

    Args:
        folder: a downloaded, hash-checked registry version.
        load: reads the folder, checking its own hashes: `Actor.load`.
        universe: what the account trades, order included.
        record: deployment.json; replaced only after every check has passed.
        version: registry version of `folder`.
        alias: the alias that named it.
        who: who or what asks for it.
        why: the reason, for the record.
        clock: time of the record.

    Raises:
        CheckpointError: the model does not load or fit; the record stands as it was.
    """
    before = read_deployment(record)
    try:
        model = load(folder)
        FeatureSchema.of(universe).require_same(model.schema, what=f"version {version}")
        _require_sound(model, folder)
    except (CappuccinoError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        stays = f"version {before.version} stays deployed" if before else "nothing is deployed, so nothing trades"
        raise CheckpointError(f"version {version} is not deployed: {str(error).rstrip('.')}; {stays}.") from error
    if before is not None and (before.version, before.key, before.alias) == (version, model.key, alias):
        return before
    made = Deployment(
        version=version,
        alias=alias,
        key=model.key,
        arm=model.arm,
        schema_hash=model.schema.hash,
        folder=str(folder),
        previous=before.version if before else None,
        who=who,
        when=clock.now(),
        why=why,
    )
    write_json(record, made)
    return made


def _require_sound(model: TradingModel, folder: Path) -> None:
    """Finite actions of the right shape; the stored example, if there is one, is reproduced."""
    tickers, features = len(model.schema.tickers), len(model.schema.features)
    window = np.zeros((model.lookback, tickers, features))
    entries = np.eye(1, 1 + tickers, dtype=np.float32)[0]  # all cash
    expected = None
    if (folder / EXAMPLE).exists():
        example = read_json(folder / EXAMPLE)
        stored = np.asarray(example["window"], dtype=np.float64)
        if stored.shape != window.shape:
            raise CheckpointError(
                f"its example has shape {stored.shape}, the model needs {window.shape}; train it again."
            )
        window, entries = stored, np.asarray(example["entries"], dtype=np.float32)
        expected = np.asarray(example["action"], dtype=np.float64)
    action = np.asarray(model.act(window, entries), dtype=np.float64)
    if action.shape != (tickers,) or not np.isfinite(action).all() or np.abs(action).max() > 1:
        raise CheckpointError(f"its action {action.tolist()} is not {tickers} numbers in [-1, 1]; train it again.")
    if expected is not None and not np.allclose(action, expected, rtol=0, atol=_TOLERANCE):
        raise CheckpointError(f"its stored example gives {action.tolist()}, not {expected.tolist()}; train it again.")
