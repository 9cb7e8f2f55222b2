"""Whatever a power cut or a full disk interrupts, the lake holds the old rows or the new ones, and goes on."""

import errno
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cappuccino_ml.bars import Universe, bars_table, ingest_month
from cappuccino_ml.core import LakeError, artifact_folder, is_done, write_bytes
from cappuccino_ml.lake import MANIFEST, LakeTable

PAIR = Universe(tickers=("BTC", "ETH"))
Contents = Callable[[Path], dict[str, bytes]]


def frame(*values: float) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=len(values), freq="h", tz="UTC", unit="us")
    return pd.DataFrame({"timestamp": stamps, "x": list(values)})


def table(root: Path) -> LakeTable:
    return LakeTable(root, stage="bars", name="t", identity={"x": "double"})


def rows(lake: LakeTable, partition: str) -> list[float] | None:
    return lake.read(partition)["x"].tolist() if partition in lake.partitions else None


def assert_no_strays(lake: LakeTable) -> None:
    held = {path.name for path in lake.folder.iterdir()} if lake.folder.is_dir() else set()
    assert held - {MANIFEST, ".lock"} == {entry.file for entry in lake.partitions.values()}


@pytest.mark.parametrize("old", [None, [1.0]], ids=["first write", "replacement"])
def test_at_no_moment_of_a_write_can_a_power_cut_leave_anything_but_the_old_rows_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_disk: Any, old: list[float] | None
):
    root = tmp_path / "lake"
    root.mkdir()
    if old is not None:
        table(root).write("2023-12", frame(7.0))
        table(root).write("2024-01", frame(*old))
    during: list[Path] = []
    disk = make_disk(root, watch=lambda disk: during.extend(disk.left_behind(tmp_path / "during")))
    lake = table(root)
    with disk.in_place(monkeypatch):
        lake.write("2024-01", frame(2.0, 3.0))
        disk.watch = None
        after = list(disk.left_behind(tmp_path / "after"))
    assert len(during) > 15
    found = []
    for state in during:
        left = table(state)
        found.append(rows(left, "2024-01"))
        assert old is None or rows(left, "2023-12") == [7.0]
        assert_no_strays(left)
        left.write("2024-01", frame(4.0))
        assert rows(left, "2024-01") == [4.0]
    assert {str(values) for values in found} == {str(old), str([2.0, 3.0])}
    assert after
    assert [rows(table(state), "2024-01") for state in after] == [[2.0, 3.0]] * len(after)  # written means kept


def test_a_disk_that_refuses_any_single_step_is_a_sentence_and_the_next_write_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_disk: Any
):
    steps = 0
    while True:
        root = tmp_path / str(steps)
        lake = table(root)
        lake.write("2024-01", frame(1.0))
        disk = make_disk(root, cut_at=steps, error=lambda: OSError(errno.ENOSPC, "No space left on device"))
        said = []
        with disk.in_place(monkeypatch):
            try:
                lake.write("2024-01", frame(2.0))
            except LakeError as error:
                said.append(str(error))
        if not said:
            break
        assert "No space left on device" in said[0]
        assert rows(lake, "2024-01") in ([1.0], [2.0])
        lake.write("2024-01", frame(2.0))
        assert rows(table(root), "2024-01") == [2.0]
        assert_no_strays(table(root))
        steps += 1
    assert steps >= 6


def ingest(root: Path, source: Any) -> None:
    """Two nights around the turn of a month."""
    for days in (30, 32):
        now = datetime(2024, 1, 1, 3, 20, tzinfo=UTC) + timedelta(days=days)
        lake = bars_table(root, source=source, universe=PAIR)
        for month in sorted({f"{now - timedelta(days=2):%Y-%m}", f"{now:%Y-%m}"}):
            ingest_month(source, lake, PAIR, month, now=now)


def test_a_power_cut_at_every_single_step_of_ingestion_and_a_resume_give_the_undisturbed_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_shelf: Any,
    make_disk: Any,
    power_cut: type[BaseException],
    contents: Contents,
):
    source = make_shelf(start=datetime(2024, 1, 29, tzinfo=UTC))
    ingest(tmp_path / "undisturbed", source)
    expected = contents(tmp_path / "undisturbed")
    steps = 0
    while True:
        root = tmp_path / str(steps)
        root.mkdir()
        with make_disk(root, cut_at=steps).in_place(monkeypatch):
            try:
                ingest(root, source)
            except power_cut:
                pass
            else:
                break
        left = bars_table(root, source=source, universe=PAIR)
        assert all(len(left.read(month)) == entry.rows for month, entry in left.partitions.items())
        assert_no_strays(left)
        ingest(root, source)
        assert contents(root) == expected
        steps += 1
    assert steps > 15


def test_an_artefact_folder_is_whole_or_absent_whatever_a_power_cut_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_disk: Any
):
    root = tmp_path / "state"
    root.mkdir()
    during: list[Path] = []
    disk = make_disk(root, watch=lambda disk: during.extend(disk.left_behind(tmp_path / "during")))
    with disk.in_place(monkeypatch):
        with artifact_folder(root / "model") as aside:
            (aside / "weights.bin").write_bytes(b"12345")
            (aside / "curves").mkdir()
            (aside / "curves" / "loss.json").write_text("[1, 2]")
        disk.watch = None
        after = list(disk.left_behind(tmp_path / "after"))
    whole = {"model/weights.bin": b"12345", "model/curves/loss.json": b"[1, 2]", "model/DONE": b""}
    assert len(during) > 5
    for state in during + after:
        done = is_done(state / "model")
        found = {
            str(path.relative_to(state)): path.read_bytes() for path in state.rglob("model/**/*") if path.is_file()
        }
        assert found == (whole if done else {})
    assert all(is_done(state / "model") for state in after)


def test_new_folders_above_a_file_outlive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_disk: Any):
    root = tmp_path / "state"
    root.mkdir()
    with make_disk(root).in_place(monkeypatch) as disk:
        write_bytes(root / "one" / "two" / "facts.json", b"{}")
        for state in disk.left_behind(tmp_path / "after"):
            assert json.loads((state / "one" / "two" / "facts.json").read_bytes()) == {}
