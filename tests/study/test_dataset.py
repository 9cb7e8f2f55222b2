"""A frozen data set: same rows, same key and bytes; another bar, another key; an altered file is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.core import LakeError
from cappuccino_ml.features import MarketTable
from cappuccino_ml.study import SplitSettings, load_dataset, make_splits

from .conftest import SPLITS, altered, contents, freeze


def test_the_same_rows_are_the_same_key_and_the_same_bytes(tmp_path: Path, market: MarketTable) -> None:
    one, other = (freeze(tmp_path / name, market) for name in ("a", "b"))
    assert one.key == other.key == one.folder.name
    assert contents(one.folder) == contents(other.folder)


def test_freezing_again_writes_nothing(tmp_path: Path, market: MarketTable) -> None:
    folder = freeze(tmp_path, market).folder
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert freeze(tmp_path, market).folder == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_one_revised_bar_is_another_data_set_and_leaves_the_first_as_it_was(
    tmp_path: Path, market: MarketTable
) -> None:
    first = freeze(tmp_path, market)
    before = contents(first.folder)
    second = freeze(tmp_path, altered(market, row=700, close=0.01))
    assert second.key != first.key
    assert contents(first.folder) == before
    assert load_dataset(second.folder).market.close[700, 0] == market.close[700, 0] + 0.01


def test_other_splits_or_another_source_are_another_data_set(tmp_path: Path, market: MarketTable) -> None:
    longer = make_splits(len(market), SplitSettings.model_validate({**SPLITS.model_dump(), "paper_bars": 48}))
    keys = {
        freeze(tmp_path, market).key,
        freeze(tmp_path, market, splits=longer).key,
        freeze(tmp_path, market, source={"name": "simulated", "seed": 8}).key,
        freeze(tmp_path, market, bars_manifest="1" * 64).key,
    }
    assert len(keys) == 4


def test_what_is_loaded_is_what_was_frozen(tmp_path: Path, market: MarketTable) -> None:
    frozen = freeze(tmp_path, market)
    loaded = load_dataset(frozen.folder)
    assert loaded.config == frozen.config
    for name in ("timestamps", "open", "close", "tradable"):
        np.testing.assert_array_equal(getattr(loaded.market, name), getattr(market, name))
    np.testing.assert_array_equal(loaded.market.features[300:], market.features[300:])


def test_an_altered_data_set_is_refused(tmp_path: Path, market: MarketTable) -> None:
    folder = freeze(tmp_path, market).folder
    file = folder / "market.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(LakeError, match="sha256"):
        load_dataset(folder)


def test_altered_splits_are_refused(tmp_path: Path, market: MarketTable) -> None:
    folder = freeze(tmp_path, market).folder
    config = folder / "dataset.json"
    config.write_text(config.read_text().replace('"label": "simulated"', '"label": "real"'))
    with pytest.raises(LakeError, match="altered"):
        load_dataset(folder)


def test_an_unfinished_data_set_is_refused(tmp_path: Path, market: MarketTable) -> None:
    folder = freeze(tmp_path, market).folder
    (folder / "DONE").unlink()
    with pytest.raises(LakeError, match="no finished data set"):
        load_dataset(folder)


def test_volume_is_frozen_with_the_rows_and_part_of_what_the_key_names(market: MarketTable, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random(market.close.shape)
    dataset = freeze(tmp_path, market, volume=volume)
    assert dataset.key != freeze(tmp_path, market).key
    opened = load_dataset(dataset.folder)
    assert opened.volume is not None
    np.testing.assert_array_equal(opened.volume, volume)
    frame = pd.read_parquet(dataset.folder / "volume.parquet")
    frame.iloc[5, 1] *= 2
    frame.to_parquet(dataset.folder / "volume.parquet")
    with pytest.raises(LakeError, match="was altered"):
        load_dataset(dataset.folder)
    with pytest.raises(ValueError, match="pass the same rows"):
        freeze(tmp_path, market, volume=volume[1:])
