"""Model cards, the MLflow registry, aliases and the record of who moved them."""

from cappuccino_ml.registry.alias_log import AliasLog, AliasMove
from cappuccino_ml.registry.card import ModelCard, Outcome
from cappuccino_ml.registry.mlflow_registry import ModelRegistry
from cappuccino_ml.registry.on_disk import AliasedVersion, read_aliases
from cappuccino_ml.registry.promotion import CHALLENGER, CHAMPION, promote_if_won

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "AliasLog",
    "AliasMove",
    "AliasedVersion",
    "ModelCard",
    "ModelRegistry",
    "Outcome",
    "promote_if_won",
    "read_aliases",
]
