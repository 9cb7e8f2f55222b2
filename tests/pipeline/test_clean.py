"""Cleaning: what anything current leads to stays, however old; the rest is listed, and deleted only when asked for."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cappuccino_ml.core import CappuccinoError, mark_done, write_json
from cappuccino_pipeline.clean import remove, stale_folders
from cappuccino_pipeline.cli import app
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.current import Current

NOW = datetime.now(UTC)
MONTH = timedelta(days=30)


def key(letter: str) -> str:
    return letter * 16


def artefact(folder: Path, content: object, *, days_old: float = 90) -> Path:
    write_json(folder / "facts.json", content)
    mark_done(folder)
    then = (NOW - timedelta(days=days_old)).timestamp()
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A current study on its data set and encoder, an aliased older study, and leftovers."""
    artefact(tmp_path / "datasets" / key("a"), {})
    artefact(tmp_path / "encoders" / key("b"), {"dataset_key": key("a")})
    study = artefact(tmp_path / "studies" / key("c"), {"encoder_key": key("b")})
    artefact(tmp_path / "studies" / key("d"), {"dataset_key": key("e")})
    artefact(tmp_path / "datasets" / key("e"), {})
    artefact(tmp_path / "models" / "simulated-usd-1h" / "v1", {})
    current = Current(tmp_path / "current" / "simulated-usd-1h")
    current.point("optuna_study", study)
    (tmp_path / "mlflow").mkdir()
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as database:
        database.execute("CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT)")
        database.execute('CREATE TABLE model_version_tags ("key" TEXT, value TEXT, name TEXT, version INTEGER)')
        model = "cappuccino-simulated-usd-1h"
        database.execute("INSERT INTO registered_model_aliases VALUES ('champion', 1, ?)", (model,))
        database.execute("INSERT INTO model_version_tags VALUES ('study_key', ?, ?, 1)", (key("d"), model))
        database.commit()
    return tmp_path


def listed(state: Path) -> set[str]:
    found = stale_folders(Configuration(state=state), older_than=MONTH, now=NOW)
    return {str(one.folder.relative_to(state)) for one in found}


def test_what_pointers_and_aliases_lead_to_stays_through_any_number_of_steps(state: Path):
    assert listed(state) == set()


def test_old_leftovers_are_listed_and_young_ones_are_not(state: Path):
    artefact(state / "studies" / key("1"), {"dataset_key": key("2")})
    artefact(state / "datasets" / key("2"), {})
    artefact(state / "encoders" / key("3"), {}, days_old=3)
    artefact(state / "models" / "simulated-usd-1h" / "v7", {})
    assert listed(state) == {f"studies/{key('1')}", f"datasets/{key('2')}", "models/simulated-usd-1h/v7"}


def test_a_verdict_keeps_its_study_although_a_newer_one_is_current(state: Path):
    artefact(state / "studies" / key("4"), {})
    verdict = artefact(state / "verdicts" / "v", {"study_key": key("4")})
    Current(state / "current" / "simulated-usd-1h").point("validation_report", verdict)
    assert listed(state) == set()


def test_the_deployed_model_and_what_it_names_stay(state: Path):
    folder = artefact(state / "models" / "simulated-usd-1h" / "v9", {"encoder_key": key("5")})
    artefact(state / "encoders" / key("5"), {})
    write_json(state / "trading" / "simulated-usd-1h" / "deployment.json", {"folder": str(folder)})
    assert listed(state) == set()


def test_what_is_never_made_again_is_never_listed(state: Path):
    for kind in ("verdicts", "trading", "mlflow", "bars", "features", "dagster"):
        artefact(state / kind / key("6"), {})
    assert listed(state) == set()


def test_a_pointer_that_cannot_be_read_stops_everything(state: Path):
    (state / "current" / "simulated-usd-1h" / "optuna_study.json").write_text("{half")
    with pytest.raises(CappuccinoError, match="it is not known what is needed"):
        listed(state)


def test_the_command_lists_by_default_and_deletes_when_asked(state: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CAPPUCCINO_STATE", str(state))
    leftover = artefact(state / "studies" / key("1"), {})
    said = CliRunner().invoke(app, ["clean"])
    assert (said.exit_code, leftover.exists()) == (0, True)
    assert "nothing was deleted" in said.output
    said = CliRunner().invoke(app, ["clean", "--delete"])
    assert (said.exit_code, leftover.exists()) == (0, False)
    assert "1 folders deleted" in said.output
    assert (state / "studies" / key("c")).exists()


def test_an_interrupted_removal_leaves_no_artefact(state: Path, monkeypatch: pytest.MonkeyPatch):
    leftover = artefact(state / "studies" / key("1"), {})
    stale = stale_folders(Configuration(state=state), older_than=MONTH, now=NOW)

    def refuse(folder: Path) -> None:
        raise OSError(f"killed at {folder}")

    monkeypatch.setattr("cappuccino_pipeline.clean.shutil.rmtree", refuse)
    with pytest.raises(OSError, match="killed"):
        remove(stale)
    assert not (leftover / "DONE").exists()
