"""A saved stream goes on as if it had never stopped, is whole or the former one, and never fits a foreign schema."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars import Universe
from cappuccino_ml.core import ConfigurationError, DataError, LakeError, SchemaMismatch
from cappuccino_ml.features import FeatureSchema, RecursiveFeatures, recursive


def started(panel, bars):
    stream = RecursiveFeatures(panel.universe)
    stream.extend(panel.slice(0, bars))
    return stream


def sizes(folder):
    return sorted(path.stat().st_size for path in folder.iterdir())


def test_a_restart_at_any_points_is_bit_identical_to_never_stopping(panel, tmp_path_factory):
    whole = started(panel, 0).extend(panel.slice(0, 400))

    @settings(max_examples=20)
    @given(stops=st.sets(st.integers(1, 399), min_size=1, max_size=5))
    def check(stops):
        folder = tmp_path_factory.mktemp("state")
        stream, parts, first = RecursiveFeatures(panel.universe), [], 0
        for stop in [*sorted(stops), 400]:
            parts.append(stream.extend(panel.slice(first, stop)))
            stream.save(folder)
            stream, first = RecursiveFeatures.load(folder, expected=stream.schema), stop
        assert np.concatenate(parts).tobytes() == whole.tobytes()
        assert stream.bars == 400
        assert stream.last_bar == panel.timestamps[399]

    check()


def test_the_state_is_as_large_after_5000_bars_as_after_500(make_panel, tmp_path):
    panel = make_panel(rows=5000, tickers=("BTC",))
    stream = started(panel, 500)
    stream.save(tmp_path / "early")
    stream.extend(panel.slice(500, 5000))
    stream.save(tmp_path / "late")
    assert sizes(tmp_path / "early") == sizes(tmp_path / "late")
    assert len(sizes(tmp_path / "late")) == 2


def test_saving_again_replaces_the_former_state_and_the_same_state_has_the_same_bytes(panel, tmp_path):
    stream = started(panel, 100)
    stream.save(tmp_path / "a")
    stream.update(panel.slice(100, 101))
    stream.save(tmp_path / "a")
    started(panel, 101).save(tmp_path / "b")
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 2


def test_a_save_that_dies_half_way_leaves_the_former_state(panel, tmp_path, monkeypatch):
    stream = started(panel, 100)
    stream.save(tmp_path)
    gone_on = stream.update(panel.slice(100, 101))
    with monkeypatch.context() as broken:

        def die(path: Path, value: object) -> None:
            raise LakeError(f"cannot write {path}: no space left on device.")

        broken.setattr(recursive, "write_json", die)
        with pytest.raises(LakeError, match="no space"):
            stream.save(tmp_path)
    former = RecursiveFeatures.load(tmp_path, expected=stream.schema)
    assert former.bars == 100
    np.testing.assert_array_equal(former.update(panel.slice(100, 101)), gone_on)
    former.save(tmp_path)
    assert len(sizes(tmp_path)) == 2


@pytest.mark.parametrize(
    "change", [{"tickers": ("ETH", "BTC", "LTC")}, {"timeframe": "4h"}, {"quote": "USDT"}, {"version": "0"}]
)
def test_a_state_of_another_schema_is_refused_naming_both_sides(panel, tmp_path, change):
    stream = started(panel, 50)
    stream.save(tmp_path)
    expected = stream.schema.model_copy(update=change)
    with pytest.raises(SchemaMismatch) as caught:
        RecursiveFeatures.load(tmp_path, expected=expected)
    assert expected.hash in str(caught.value)
    assert stream.schema.hash in str(caught.value)


def test_a_state_of_older_definitions_is_refused_even_if_they_are_asked_for(panel, tmp_path):
    stream = started(panel, 50)
    stream.save(tmp_path)
    facts = json.loads((tmp_path / "state.json").read_text())
    facts["feature_schema"]["version"] = "0"
    (tmp_path / "state.json").write_text(json.dumps(facts))
    older = FeatureSchema.model_validate(facts["feature_schema"])
    with pytest.raises(SchemaMismatch, match=r"version = 0, but .* version = 1 is needed"):
        RecursiveFeatures.load(tmp_path, expected=older)


def test_a_state_of_another_layout_is_refused(panel, tmp_path):
    stream = started(panel, 50)
    stream.save(tmp_path)
    text = (tmp_path / "state.json").read_text()
    (tmp_path / "state.json").write_text(text.replace('"layout": "1"', '"layout": "0"'))
    with pytest.raises(SchemaMismatch, match="has layout 0, but this code reads 1"):
        RecursiveFeatures.load(tmp_path, expected=stream.schema)


def test_an_altered_or_absent_memory_is_refused(panel, tmp_path):
    stream = started(panel, 50)
    stream.save(tmp_path)
    (memory,) = tmp_path.glob("memory-*")
    data = bytearray(memory.read_bytes())
    data[-1] ^= 1
    memory.write_bytes(data)
    with pytest.raises(LakeError, match=r"but state\.json says"):
        RecursiveFeatures.load(tmp_path, expected=stream.schema)
    memory.unlink()
    with pytest.raises(LakeError, match="cannot read"):
        RecursiveFeatures.load(tmp_path, expected=stream.schema)


def test_an_absent_state_and_one_without_bars_are_named(tmp_path):
    universe = Universe()
    with pytest.raises(ConfigurationError, match=r"state\.json does not exist"):
        RecursiveFeatures.load(tmp_path, expected=FeatureSchema.of(universe))
    with pytest.raises(DataError, match="without bars cannot be saved"):
        RecursiveFeatures(universe).save(tmp_path)
