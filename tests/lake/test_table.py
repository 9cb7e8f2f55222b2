"""A lake table survives crashes, repeats and second writers."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.core import LakeError
from cappuccino_ml.lake import MANIFEST, LakeTable, from_parquet, to_parquet

IDENTITY = {"columns": {"x": "double"}, "source": {"name": "test", "seed": 1}}


def frame(*values: float) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=len(values), freq="h", tz="UTC", unit="us")
    return pd.DataFrame({"timestamp": stamps, "x": list(values)})


def table(root: Path, **more: object) -> LakeTable:
    return LakeTable(root, **{"stage": "bars", "name": "t", "identity": IDENTITY} | more)


def data_files(root: Path) -> set[str]:
    return {path.name for path in (root / "bars" / "t").iterdir() if path.name not in (MANIFEST, ".lock")}


def test_what_is_written_is_read_back(tmp_path: Path):
    first = table(tmp_path)
    assert first.write("2024-02", frame(3.0))
    assert first.write("2024-01", frame(1.0, 2.0), meta={"revisions": 0})
    again = table(tmp_path)
    assert list(again.partitions) == ["2024-01", "2024-02"]
    pd.testing.assert_frame_equal(again.read("2024-01"), frame(1.0, 2.0))
    assert again.read_all()["x"].tolist() == [1.0, 2.0, 3.0]
    entry = again.partitions["2024-01"]
    assert (entry.rows, entry.meta) == (2, {"revisions": 0})
    assert entry.last == "2024-01-01T01:00:00+00:00"
    assert data_files(tmp_path) == {entry.file, again.partitions["2024-02"].file}


@settings(max_examples=20)
@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_the_same_frame_gives_the_same_bytes(values: list[float]):
    data = to_parquet(frame(*values))
    assert data == to_parquet(frame(*values))
    pd.testing.assert_frame_equal(from_parquet(data, path=Path("x")), frame(*values), check_dtype=bool(values))


def test_writing_the_same_rows_again_touches_nothing(tmp_path: Path):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0), meta={"a": 1})
    before = {path.name: path.stat().st_mtime_ns for path in lake.folder.iterdir()}
    assert not lake.write("2024-01", frame(1.0))
    assert not lake.write("2024-01", frame(1.0), meta={"a": 1})
    after = {path.name: path.stat().st_mtime_ns for path in lake.folder.iterdir()}
    assert {n: t for n, t in before.items() if n != ".lock"} == {n: t for n, t in after.items() if n != ".lock"}
    assert lake.write("2024-01", frame(1.0), meta={"a": 2})


def test_the_manifest_hash_follows_content_and_identity_only(tmp_path: Path):
    one, two, three = (table(tmp_path / name) for name in "abc")
    for lake, meta in ((one, {"m": 1}), (two, {"m": 2})):
        lake.write("2024-01", frame(1.0), meta=meta)
    three.write("2024-01", frame(2.0))
    assert one.manifest_hash() == two.manifest_hash() != three.manifest_hash()
    other = table(tmp_path / "d", identity={"else": 1})
    other.write("2024-01", frame(1.0))
    assert other.manifest_hash() != one.manifest_hash()


@pytest.mark.parametrize("dies_at", [0, 1])
def test_a_crash_between_any_two_steps_leaves_the_old_rows_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    calls = iter(range(10))
    replace = os.replace

    def dies(source: str, target: str) -> None:
        if next(calls) == dies_at:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            lake.write("2024-01", frame(2.0))
    after = table(tmp_path)
    assert after.read("2024-01")["x"].tolist() == [1.0]
    assert data_files(tmp_path) == {after.partitions["2024-01"].file}
    assert after.write("2024-01", frame(2.0))
    assert after.read("2024-01")["x"].tolist() == [2.0]


def test_a_crash_before_the_old_file_is_removed_leaves_the_new_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    old = lake.partitions["2024-01"].file
    unlink = Path.unlink

    def dies(path: Path, missing_ok: bool = False) -> None:
        if path.name == old:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            lake.write("2024-01", frame(2.0))
    assert old in data_files(tmp_path)
    after = table(tmp_path)
    assert after.read("2024-01")["x"].tolist() == [2.0]
    assert old not in data_files(tmp_path)


def test_half_written_files_of_a_killed_process_are_removed_at_opening(tmp_path: Path):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    (lake.folder / ".2024-01-abc.parquet.1234.tmp").write_bytes(b"half")
    (lake.folder / "2024-02-0123456789ab.parquet").write_bytes(b"unnamed")
    assert data_files(tmp_path) == {
        ".2024-01-abc.parquet.1234.tmp",
        "2024-02-0123456789ab.parquet",
        lake.partitions["2024-01"].file,
    }
    table(tmp_path)
    assert data_files(tmp_path) == {lake.partitions["2024-01"].file}


def test_opening_beside_a_writer_removes_nothing(tmp_path: Path):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    under_way = lake.folder / "2024-02-0123456789ab.parquet"
    with lake.lock():
        under_way.write_bytes(b"not yet named")
        table(tmp_path)
        assert under_way.exists()


def test_a_second_writer_waits_and_then_says_so(tmp_path: Path):
    first = table(tmp_path)
    second = table(tmp_path, lock_timeout_s=0.1)
    with first.lock():
        with pytest.raises(LakeError, match=r"another writer has held .* for 0\.1 s"):
            second.write("2024-01", frame(1.0))
        first.write("2024-01", frame(2.0))  # nested in one object
    assert second.write("2024-01", frame(1.0))


def test_another_identity_is_refused_naming_both_sides(tmp_path: Path):
    table(tmp_path).write("2024-01", frame(1.0))
    with pytest.raises(
        LakeError, match=r'source = \{"name": "test", "seed": 1\} .* source = \{"name": "test", "seed": 2\}'
    ):
        table(tmp_path, identity=IDENTITY | {"source": {"name": "test", "seed": 2}})
    with pytest.raises(LakeError, match="opened with more = 1"):
        table(tmp_path, identity=IDENTITY | {"more": 1})


def test_an_altered_or_missing_file_is_never_read(tmp_path: Path):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    path = lake.folder / lake.partitions["2024-01"].file
    path.write_bytes(to_parquet(frame(9.0)))
    with pytest.raises(LakeError, match="its manifest says"):
        lake.read("2024-01")
    path.unlink()
    with pytest.raises(LakeError, match="restore the file"):
        lake.read("2024-01")
    with pytest.raises(LakeError, match=r"no partition 2030-01 \(it has 2024-01 to 2024-01\)"):
        lake.read("2030-01")


def test_a_manifest_that_is_not_one_is_named(tmp_path: Path):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    (lake.folder / MANIFEST).write_text('{"partitions": {}}')
    with pytest.raises(LakeError, match="is not a manifest"):
        table(tmp_path)
    with pytest.raises(LakeError, match="no partitions yet"):
        table(tmp_path, name="empty").read_all()


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str):
    with pytest.raises(LakeError, match="is not a name"):
        table(tmp_path).write(name, frame(1.0))


def test_what_another_writer_wrote_is_seen_at_once(tmp_path: Path):
    ours, theirs = table(tmp_path), table(tmp_path)
    assert ours.partitions == {}
    for value in (1.0, 2.0, 3.0):
        theirs.write("2024-01", frame(value))
        assert ours.partitions == theirs.partitions
        assert ours.read("2024-01")["x"].tolist() == [value]
    theirs.write("2024-02", frame(9.0), meta={"a": 1})
    assert ours.write("2024-01", frame(4.0))
    assert theirs.partitions["2024-02"].meta == {"a": 1}
    assert theirs.manifest_hash() == ours.manifest_hash()


def test_a_reader_follows_a_writer_that_replaces_the_file_under_its_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ours, theirs = table(tmp_path), table(tmp_path)
    theirs.write("2024-01", frame(0.0))
    read_bytes, values = Path.read_bytes, iter((1.0, 2.0, 3.0))

    def overtaken(path: Path) -> bytes:
        if path.suffix == ".parquet" and (value := next(values, None)) is not None:
            with monkeypatch.context() as calm:
                calm.setattr(Path, "read_bytes", read_bytes)
                theirs.write("2024-01", frame(value))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", overtaken)
    assert ours.read("2024-01")["x"].tolist() == [3.0]


def test_the_manifest_is_json_with_one_line_per_partition(tmp_path: Path):
    lake = table(tmp_path)
    for month in range(1, 13):
        lake.write(f"2024-{month:02d}", frame(float(month)), meta={"note": "größer\n2"})
    text = (lake.folder / MANIFEST).read_text()
    assert list(json.loads(text)["partitions"]) == list(lake.partitions)
    assert len(text.splitlines()) == 12 + 3
    assert table(tmp_path).partitions == lake.partitions


def test_a_file_that_cannot_be_removed_does_not_fail_a_write_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake = table(tmp_path)
    lake.write("2024-01", frame(1.0))
    old = lake.partitions["2024-01"].file
    unlink = os.unlink

    def busy(path: str | Path, **more: object) -> None:
        if Path(path).name == old:
            raise PermissionError(13, "in use")
        unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", busy)
        assert lake.write("2024-01", frame(2.0))
        assert table(tmp_path).read("2024-01")["x"].tolist() == [2.0]
    table(tmp_path)
    assert old not in data_files(tmp_path)
