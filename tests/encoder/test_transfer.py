"""An encoder put to use under another schema: on the record, refused where nothing would mean the same, and exact."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cappuccino_ml.core import CheckpointError, SchemaMismatch
from cappuccino_ml.encoder import (
    EncoderConfig,
    EncoderSettings,
    Pretrained,
    PretrainingSettings,
    load_encoder,
    load_masked_model,
    pretrain,
    read_as,
    save_encoder,
    skill_beside,
    transfer_encoder,
    windows,
)
from cappuccino_ml.features import FeatureSchema, Scaler

from .conftest import FEATURES, FIRST, LAST, QUICK, TINY, make_market, make_scaler, make_schema

UNTIL = datetime(2024, 1, 14, tzinfo=UTC)


def scaler_of(tickers: int) -> Scaler:
    ones = tuple((1.0,) * FEATURES for _ in range(tickers))
    return Scaler(center=ones, scale=ones)


def move(source: Path, folder: Path, schema: FeatureSchema) -> EncoderConfig:
    return transfer_encoder(
        folder,
        name="a test",
        source=source,
        source_key="source",
        source_until=UNTIL,
        schema=schema,
        scaler=scaler_of(len(schema.tickers)),
        dataset_key="other",
        rows=(10, 200),
    )


def stored(folder: Path, pretrained: Pretrained) -> Path:
    save_encoder(folder, pretrained=pretrained, schema=make_schema(), scaler=make_scaler(), dataset_key="dataset-1")
    return folder


@pytest.fixture
def source(tmp_path: Path, pretrained: Pretrained) -> Path:
    return stored(tmp_path / "source", pretrained)


@pytest.mark.parametrize("tokenization", ["ticker", "series", "scalar"])
def test_known_tickers_in_another_order_are_read_exactly_as_themselves(tmp_path: Path, market: Tensor, tokenization):
    settings = EncoderSettings.model_validate({**TINY.model_dump(), "tokenization": tokenization, "lookback": 2})
    pretrained = pretrain(
        market=market,
        first=FIRST,
        last=LAST,
        encoder=settings,
        settings=PretrainingSettings(epochs=1, batch_size=128),
        seed=3,
    )
    source = stored(tmp_path / "source", pretrained)
    move(source, tmp_path / "moved", make_schema(("LTC", "BTC", "ETH")))
    batch = windows(market, torch.arange(10, 40), 2)
    mask = torch.rand(batch.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    swap = [2, 0, 1]
    before = load_masked_model(source)(batch, mask)
    after = load_masked_model(tmp_path / "moved")(batch[:, :, swap], mask[:, :, swap])
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[:, :, swap], other, rtol=1e-4, atol=1e-5)


def test_a_transfer_says_both_schemas_and_who_stands_in_for_whom(source: Path, tmp_path: Path):
    target = make_schema(("LINK", "UNI"))
    config = move(source, tmp_path / "moved", target)
    record = load_encoder(tmp_path / "moved", expected=target).config.transfer
    assert record == config.transfer
    assert record is not None
    assert (record.name, record.source_key, record.source_until) == ("a test", "source", UNTIL)
    assert (record.source_schema, record.source_schema_hash) == (make_schema(), make_schema().hash)
    assert record.target_schema_hash == target.hash == config.schema_hash
    assert record.read_as == {"LINK": "BTC", "UNI": "ETH"}
    assert (config.dataset_key, config.first, config.last) == ("other", 10, 199)
    assert load_encoder(source, expected=None).config.transfer is None


def test_without_a_transfer_another_schema_stays_refused(source: Path, tmp_path: Path):
    target = make_schema(("LINK", "UNI", "AAVE"))
    with pytest.raises(SchemaMismatch):
        load_encoder(source, expected=target)
    move(source, tmp_path / "moved", target)
    with pytest.raises(SchemaMismatch):
        load_encoder(tmp_path / "moved", expected=make_schema())


def test_stand_ins_are_tickers_that_the_market_does_not_hold_itself():
    source = make_schema(("BTC", "ETH", "LTC"))
    assert read_as(source, make_schema(("BTC", "UNI"))) == {"BTC": "BTC", "UNI": "ETH"}
    assert read_as(source, make_schema(("A", "B", "C", "D"))) == {"A": "BTC", "B": "ETH", "C": "LTC", "D": "BTC"}
    assert read_as(make_schema(("BTC",)), make_schema(("BTC", "UNI"))) == {"BTC": "BTC", "UNI": "BTC"}


def test_other_features_or_another_version_are_not_transferred(source: Path, tmp_path: Path):
    for changes in ({"features": ("a", "b", "c", "e")}, {"version": "0"}):
        with pytest.raises(CheckpointError, match="only tickers, quote and timeframe may differ"):
            move(source, tmp_path / "moved", make_schema().model_copy(update=changes))
    assert not (tmp_path / "moved").exists()


def test_skill_is_measured_beside_baselines_on_rows_after_the_fitted_ones(source: Path):
    model = load_masked_model(source)
    bars = make_market(rows=600)
    arguments = {"fit_rows": (0, 300), "test_rows": (320, 600), "mask_share": 0.15, "seed": 1}
    skill = skill_beside(bars, {"zero-shot": model}, **arguments)
    assert set(skill.r2) == {"zero-shot", "mean", "carry", "ridge"}
    assert skill.rows == 280 - TINY.lookback + 1
    assert skill.r2["ridge"] > 0.5 > skill.r2["mean"]
    assert skill_beside(bars, {"zero-shot": model}, **arguments) == skill
    changed = bars.clone()
    changed[320:] += 1.0
    assert skill_beside(changed, {"zero-shot": model}, **arguments) != skill
    with pytest.raises(ValueError, match="rows in order"):
        skill_beside(bars, {"zero-shot": model}, **{**arguments, "test_rows": (200, 600)})


def test_what_pre_training_learned_shows_in_rows_it_never_saw(tmp_path: Path):
    bars, encoder = make_market(rows=600), TINY.model_copy(update={"dropout": 0.0, "tokenization": "ticker"})
    models = {
        f"{epochs}": load_masked_model(
            stored(
                tmp_path / f"{epochs}",
                pretrain(
                    market=bars,
                    first=0,
                    last=299,
                    encoder=encoder,
                    settings=QUICK.model_copy(update={"epochs": epochs, "learning_rate": 1e-2}),
                    seed=3,
                ),
            )
        )
        for epochs in (1, 10)
    }
    skill = skill_beside(bars, models, fit_rows=(0, 300), test_rows=(340, 600), mask_share=0.15, seed=1)
    assert skill.r2["10"] > skill.r2["1"] + 0.1
    assert skill.r2["10"] > 0.5
