"""Which model trades: chosen by alias, verified before use, written down; a bad one leaves the last good one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import (
    CappuccinoError,
    CheckpointError,
    Clock,
    Settings,
    read_json,
    read_settings,
    write_bytes,
    write_json,
)
from cappuccino_ml.features import FeatureSchema
from cappuccino_ml.registry import CARD, CHALLENGER, CHAMPION, DATA_MANIFEST, VERDICT, ModelCard, ModelRegistry
from cappuccino_ml.trading.model import TradingModel

EXAMPLE = "example.json"  # {"window": [L, N, F], "entries": [1 + N], "action": [N]}
_TOLERANCE = 1e-4  # other processors round float32 differently
Rehearse = Callable[[TradingModel], str]


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
    checks: tuple[str, ...] = ()  # what was found sound before it was allowed to trade


class Refusal(Settings):
    """The record in refused.json: the version that an alias names and that may not trade, and why."""

    version: str
    alias: str
    reason: str
    when: datetime


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
    rehearse: Rehearse,
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
        rehearse: see `deploy`.

    Raises:
        CheckpointError: the named version fails verification; the record stands as it was, and refused.json says why.
    """
    refused = refusal_file(record)
    choice = wanted(registry)
    if choice is None:
        refused.unlink(missing_ok=True)
        before = read_deployment(record)
        if before is not None:
            record.replace(record.with_name("deployment-withdrawn.json"))
            _write_down(
                record, {"withdrawn": before.version, "who": who, "when": clock.now(), "why": "no alias is set"}
            )
        return Followed(deployment=None, sentence="no alias is set, so no model is deployed and nothing trades")
    alias, version = choice
    try:
        made = deploy(
            _downloaded(registry, version, into=into, record=record),
            load=load,
            universe=universe,
            record=record,
            version=version,
            alias=alias,
            who=who,
            why=f"alias {alias} names version {version}",
            clock=clock,
            rehearse=rehearse,
        )
    except CheckpointError as error:
        write_json(refused, Refusal(version=version, alias=alias, reason=str(error), when=clock.now()))
        _write_down(record, {"refused": version, "alias": alias, "who": who, "when": clock.now(), "why": str(error)})
        raise
    refused.unlink(missing_ok=True)
    return Followed(deployment=made, sentence=f"version {version} ({made.arm}) is deployed as {alias}")


def model_to_trade(*, record: Path, candidate: Callable[[], str]) -> tuple[str, str]:
    """(version, label) of a session: the deployed model's paper session, else a rehearsal of the `candidate`."""
    deployed = read_deployment(record)
    return (deployed.version, "paper session") if deployed is not None else (candidate(), "REHEARSAL")


def read_deployment(record: Path) -> Deployment | None:
    """The deployment written in `record`; None before the first one."""
    return read_settings(Deployment, record) if record.exists() else None


def refusal_file(record: Path) -> Path:
    """Beside deployment.json."""
    return record.with_name("refused.json")


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
    rehearse: Rehearse,
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
        rehearse: takes the model through the last week of bars -> what it came to, in a sentence; raises what is wrong.

    Raises:
        CheckpointError: the model does not load or fit, or does not get through the last week; the record stands.
    """
    before = read_deployment(record)
    try:
        model = load(folder)
        FeatureSchema.of(universe).require_same(model.schema, what=f"version {version}")
        checks = (
            _require_complete(model, folder),
            f"schema {model.schema.hash[:12]} is that of {', '.join(universe.tickers)} at {universe.timeframe}",
            _require_sound(model, folder),
            rehearse(model),
        )
    except (CappuccinoError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise _not_deployed(version, error, before) from error
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
        checks=checks,
    )
    _write_down(record, made.model_dump(mode="json"))
    write_json(record, made)
    return made


def _downloaded(registry: ModelRegistry, version: str, *, into: Path, record: Path) -> Path:
    try:
        return registry.download(version, into=into)
    except CheckpointError as error:
        raise _not_deployed(version, error, read_deployment(record)) from error


def _not_deployed(version: str, error: Exception, before: Deployment | None) -> CheckpointError:
    stays = f"version {before.version} stays deployed" if before else "nothing is deployed, so nothing trades"
    return CheckpointError(f"version {version} is not deployed: {str(error).rstrip('.')}; {stays}.")


def _write_down(record: Path, line: dict[str, Any]) -> None:
    """One line a movement in deployments.jsonl, replaced whole."""
    history = record.with_name("deployments.jsonl")
    before = history.read_bytes() if history.exists() else b""
    write_bytes(history, before + (json.dumps(line, default=str, sort_keys=True) + "\n").encode())


def _require_complete(model: TradingModel, folder: Path) -> str:
    """Evidence that belongs to this very model: card, verdict, data manifest, example."""
    absent = [name for name in (CARD, VERDICT, DATA_MANIFEST, EXAMPLE) if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"{', '.join(absent)} was not registered with it; register it again.")
    card = ModelCard.model_validate(read_json(folder / CARD))
    if (card.key, card.schema_hash) != (model.key, model.schema.hash):
        raise CheckpointError(
            f"its card is of model {card.key} with schema {card.schema_hash[:12]}, its weights are {model.key} with "
            f"{model.schema.hash[:12]}; register it again."
        )
    data = read_json(folder / DATA_MANIFEST)["key"]
    if data != card.data_manifest:
        raise CheckpointError(
            f"its card names data {card.data_manifest}, its manifest is of {data}; register it again."
        )
    files = sum(path.is_file() for path in folder.rglob("*"))
    return f"{files} files as registered, with card, verdict ({card.outcome}), data manifest {data} and example"


def _require_sound(model: TradingModel, folder: Path) -> str:
    """Finite actions of the right shape that reproduce the stored example."""
    tickers, features = len(model.schema.tickers), len(model.schema.features)
    needed = (model.lookback, tickers, features)
    example = read_json(folder / EXAMPLE)
    window, entries = np.asarray(example["window"], dtype=np.float64), np.asarray(example["entries"], dtype=np.float32)
    if window.shape != needed:
        raise CheckpointError(f"its example has shape {window.shape}, the model needs {needed}; train it again.")
    action, expected = np.asarray(model.act(window, entries), dtype=np.float64), np.asarray(example["action"])
    if action.shape != (tickers,) or not np.isfinite(action).all() or np.abs(action).max() > 1:
        raise CheckpointError(f"its action {action.tolist()} is not {tickers} numbers in [-1, 1]; train it again.")
    apart = float(np.abs(action - expected).max()) if expected.shape == action.shape else np.inf
    if not apart <= _TOLERANCE:
        raise CheckpointError(f"its stored example gives {action.tolist()}, not {expected.tolist()}; train it again.")
    return f"the stored example is reproduced, {apart:.1g} apart at most"
