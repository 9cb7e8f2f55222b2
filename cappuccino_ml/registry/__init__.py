"""Model cards, the MLflow registry, aliases and the record of who moved them."""

from cappuccino_ml.registry.alias_log import AliasLog, AliasMove
from cappuccino_ml.registry.card import ModelCard, Outcome
from cappuccino_ml.registry.mlflow_registry import CARD, DATA_MANIFEST, VERDICT, ModelRegistry
from cappuccino_ml.registry.on_disk import AliasedVersion, read_aliases
from cappuccino_ml.registry.promotion import CHALLENGER, CHAMPION, crown_if_go, promote_if_won

__all__ = [
    "CARD",
    "CHALLENGER",
    "CHAMPION",
    "DATA_MANIFEST",
    "VERDICT",
    "AliasLog",
    "AliasMove",
    "AliasedVersion",
    "ModelCard",
    "ModelRegistry",
    "Outcome",
    "crown_if_go",
    "promote_if_won",
    "read_aliases",
]
