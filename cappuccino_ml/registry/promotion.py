"""The pipeline's one right to move an alias: a won verdict makes a challenger, nothing else does."""

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
    if any((move.alias, move.version, move.who) == (CHALLENGER, version, PIPELINE) for move in registry.log.moves()):
        return False
    registry.set_alias(CHALLENGER, version, who=PIPELINE, why=f"verdict of version {version}: win")
    return registry.alias(CHALLENGER) == version
