"""The model registry on MLflow, opened here and nowhere else. SQLite and artifacts live in one folder."""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from cappuccino_ml.core import (
    CheckpointError,
    Clock,
    ConfigurationError,
    SystemClock,
    artifact_folder,
    file_sha256,
    is_done,
    read_json,
    write_bytes,
    write_json,
)
from cappuccino_ml.registry.alias_log import AliasLog, AliasMove
from cappuccino_ml.registry.card import ModelCard
from cappuccino_ml.registry.study_runs import record_study

if TYPE_CHECKING:
    from cappuccino_ml.study import StudyResult  # the study room imports torch and optuna

MANIFEST = "registry_manifest.json"
CARD = "model_card.json"
VERDICT = "verdict.json"
DATA_MANIFEST = "data_manifest.json"
_ARTIFACTS = "model"
_TAG_LENGTH = 5000  # MLflow's limit
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # the second one is SQLite's word for a missing alias


class ModelRegistry:
    """Versions of one registered model, their evidence and their aliases.

    Registering never sets an alias. Hashes decide what may be loaded; tags and aliases can be edited by anyone.
    """

    def __init__(
        self,
        root: Path,
        *,
        model_name: str = "cappuccino",
        ui_url: str = "http://127.0.0.1:5000",
        clock: Clock | None = None,
    ) -> None:
        self.root = root.resolve()
        self.model_name = model_name
        self.log = AliasLog(self.root / "alias_log.jsonl")
        self._ui_url = ui_url.rstrip("/")
        self._clock = clock or SystemClock()
        self._opened: Any = None

    def register(
        self,
        folder: Path,
        *,
        card: ModelCard,
        evidence: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Store a finished model folder with its card as a new version, without any alias.

        The same key, outcome and pieces of evidence twice are one version: the second call returns the first's number.

        Args:
            folder: weights, configuration with schema and scaler, example.
            card: origin and verdict, for people.
            evidence: file name -> JSON or model, stored and sealed beside the weights: VERDICT, DATA_MANIFEST, ...
            tags: more tags of the version.

        Raises:
            CheckpointError: the folder is not finished, holds something other than files, or a name is taken.
        """
        if not is_done(folder):
            raise CheckpointError(f"{folder} has no DONE mark; register a finished model folder.")
        client, named = self._client(), ", ".join(sorted(evidence or {}))
        with FileLock(self.root / "register.lock"):
            for version in self.versions():
                known = self._version(version).tags
                if (known.get("model_key"), known.get("outcome"), known.get("evidence")) == (
                    card.key,
                    card.outcome,
                    named,
                ):
                    return version
            run = client.create_run(
                client.get_experiment_by_name(self.model_name).experiment_id,
                run_name=f"{card.arm}-{card.key[:12]}",
                tags={"model_key": card.key, "dagster_run_id": card.dagster_run_id, "source": card.source_label},
            )
            run_id, uri = run.info.run_id, f"{run.info.artifact_uri}/{_ARTIFACTS}"
            with tempfile.TemporaryDirectory() as aside:
                stage = Path(aside)
                shutil.copytree(folder, stage / _ARTIFACTS)
                for name, value in {CARD: card, **(evidence or {})}.items():
                    if (stage / _ARTIFACTS / name).exists():
                        raise CheckpointError(
                            f"{folder} already holds a {name}; name that piece of evidence otherwise."
                        )
                    write_json(stage / _ARTIFACTS / name, value)
                write_bytes(stage / _ARTIFACTS / "model_card.md", card.to_markdown().encode())
                write_json(stage / _ARTIFACTS / MANIFEST, {"model_key": card.key, "files": _hashes(stage / _ARTIFACTS)})
                seal = file_sha256(stage / _ARTIFACTS / MANIFEST)
                client.log_artifacts(run_id, aside)
            for name, number in card.metrics.items():
                client.log_metric(run_id, name, number)
            for name, value in card.params.items():
                client.log_param(run_id, name, value)
            client.set_terminated(run_id)
            made = client.create_model_version(
                self.model_name,
                source=uri,
                run_id=run_id,
                description=card.to_markdown(),
                tags={
                    **(tags or {}),
                    "model_key": card.key,
                    "manifest_sha256": seal,
                    "outcome": card.outcome,
                    "evidence": named,
                    "arm": card.arm,
                    "study_key": card.study_key,
                    "schema_hash": card.schema_hash,
                    "data_manifest": card.data_manifest,
                    "dagster_run_id": card.dagster_run_id,
                    "source": card.source_label,
                },
            )
            return str(made.version)

    def record_study(self, study: "StudyResult", *, pictures: Mapping[str, Path], tags: Mapping[str, str]) -> str:
        """Summaries of a finished study and its trials, written once -> the page of its run in the MLflow UI."""
        client = self._client()
        with FileLock(self.root / "register.lock"):
            experiment = _experiment(client, f"{self.model_name}-studies", (self.root / "artifacts").as_uri())
            run = record_study(client, experiment=experiment, study=study, pictures=pictures, tags=tags)
        return f"{self._ui_url}/#/experiments/{experiment}/runs/{run}"

    def set_alias(self, alias: str, version: str, *, who: str, why: str) -> None:
        """Point `alias` at `version` and write down who did it; nothing happens if it points there already.

        Raises:
            CheckpointError: there is no such version.
        """
        self._version(version)
        previous = self.alias(alias)
        if previous == version:
            return
        self._client().set_registered_model_alias(self.model_name, alias, version)
        self.tag(version, {f"alias.{alias}": f"set by {who} at {self._clock.now():%Y-%m-%d %H:%M} UTC: {why}"})
        self._write_down(alias, version, previous, who, why)

    def remove_alias(self, alias: str, *, who: str, why: str) -> None:
        """Take `alias` away and write down who did it; nothing happens if it is not set."""
        previous = self.alias(alias)
        if previous is None:
            return
        self._client().delete_registered_model_alias(self.model_name, alias)
        self.tag(previous, {f"alias.{alias}": f"removed by {who} at {self._clock.now():%Y-%m-%d %H:%M} UTC: {why}"})
        self._write_down(alias, None, previous, who, why)

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version, for people: nothing is ever decided by a tag."""
        for name, value in tags.items():
            self._client().set_model_version_tag(self.model_name, version, name, value[:_TAG_LENGTH])

    def alias(self, alias: str) -> str | None:
        """The version `alias` points at; None if the alias or the whole model is missing."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  (2 s and 170 MB: only when needed)

        try:
            return str(self._client().get_model_version_by_alias(self.model_name, alias).version)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise

    def versions(self) -> list[str]:
        """All versions, oldest first."""
        found = self._client().search_model_versions(f"name='{self.model_name}'")
        return [str(number) for number in sorted(int(version.version) for version in found)]

    def download(self, version: str, *, into: Path) -> Path:
        """Copy a version's files to `into/v<version>` and check every sha256 -> that folder.

        Raises:
            CheckpointError: no such version, not made by `register`, or a file is missing, added or altered.
        """
        found = self._version(version)
        key, seal = found.tags.get("model_key"), found.tags.get("manifest_sha256")
        if not key or not seal or not found.run_id:
            raise CheckpointError(f"version {version} was not registered by the pipeline; register its model folder.")
        target = into / f"v{version}"
        if is_done(target):
            _verify(target, version=version, key=key, seal=seal)
            return target
        with artifact_folder(target) as aside, tempfile.TemporaryDirectory() as fetched:
            source = Path(self._client().download_artifacts(found.run_id, _ARTIFACTS, fetched))
            _verify(source, version=version, key=key, seal=seal)
            shutil.copytree(source, aside, dirs_exist_ok=True)
        return target

    def facts(self, version: str) -> dict[str, str]:
        """What is known of a version: its tags, `version`, `run_id`, and two pages of the MLflow UI: `run_url` and
        `version_url`, where its aliases are set.

        Raises:
            CheckpointError: there is no such version.
        """
        found = self._version(version)
        experiment = self._client().get_experiment_by_name(self.model_name).experiment_id
        pages = {
            "run_url": f"{self._ui_url}/#/experiments/{experiment}/runs/{found.run_id}",
            "version_url": f"{self._ui_url}/#/models/{self.model_name}/versions/{version}",
        }
        return {**found.tags, "version": version, "run_id": str(found.run_id), **pages}

    def _version(self, version: str) -> Any:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            return self._client().get_model_version(self.model_name, version)
        except MlflowException as error:
            known = ", ".join(self.versions()) or "none"
            raise CheckpointError(f"{self.model_name} has no version {version}; known versions: {known}.") from error

    def _write_down(self, alias: str, version: str | None, previous: str | None, who: str, why: str) -> None:
        now = self._clock.now()
        self.log.append(AliasMove(alias=alias, version=version, previous=previous, who=who, when=now, why=why))

    def _client(self) -> Any:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
            from mlflow.tracking import MlflowClient  # noqa: PLC0415

            self.root.mkdir(parents=True, exist_ok=True)
            # The first opening migrates the database: two processes must not do that at once.
            with FileLock(self.root / "open.lock"):
                uri = f"sqlite:///{self.root / 'mlflow.db'}"
                client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                artifacts = (self.root / "artifacts").as_uri()
                _experiment(client, self.model_name, artifacts)
                try:
                    client.get_registered_model(self.model_name)
                except MlflowException:
                    client.create_registered_model(self.model_name)
        return client


def _experiment(client: Any, name: str, artifacts: str) -> str:
    """The id of the experiment `name`, made if need be.

    Raises:
        ConfigurationError: it keeps its artifacts elsewhere.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location=artifacts))
    if experiment.artifact_location != artifacts:
        raise ConfigurationError(
            f"experiment {name} keeps its artifacts in {experiment.artifact_location}, not in {artifacts}; "
            "move the folder back to where it was made."
        )
    return str(experiment.experiment_id)


def _hashes(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file, the manifest left out."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{path} is not a plain file; a model folder holds plain files only.")
        if path.is_file() and path.name != MANIFEST:
            files[path.relative_to(folder).as_posix()] = file_sha256(path)
    return files


def _verify(folder: Path, *, version: str, key: str, seal: str) -> None:
    manifest = folder / MANIFEST
    way_out = "train it again or move the alias to another version."
    if not manifest.is_file() or file_sha256(manifest) != seal:
        raise CheckpointError(f"version {version}: {MANIFEST} is not the one that was registered; {way_out}")
    stored = read_json(manifest)
    if stored["model_key"] != key:
        raise CheckpointError(f"version {version}: tag says model {key}, files say {stored['model_key']}; {way_out}")
    wanted, found = stored["files"], _hashes(folder)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            kind = "missing" if name not in found else "not in the manifest" if name not in wanted else "altered"
            raise CheckpointError(f"version {version}: {name} is {kind}; {way_out}")
