"""A migrated, empty MLflow database, copied for each test: the migration takes seconds."""

import logging
import os
import shutil
import warnings
from pathlib import Path

import pytest

from cappuccino_ml.registry import ModelCard, ModelRegistry


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    uri = f"sqlite:///{path}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
    return path


@pytest.fixture
def registry(template: Path, tmp_path: Path) -> ModelRegistry:
    root = tmp_path / "mlflow"
    root.mkdir()
    shutil.copy(template, root / "mlflow.db")
    return ModelRegistry(root, model_name="toy")


def make_model(folder: Path, text: str = "weights") -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.safetensors").write_text(text)
    (folder / "deep" / "actor.json").write_text("{}")
    (folder / "DONE").write_bytes(b"")
    return folder


def make_card(key: str, outcome: str = "win") -> ModelCard:
    return ModelCard.model_validate(
        {
            "key": key,
            "arm": "mlp",
            "study_key": "study-1",
            "outcome": outcome,
            "verdict": {"sharpe": 1.25, "reasons": ["a | b"]},
            "schema_hash": "5c",
            "data_manifest": "da7a",
            "dagster_run_id": "run-1",
            "source_label": "simulated",
            "metrics": {"sharpe": 1.25},
            "params": {"learning_rate": 1e-4, "lookback": 3},
        }
    )
