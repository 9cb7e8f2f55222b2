"""The pipeline's two rights to move an alias: a won verdict makes a challenger, a go on paper a champion."""

from cappuccino_ml.core import CheckpointError
from cappuccino_ml.registry.card import Outcome
from cappuccino_ml.registry.mlflow_registry import ModelRegistry

CHALLENGER = "challenger"
CHAMPION = "champion"
PIPELINE = "pipeline"
MIN_FRESH_DAYS = 30.0


def promote_if_won(registry: ModelRegistry, *, version: str, verdict_outcome: Outcome, fresh_days: float) -> bool:
    """Give `challenger` to `version` if its verdict is a win on a fresh holdout -> whether the alias moved.

    `fresh_days` of the holdout had been used by no earlier verdict; with fewer than `MIN_FRESH_DAYS`, trying again on
    bars that are known already could make anything win, so only a person may promote.

    A version gets the alias from the pipeline once: when a person has taken it back, a re-run does not undo that.

    Raises:
        CheckpointError: no such version, or it was registered with another outcome.
    """
    registered = registry.facts(version).get("outcome")
    if registered != verdict_outcome:
        raise CheckpointError(
            f"version {version} was registered as {registered!r}, not {verdict_outcome!r}; "
            "register the new verdict first."
        )
    if verdict_outcome != "win" or fresh_days < MIN_FRESH_DAYS:
        return False
    if _moved_before(registry, CHALLENGER, version):
        return False
    registry.set_alias(CHALLENGER, version, who=PIPELINE, why=f"verdict of version {version}: win")
    return registry.alias(CHALLENGER) == version


def crown_if_go(registry: ModelRegistry, *, version: str, outcome: str, why: str) -> bool:
    """Make the challenger `version` the champion if its paper session is a go -> whether the alias moved.

    `champion` moves first and `challenger` is removed then, so that at every moment one of them names the version.
    A version that is not the challenger now is left alone: a person has moved on meanwhile. Like `challenger`, the
    alias is given once: when a person has taken it back, the same session does not undo that. MLflow moves an alias
    under no condition, so a person may take or move `challenger` in the moment between: then `champion` is put back.

    Args:
        registry: whose aliases move.
        version: what the session was held with.
        outcome: of the decision on it; nothing but "go" moves anything.
        why: the decision in a sentence, for the log and the version's tags.

    Raises:
        CheckpointError: no such version.
    """
    registry.facts(version)
    if outcome != "go" or registry.alias(CHALLENGER) != version or _moved_before(registry, CHAMPION, version):
        return False
    before = registry.alias(CHAMPION)
    registry.set_alias(CHAMPION, version, who=PIPELINE, why=why)
    if registry.alias(CHALLENGER) != version:
        _put_back(registry, before, version=version)
        return False
    registry.remove_alias(CHALLENGER, who=PIPELINE, why=f"version {version} is champion now")
    return registry.alias(CHAMPION) == version


def _put_back(registry: ModelRegistry, before: str | None, *, version: str) -> None:
    if registry.alias(CHAMPION) != version:  # a person has moved it on since
        return
    why = f"version {version} was taken out of challenger while it was made champion"
    if before is None:
        registry.remove_alias(CHAMPION, who=PIPELINE, why=why)
    else:
        registry.set_alias(CHAMPION, before, who=PIPELINE, why=why)


def _moved_before(registry: ModelRegistry, alias: str, version: str) -> bool:
    return any((move.alias, move.version, move.who) == (alias, version, PIPELINE) for move in registry.log.moves())
