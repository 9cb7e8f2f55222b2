"""The feature schema's hash changes with anything that changes the meaning of an array."""

import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import SchemaMismatch
from cappuccino_ml.features import FEATURES, FeatureSchema

SCHEMA = FeatureSchema.of(Universe())


def test_the_fourteen_features_are_in_the_specified_order():
    assert " ".join(FEATURES) == (
        "open high low close volume macd macd_signal macd_hist rsi cci dx "
        "atr_regime_shift range_breakout_volume trend_reacceleration"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"tickers": SCHEMA.tickers[::-1]},
        {"tickers": SCHEMA.tickers[:-1]},
        {"features": FEATURES[::-1]},
        {"features": FEATURES[:-1]},
        {"timeframe": "5m"},
        {"quote": "USDT"},
        {"version": "0"},
    ],
)
def test_any_change_changes_the_hash_and_is_refused_naming_both_sides(change):
    other = SCHEMA.model_copy(update=change)
    assert other.hash != SCHEMA.hash
    with pytest.raises(SchemaMismatch) as caught:
        SCHEMA.require_same(other, what="the model")
    message = str(caught.value)
    (field,) = change
    assert message.startswith("the model has feature schema")
    assert f"{field} = " in message
    assert SCHEMA.hash in message
    assert other.hash in message


def test_defect_04_tickers_in_another_order_are_refused():
    other = FeatureSchema.of(Universe(tickers=("ETH", "BTC", *SCHEMA.tickers[2:])))
    with pytest.raises(SchemaMismatch, match=r"tickers = ETH, BTC, .* tickers = BTC, ETH"):
        SCHEMA.require_same(other, what="the trained model")


def test_the_same_schema_is_accepted_and_survives_json():
    again = FeatureSchema.model_validate_json(SCHEMA.model_dump_json())
    SCHEMA.require_same(again, what="the model")
    assert again.hash == SCHEMA.hash
    assert len(SCHEMA.hash) == 16
    assert again.universe == Universe()
