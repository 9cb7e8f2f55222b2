"""A transfer uses an encoder on time, tickers and bars it never saw; nothing later than its gap shaped it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.core import DataError
from cappuccino_ml.encoder import PretrainingSettings
from cappuccino_ml.environment import Layout
from cappuccino_ml.features import MarketTable
from cappuccino_ml.study import (
    EncoderPlan,
    TransferSettings,
    fine_window,
    finer_bars,
    fit_encoder,
    fit_transfer,
    load_dataset,
    make_splits,
    run_transfer,
    unseen_tickers,
)
from cappuccino_ml.study.transfer import transfer_job

from .conftest import ENCODER, SPLITS, freeze, poisoned

PLAN = EncoderPlan(encoder=ENCODER, pretraining=PretrainingSettings(epochs=1, batch_size=64))
SETTINGS = TransferSettings(
    steps=256,
    seeds=1,
    fine_days=5,
    net_dimension=16,
    layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32),
)


def fine_market(market: MarketTable, *, start: datetime, end: datetime) -> MarketTable:
    """Stand-in for finer bars: the market's own rows, told as if they were 5 minutes apart."""
    stamps = np.arange(
        np.datetime64(start.replace(tzinfo=None), "us"),
        np.datetime64(end.replace(tzinfo=None), "us"),
        np.timedelta64(5, "m"),
    )
    rows = np.arange(len(stamps)) % (len(market) - 400) + 300
    return MarketTable(
        schema=market.schema.model_copy(update={"timeframe": "5m"}),
        timestamps=stamps,
        features=market.features[rows],
        open=market.open[rows],
        close=market.close[rows],
        tradable=market.tradable[rows],
        warm_up=300,
    )


@pytest.fixture
def tickers(lab, tmp_path: Path):
    return unseen_tickers(lab.dataset, PLAN, SETTINGS, root=tmp_path)


@pytest.fixture
def fine(lab, market, tmp_path: Path):
    start, end = fine_window(lab.dataset, SETTINGS, coverage=(datetime(2023, 1, 1, tzinfo=UTC), None))
    return finer_bars(
        lab.dataset,
        PLAN,
        SETTINGS,
        fine=fine_market(market, start=start, end=end),
        bars_manifest="1" * 64,
        bars_per_year=105_120.0,
        root=tmp_path,
    )


def test_the_unseen_tickers_are_the_others_on_time_after_the_encoders(lab, tickers):
    source = load_dataset(tickers.source.dataset_folder)
    assert source.market.schema.tickers == ("BTC", "ETH")
    assert tickers.target.market.schema.tickers == ("LTC",)
    folds, gap = lab.dataset.splits.folds, lab.dataset.splits.gap
    assert tickers.source.rows == folds[0].train
    assert len(source.market) == folds[0].train[1] + 1, "later rows are not even in the encoder's data set"
    assert tickers.fold.train[0] - folds[0].train[1] == gap
    assert tickers.fold.test == folds[-1].test
    assert tickers.fold.test[0] - tickers.fold.train[1] == gap
    assert tickers.target.config.last == lab.dataset.time(lab.dataset.splits.development[1])
    np.testing.assert_array_equal(
        tickers.target.market.close[:, 0], lab.dataset.market.close[: len(tickers.target.market), 2]
    )


def test_the_finer_bars_end_with_the_development_rows_and_begin_a_gap_after_the_encoder(lab, fine):
    dataset, target = lab.dataset, fine.target
    hour = timedelta(hours=1)
    assert target.config.last + timedelta(minutes=5) == dataset.time(dataset.splits.development[1]) + hour
    assert dataset.time(fine.source.rows[1]) + dataset.splits.gap * hour <= target.config.first
    assert target.config.bars_per_year == 105_120.0
    assert fine.fold.test[0] - fine.fold.train[1] == dataset.splits.gap
    assert target.splits.holdout[0] == target.splits.holdout[1] == len(target.market) - 1


def test_an_encoder_shaped_by_later_bars_is_refused(lab, tickers, tmp_path):
    late = tickers.source.model_copy(update={"dataset_folder": lab.dataset.folder, "dataset_key": lab.dataset.key})
    late = late.model_copy(update={"rows": lab.dataset.splits.folds[-1].train})
    job = transfer_job(tickers, root=tmp_path).model_copy(update={"source": late})
    with pytest.raises(DataError, match="may be used from"):
        fit_transfer(job)


def test_no_later_row_changes_a_transferred_encoder(lab, market, tmp_path):
    def weights(dataset, root: Path) -> dict[str, bytes]:
        ground = unseen_tickers(dataset, PLAN, SETTINGS, root=root)
        fit_encoder(ground.source)
        job = transfer_job(ground, root=root)
        fit_transfer(job)
        return {name: (job.folder / f"{name}.safetensors").read_bytes() for name in ("encoder", "decoders")}

    later = slice(lab.dataset.splits.folds[0].train[1], len(market))
    other = freeze(tmp_path / "other", poisoned(market, rows=later))
    assert weights(lab.dataset, tmp_path / "a") == weights(other, tmp_path / "b")


def test_all_policies_have_equal_steps_and_seeds_and_results_are_found_again(tickers, fine, tmp_path):
    said: list[str] = []
    results = run_transfer([fine, tickers], SETTINGS, root=tmp_path, workers=1, say=said.append)
    assert [result.name for result in results] == ["5m bars", "unseen tickers"]
    for result in results:
        assert result.source_schema != result.target_schema
        assert result.source_until < result.trained_from < result.tested_from < result.tested_until
        assert set(result.skill.r2) == {"transferred", "pre-trained there", "mean", "carry", "ridge"}
        assert len(result.runs) == 6 * SETTINGS.seeds
        assert {run.variant for run in result.runs} == {variant.name for variant in result.variants}
        assert len({run.bars for run in result.runs}) == 1
    assert results[0].read_as == {"BTC": "BTC", "ETH": "ETH", "LTC": "LTC"}
    assert results[1].read_as == {"LTC": "BTC"}
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert run_transfer([fine, tickers], SETTINGS, root=tmp_path, workers=1, say=said.append) == results
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps


def test_what_cannot_be_done_is_one_sentence(lab, market, tmp_path):
    coverage = (datetime(2025, 1, 1, tzinfo=UTC), None)
    with pytest.raises(DataError, match="after the development rows end"):
        fine_window(lab.dataset, SETTINGS, coverage=coverage)
    single = freeze(tmp_path, market, splits=make_splits(len(market), SPLITS.model_copy(update={"folds": 1})))
    with pytest.raises(DataError, match="need at least 2 tickers and 2 folds"):
        unseen_tickers(single, PLAN, SETTINGS, root=tmp_path)
    _, end = fine_window(lab.dataset, SETTINGS, coverage=(datetime(2023, 1, 1, tzinfo=UTC), None))
    short = fine_market(market, start=end - timedelta(hours=26), end=end)
    with pytest.raises(DataError, match="give a longer range"):
        finer_bars(
            lab.dataset,
            PLAN,
            SETTINGS,
            fine=short,
            bars_manifest="1" * 64,
            bars_per_year=105_120.0,
            root=tmp_path,
        )
