"""The market table is the same after a file, a frame or a slice, and refuses gaps and foreign schemas."""

import json

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError, DataError, LakeError, SchemaMismatch
from cappuccino_ml.features import FeatureSchema, MarketTable, Scaler, frame_columns, latest_features

ARRAYS = ("timestamps", "features", "open", "close", "tradable")


def require_equal(one, other):
    assert one.schema == other.schema
    assert one.warm_up == other.warm_up
    for name in ARRAYS:
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.fixture(scope="module")
def table(panel):
    return MarketTable.from_panel(panel)


def test_the_table_holds_the_panels_features_prices_and_marks(table, panel):
    np.testing.assert_array_equal(table.features, latest_features(panel))
    np.testing.assert_array_equal(table.close, panel.close)
    np.testing.assert_array_equal(table.tradable, ~panel.is_filled)
    assert table.timestamps.dtype == np.dtype("datetime64[us]")
    assert not table.tradable.all()


def test_save_and_load_give_the_same_table_and_the_same_bytes(table, tmp_path):
    table.save(tmp_path / "a")
    table.save(tmp_path / "b")
    loaded = MarketTable.load(tmp_path / "a", expected=table.schema)
    require_equal(loaded, table)
    loaded.save(tmp_path / "c")
    for name in ("market.parquet", "schema.json"):
        assert len({(tmp_path / folder / name).read_bytes() for folder in "abc"}) == 1


def test_a_table_of_older_definitions_is_refused(table, tmp_path):
    table.save(tmp_path)
    facts = json.loads((tmp_path / "schema.json").read_text())
    facts["feature_schema"]["version"] = "0"
    (tmp_path / "schema.json").write_text(json.dumps(facts))
    with pytest.raises(SchemaMismatch, match=r"version = 0, .* version = 1"):
        MarketTable.load(tmp_path)


def test_defect_04_a_stored_table_with_tickers_in_another_order_is_refused(table, tmp_path):
    table.save(tmp_path)
    other = FeatureSchema.of(Universe(tickers=("ETH", "BTC", "LTC")))
    with pytest.raises(SchemaMismatch, match=r"tickers = BTC, ETH, LTC, .* tickers = ETH, BTC, LTC"):
        MarketTable.load(tmp_path, expected=other)


def test_an_altered_or_absent_file_is_refused(table, tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        MarketTable.load(tmp_path)
    table.save(tmp_path)
    with (tmp_path / "market.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(LakeError, match="sha256"):
        MarketTable.load(tmp_path)
    (tmp_path / "market.parquet").unlink()
    with pytest.raises(LakeError, match="cannot read"):
        MarketTable.load(tmp_path)


def test_monthly_partitions_in_any_order_make_the_same_table(table):
    frame = table.to_frame()
    assert tuple(frame.columns) == frame_columns(table.schema)
    months = [part for _, part in frame.groupby(frame["timestamp"].dt.strftime("%Y-%m"))]
    assert len(months) == 3
    shuffled = pd.concat(months[::-1], ignore_index=True).sample(frac=1, random_state=0)
    require_equal(MarketTable.from_frame(shuffled, table.schema), table)


def test_a_frame_is_placed_by_symbol_never_by_position(table):
    other = FeatureSchema.of(Universe(tickers=("LTC", "BTC", "ETH")))
    placed = MarketTable.from_frame(table.to_frame(), other)
    np.testing.assert_array_equal(placed.features, table.features[:, [2, 0, 1]])
    np.testing.assert_array_equal(placed.close, table.close[:, [2, 0, 1]])


def drop(where):
    return lambda frame: frame[~where(frame)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop(lambda f: f["symbol"] == "ETH-USD"), "no rows for ETH-USD"),
        (
            drop(lambda f: (f["symbol"] == "ETH-USD") & (f["timestamp"] == "2024-01-03T04:00Z")),
            "0 rows for ETH-USD at 2024-01-03T04:00",
        ),
        (drop(lambda f: f["timestamp"] == "2024-01-03T04:00Z"), "0 rows for BTC-USD at 2024-01-03T04:00"),
        (lambda f: pd.concat([f, f.iloc[[4]]]), "2 rows for ETH-USD at 2024-01-01T01:00"),
        (lambda f: f.assign(symbol=f["symbol"].replace("LTC-USD", "BCH-USD")), "no rows for LTC-USD"),
        (lambda f: pd.concat([f, f.iloc[[0]].assign(symbol="BCH-USD")]), "holds BCH-USD"),
        (lambda f: pd.concat([f, f.iloc[[0]].assign(timestamp=pd.Timestamp("2024-01-01T00:30Z"))]), "off the 1h grid"),
        (lambda f: f.drop(columns="rsi"), "lacks the columns rsi"),
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.assign(timestamp=f["timestamp"].dt.tz_localize(None)), "without a time zone"),
        (
            lambda f: f.assign(rsi=f["rsi"].where(f["timestamp"] != "2024-01-20T00:00Z")),
            "rsi of BTC at 2024-01-20T00:00",
        ),
    ],
)
def test_a_frame_that_is_not_whole_is_refused(table, spoil, message):
    with pytest.raises(DataError, match=message):
        MarketTable.from_frame(spoil(table.to_frame()), table.schema)


def test_a_slice_keeps_rows_and_counts_down_the_warm_up(table):
    part = table.slice(100, 900)
    assert (len(part), part.warm_up) == (800, 200)
    assert table.slice(500, 600).warm_up == 0
    np.testing.assert_array_equal(part.features, table.features[100:900])
    np.testing.assert_array_equal(part.timestamps, table.timestamps[100:900])
    require_equal(part.slice(50, 100), table.slice(150, 200))
    with pytest.raises(DataError, match="not within the 1500 rows"):
        table.slice(-5, 10)


def test_scaled_features_are_finite_everywhere_and_zero_in_warm_up(table):
    scaler = Scaler.fit(table.features, slice(300, 1000), schema=table.schema)
    scaled = table.scaled(scaler)
    assert scaled.dtype == np.float32
    assert not scaled[:300].any()
    np.testing.assert_array_equal(scaled[300:], scaler.transform(table.features[300:]))
