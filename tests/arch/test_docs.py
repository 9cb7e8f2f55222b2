"""The documents name everything a person can set, run or see; their links and pictures exist."""

import re
from pathlib import Path

import pytest
import typer
from dagster import AssetSelection, Definitions

from cappuccino_pipeline.cli import app
from cappuccino_pipeline.configuration import VARIABLES
from cappuccino_pipeline.definitions import defs

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "data_lake" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAX_DECISION_LINES = 25
MAX_PICTURE_BYTES = 200_000


def names_in(definitions: Definitions) -> set[str]:
    """Assets, checks, jobs, schedules and sensors."""
    repository = definitions.get_repository_def()
    assets = AssetSelection.all().resolve(repository.asset_graph)
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    ticking = {tick.name for tick in [*repository.schedule_defs, *repository.sensor_defs]}
    return {key.to_user_string() for key in assets} | checks | jobs | ticking


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return {f"make {target}" for target in re.findall(r"^([a-z-]+):.*##", makefile, flags=re.MULTILINE)}


def commands() -> set[str]:
    return {f"cappuccino {name}" for name in typer.main.get_command(app).commands}


def test_there_is_something_to_name():
    assert {"ohlcv_bars", "audit_bars", "hourly_bars", "follow_aliases", "research"} <= names_in(defs)
    assert "make demo" in make_targets()
    assert "cappuccino ui" in commands()


@pytest.mark.parametrize("name", sorted({*VARIABLES, *names_in(defs), *make_targets(), *commands()}))
def test_every_name_is_explained_somewhere(name: str):
    assert re.search(rf"{re.escape(name)}(?![\w-])", TEXT), f"{name} is named neither in README.md nor below docs/"


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_setting_is_in_the_readmes_table(name: str):
    assert f"| `{name}` |" in (ROOT / "README.md").read_text()


def test_no_document_names_a_variable_that_is_not_read():
    assert set(re.findall(r"CAPPUCCINO_[A-Z]+(?:_[A-Z]+)*", TEXT)) <= set(VARIABLES)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_relative_links_and_pictures_exist(page: Path):
    targets = [target.split("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_pictures_are_small_and_shown():
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert [picture.name for picture in pictures if picture.stat().st_size > MAX_PICTURE_BYTES] == []
    assert [picture.name for picture in pictures if f"images/{picture.name})" not in TEXT] == []


@pytest.mark.parametrize("note", DECISIONS, ids=[note.stem for note in DECISIONS])
def test_a_decision_is_short_and_says_what_would_change_it(note: Path):
    lines = note.read_text().splitlines()
    assert len(lines) <= MAX_DECISION_LINES
    assert lines[0].startswith("# ")
    text = "\n".join(lines)
    assert all(word in text for word in ("Context:", "Choice", "What would change our mind:"))


def test_decisions_are_numbered_without_gaps():
    assert [int(note.name[:4]) for note in DECISIONS] == list(range(1, len(DECISIONS) + 1))
