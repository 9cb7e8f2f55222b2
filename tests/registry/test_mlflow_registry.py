"""What the registry promises, against a real MLflow on SQLite."""

import json
from pathlib import Path

import pytest

from cappuccino_ml.core import CappuccinoError, CheckpointError, ConfigurationError
from cappuccino_ml.registry import ModelCard, ModelRegistry, crown_if_go, promote_if_won, read_aliases
from cappuccino_ml.registry.mlflow_registry import MANIFEST

from .conftest import make_card, make_model


def artifact(registry: ModelRegistry, name: str) -> Path:
    return next((registry.root / "artifacts").rglob(name))


def test_a_new_version_has_no_alias_and_says_where_it_comes_from(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"), tags={"asset": "promoted_model"})
    assert registry.versions() == [version] == ["1"]
    assert registry.alias("challenger") is None
    assert registry.alias("champion") is None
    facts = registry.facts(version)
    assert facts["dagster_run_id"] == "run-1"
    assert facts["data_manifest"] == "da7a"
    assert facts["asset"] == "promoted_model"
    assert facts["run_id"] in facts["run_url"]
    assert artifact(registry, "model_card.md").read_text().startswith("# Model k1 (mlp)")


def test_the_same_key_twice_is_one_version(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    assert registry.register(folder, card=make_card("k1")) == registry.register(folder, card=make_card("k1"))
    assert registry.versions() == ["1"]


def test_an_unfinished_folder_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "DONE").unlink()
    with pytest.raises(CheckpointError, match="DONE"):
        registry.register(folder, card=make_card("k1"))


def test_an_alias_moves_rolls_back_and_every_move_is_written_down(registry: ModelRegistry, tmp_path: Path) -> None:
    one = registry.register(make_model(tmp_path / "a", "a"), card=make_card("k1"))
    two = registry.register(make_model(tmp_path / "b", "b"), card=make_card("k2"))
    registry.set_alias("champion", one, who="ann", why="passed paper")
    registry.set_alias("champion", two, who="ann", why="better")
    registry.set_alias("champion", two, who="ann", why="nothing to do")
    registry.set_alias("champion", one, who="bob", why="roll back")
    assert registry.alias("champion") == one
    registry.remove_alias("champion", who="bob", why="stop")
    registry.remove_alias("champion", who="bob", why="nothing to do")
    assert registry.alias("champion") is None
    moves = [(move.version, move.previous, move.who, move.why) for move in registry.log.moves()]
    assert moves == [
        (one, None, "ann", "passed paper"),
        (two, one, "ann", "better"),
        (one, two, "bob", "roll back"),
        (None, one, "bob", "stop"),
    ]


def test_an_alias_cannot_point_at_nothing(registry: ModelRegistry) -> None:
    with pytest.raises(CheckpointError, match="no version 7; known versions: none"):
        registry.set_alias("champion", "7", who="ann", why="typo")
    assert registry.log.moves() == []


def test_a_download_is_the_registered_folder_bit_by_bit(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    version = registry.register(folder, card=make_card("k1"))
    for _ in range(2):
        copy = registry.download(version, into=tmp_path / "models")
        files = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        for sealed in (MANIFEST, "model_card.json", "model_card.md"):
            del files[Path(sealed)]
        assert files == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("forgery", ["altered", "missing", "not in the manifest", "manifest"])
def test_a_forged_file_is_refused_and_leaves_nothing_behind(
    registry: ModelRegistry, tmp_path: Path, forgery: str
) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    weights = artifact(registry, "weights.safetensors")
    if forgery == "altered":
        weights.write_text("Weights")
    elif forgery == "missing":
        weights.unlink()
    elif forgery == "not in the manifest":
        weights.with_name("extra.py").write_text("import os")
    else:
        artifact(registry, MANIFEST).write_text('{"model_key": "k1", "files": {}}')
    with pytest.raises(CheckpointError, match=forgery):
        registry.download(version, into=tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_card_and_all_evidence_are_sealed_beside_the_weights(registry: ModelRegistry, tmp_path: Path) -> None:
    evidence = {"verdict.json": {"outcome": "win"}, "data_manifest.json": {"key": "da7a"}}
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"), evidence=evidence)
    copy = registry.download(version, into=tmp_path / "models")
    assert json.loads((copy / "verdict.json").read_text()) == {"outcome": "win"}
    assert ModelCard.model_validate_json((copy / "model_card.json").read_text()) == make_card("k1")
    artifact(registry, "verdict.json").write_text('{"outcome": "reject"}')
    with pytest.raises(CheckpointError, match=r"verdict\.json is altered"):
        registry.download(version, into=tmp_path / "elsewhere")


def test_evidence_cannot_replace_a_file_of_the_model(registry: ModelRegistry, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"already holds a weights\.safetensors"):
        registry.register(make_model(tmp_path / "m"), card=make_card("k1"), evidence={"weights.safetensors": {}})


def test_a_copy_altered_after_download_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    (registry.download(version, into=tmp_path / "models") / "weights.safetensors").write_text("other")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is altered"):
        registry.download(version, into=tmp_path / "models")


def test_a_version_made_by_hand_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    uri = f"sqlite:///{registry.root / 'mlflow.db'}"
    made = MlflowClient(tracking_uri=uri, registry_uri=uri).create_model_version("toy", source=str(tmp_path / "m"))
    with pytest.raises(CheckpointError, match="not registered by the pipeline"):
        registry.download(str(made.version), into=tmp_path / "models")


def test_a_moved_state_folder_is_told_apart(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    registry.root.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="move the folder back"):
        ModelRegistry(tmp_path / "elsewhere", model_name="toy").versions()


@pytest.mark.parametrize("outcome", ["reject", "inconclusive"])
def test_without_a_win_no_alias_is_ever_set(registry: ModelRegistry, tmp_path: Path, outcome: str) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1", outcome))
    assert not promote_if_won(registry, version=version, verdict_outcome=outcome, fresh_days=60)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=outcome):
        promote_if_won(registry, version=version, verdict_outcome="win", fresh_days=60)
    assert registry.alias("challenger") is None
    assert registry.alias("champion") is None
    assert registry.log.moves() == []


def test_a_win_makes_a_challenger_once_and_a_person_can_take_it_back(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    assert not promote_if_won(registry, version=version, verdict_outcome="win", fresh_days=29.9), "a used holdout"
    assert promote_if_won(registry, version=version, verdict_outcome="win", fresh_days=60)
    assert registry.alias("challenger") == version
    registry.remove_alias("challenger", who="ann", why="not yet")
    assert not promote_if_won(registry, version=version, verdict_outcome="win", fresh_days=60)
    assert registry.alias("challenger") is None


def test_aliases_read_from_the_file_are_those_that_mlflow_gives(registry: ModelRegistry, tmp_path: Path) -> None:
    database = registry.root / "mlflow.db"
    assert read_aliases(database, model_name="toy") == {}
    for number, key in enumerate(("k1", "k2"), start=1):
        registry.register(make_model(tmp_path / key, key), card=make_card(key, "win" if number == 1 else "reject"))
    registry.set_alias("challenger", "2", who="ann", why="try it")
    registry.set_alias("champion", "1", who="ann", why="passed paper")
    found = read_aliases(database, model_name="toy")
    assert {alias: one.version for alias, one in found.items()} == {
        alias: registry.alias(alias) for alias in ("challenger", "champion")
    }
    assert [found[alias].tags["outcome"] for alias in ("champion", "challenger")] == ["win", "reject"]
    assert read_aliases(database, model_name="another") == {}
    registry.remove_alias("challenger", who="ann", why="enough")
    assert set(read_aliases(database, model_name="toy")) == {"champion"}


def test_a_file_that_is_no_database_of_mlflow_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert read_aliases(tmp_path / "mlflow.db", model_name="toy") == {}
    (tmp_path / "mlflow.db").write_text("something else")
    with pytest.raises(CappuccinoError, match=r"mlflow\.db"):
        read_aliases(tmp_path / "mlflow.db", model_name="toy")


@pytest.mark.parametrize("outcome", ["extend", "no-go"])
def test_champion_moves_on_go_only(registry: ModelRegistry, tmp_path: Path, outcome: str) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    registry.set_alias("challenger", version, who="ann", why="paper")
    assert not crown_if_go(registry, version=version, outcome=outcome, why="9 fills")
    assert (registry.alias("champion"), registry.alias("challenger")) == (None, version)
    assert crown_if_go(registry, version=version, outcome="go", why="go: all met")
    assert (registry.alias("champion"), registry.alias("challenger")) == (version, None)
    assert [(m.alias, m.version, m.who, m.why) for m in registry.log.moves()[1:]] == [
        ("champion", version, "pipeline", "go: all met"),
        ("challenger", None, "pipeline", f"version {version} is champion now"),
    ]
    assert "set by pipeline" in registry.facts(version)["alias.champion"]
    assert registry.facts(version)["alias.champion"].endswith("go: all met")


def test_a_go_for_a_version_that_is_not_the_challenger_moves_nothing(registry: ModelRegistry, tmp_path: Path) -> None:
    one = registry.register(make_model(tmp_path / "a", "a"), card=make_card("k1"))
    two = registry.register(make_model(tmp_path / "b", "b"), card=make_card("k2"))
    registry.set_alias("challenger", two, who="ann", why="a newer one")
    assert not crown_if_go(registry, version=one, outcome="go", why="go")
    assert (registry.alias("champion"), registry.alias("challenger")) == (None, two)


@pytest.mark.parametrize("old", [None, "1"])
@pytest.mark.parametrize("to", [None, "3"])
def test_a_person_who_takes_or_moves_challenger_in_the_moment_of_a_go_has_the_last_word(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None, to: str | None
) -> None:
    for name in ("1", "2", "3"):
        registry.register(make_model(tmp_path / name, name), card=make_card(f"k{name}"))
    if old is not None:
        registry.set_alias("champion", old, who="ann", why="good")
    registry.set_alias("challenger", "2", who="ann", why="paper")
    set_alias = registry.set_alias

    def at_the_same_time(alias: str, version: str, *, who: str, why: str) -> None:
        monkeypatch.undo()
        if to is None:
            registry.remove_alias("challenger", who="ann", why="not this one")
        else:
            set_alias("challenger", to, who="ann", why="rather this one")
        set_alias(alias, version, who=who, why=why)

    monkeypatch.setattr(registry, "set_alias", at_the_same_time)
    assert not crown_if_go(registry, version="2", outcome="go", why="go")
    assert (registry.alias("champion"), registry.alias("challenger")) == (old, to)


def test_a_champion_that_a_person_took_back_is_not_crowned_again(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.register(make_model(tmp_path / "m"), card=make_card("k1"))
    registry.set_alias("challenger", version, who="ann", why="paper")
    assert crown_if_go(registry, version=version, outcome="go", why="go")
    registry.remove_alias("champion", who="ann", why="not this one")
    registry.set_alias("challenger", version, who="ann", why="look at it again")
    assert not crown_if_go(registry, version=version, outcome="go", why="go")
    assert registry.alias("champion") is None
