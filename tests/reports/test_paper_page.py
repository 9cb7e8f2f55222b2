"""The page of a paper session says the decision first, everything it rests on, and needs nothing else."""

from html import escape
from pathlib import Path

import pytest

from cappuccino_ml.reports.paper import paper_html

from .made_paper import make_paper

FACTS = {
    "arm": "ft_pretrained",
    "outcome": "win",
    "study_key": "5f0c",
    "data_manifest": "da7a",
    "schema_hash": "5c4e",
    "dagster_run_id": "run-1",
    "run_url": "http://127.0.0.1:5000/#/experiments/1/runs/0a1b",
}
PNG = bytes.fromhex("89504e470d0a1a0a")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    for name in ("session.png", "trades.png"):
        (tmp_path / name).write_bytes(PNG)
    return [tmp_path / "session.png", tmp_path / "trades.png"]


def test_every_criterion_every_source_and_every_link_is_on_the_page(tmp_path: Path, pictures: list[Path]) -> None:
    report = make_paper("paper session")
    text = paper_html(report, facts=FACTS, pictures=pictures, path=tmp_path / "paper.html").read_text()
    assert "This market does not exist" in text
    assert all(escape(one.name) in text for one in report.decision.criteria)
    assert report.decision.outcome == "go"
    assert ">GO<" in text
    for said in (
        "version 2, champion, no orders",
        "rsi",
        "shifted",
        "ETH-USD",
        "kill file",
        "168 of 168",
        "da7a",
        "win",
    ):
        assert said in text
    assert FACTS["run_url"] in text
    assert "<script" not in text
    assert text.count("data:image/png;base64,") == 2


def test_what_there_is_not_is_said_and_a_rehearsal_recommends_nothing(tmp_path: Path, pictures: list[Path]) -> None:
    report = make_paper(
        "REHEARSAL", champion=None, champion_note="no version is champion", drift=(), drift_note="no bins"
    )
    text = paper_html(report, facts=FACTS, pictures=pictures, path=tmp_path / "paper.html").read_text()
    for said in ("recommends no model", "None: no version is champion.", "Not computed: no bins."):
        assert said in text
