"""An encoder learned under one schema, put to use under another: by name, on the record, and with its skill there."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor

from cappuccino_ml.core import CheckpointError
from cappuccino_ml.encoder.checkpoint import (
    EncoderConfig,
    Transfer,
    load_encoder,
    load_masked_model,
    read_history,
    save_encoder,
)
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel
from cappuccino_ml.encoder.masking import sample_masks
from cappuccino_ml.encoder.pretraining import Pretrained
from cappuccino_ml.encoder.skill import (
    Predict,
    Skill,
    carry_forward,
    fit_ridge,
    measure_skill,
    predict_mean,
    ridge_rows,
)
from cappuccino_ml.encoder.windows import windows
from cappuccino_ml.features import FeatureSchema, Scaler

_WINDOWS = 2048  # judged, evenly spaced: neighbours share nearly all their bars


def read_as(source: FeatureSchema, target: FeatureSchema) -> dict[str, str]:
    """Target ticker -> the source ticker through whose token it is read.

    A ticker that the source knows is read as itself. An encoder has weights per ticker, so one that it never saw needs
    a stand-in: source tickers in order, those that the target does not hold itself, over again if they are too few.
    """
    free = [ticker for ticker in source.tickers if ticker not in target.tickers] or list(source.tickers)
    unseen = [ticker for ticker in target.tickers if ticker not in source.tickers]
    stand_in = {ticker: free[index % len(free)] for index, ticker in enumerate(unseen)}
    return {ticker: stand_in.get(ticker, ticker) for ticker in target.tickers}


def transfer_encoder(
    folder: Path,
    *,
    name: str,
    source: Path,
    source_key: str,
    source_until: datetime,
    schema: FeatureSchema,
    scaler: Scaler,
    dataset_key: str,
    rows: tuple[int, int],
) -> EncoderConfig:
    """Write the encoder in `source` again as one of `schema`; its config.json records both schemas under `name`.

    Blocks, norms, head and CLS stay as they were learned. Token weights follow `read_as`. The scaler is the target's:
    what a standard deviation of a ticker or a timeframe is must be known there, and is not learned by the encoder.

    Args:
        folder: where it goes; if it is DONE already it is left as it is.
        name: of the transfer.
        source: folder of the encoder.
        source_key: names it.
        source_until: open of the last bar that shaped it, UTC.
        schema: of the market to encode.
        scaler: fitted on `rows` of that market.
        dataset_key: names the data set that `rows` are of.
        rows: (first, last) that may be used there, first included, last not.

    Raises:
        CheckpointError: other features or versions (nothing would mean the same), joint fusion, or a broken source.
    """
    loaded, model = load_encoder(source, expected=None), load_masked_model(source)
    config, origin = loaded.config, loaded.config.feature_schema
    if (origin.features, origin.version) != (schema.features, schema.version):
        raise CheckpointError(
            f"transfer {name}: the encoder in {source} has features of version {origin.version} "
            f"({', '.join(origin.features)}), the market version {schema.version} ({', '.join(schema.features)}); "
            "only tickers, quote and timeframe may differ."
        )
    if config.encoder.fusion == "joint":
        raise CheckpointError(f"transfer {name}: joint fusion ties an encoder to its tickers' book; use late fusion.")
    names = read_as(origin, schema)
    chosen = torch.tensor([origin.tickers.index(names[ticker]) for ticker in schema.tickers])
    moved = MaskedFeatureModel(config.encoder, tickers=len(schema.tickers), features=len(schema.features))
    moved.load_state_dict(_moved(model, chosen))
    moved.eval()
    pretrained = Pretrained(
        encoder=moved.encoder,
        decoders=moved.decoders(),
        final=moved.encoder.state_dict(),
        checkpoints={},
        history=read_history(source),
        best_epoch=config.best_epoch,
        skill=config.skill,
        settings=config.pretraining,
        first=rows[0],
        last=rows[1] - 1,
        seed=config.seed,
    )
    record = Transfer(
        name=name,
        source_key=source_key,
        source_dataset_key=config.dataset_key,
        source_schema=origin,
        source_schema_hash=origin.hash,
        target_schema_hash=schema.hash,
        source_until=source_until,
        read_as=names,
    )
    return save_encoder(
        folder, pretrained=pretrained, schema=schema, scaler=scaler, dataset_key=dataset_key, transfer=record
    )


def skill_beside(
    bars: Tensor,
    models: Mapping[str, MaskedFeatureModel],
    *,
    fit_rows: tuple[int, int],
    test_rows: tuple[int, int],
    mask_share: float,
    seed: int,
) -> Skill:
    """Masked R2 of `models` on test rows that none of them saw, beside mean, carry and a ridge fitted on `fit_rows`.

    Args:
        bars: scaled features [T, N, F] of the whole market, by the scaler that all models are used with.
        models: by name, of one lookback and shape, late fusion.
        fit_rows: (first, last) that ridge and mean may learn from; `test_rows` lie after them.
        test_rows: (first, last) judged; windows do not reach before `first`.
        mask_share: expected share of hidden entries.
        seed: of the masks.
    """
    lookbacks = {model.encoder.tokenizer.lookback for model in models.values()}
    if len(lookbacks) != 1 or not fit_rows[0] < fit_rows[1] <= test_rows[0] < test_rows[1]:
        raise ValueError(f"lookbacks {lookbacks} on rows {fit_rows} and {test_rows}; pass one lookback, rows in order")
    (lookback,) = lookbacks
    _, tickers, features = bars.shape

    def masked(span: tuple[int, int], most: int, use: int) -> tuple[Tensor, Tensor]:
        first = span[0] + lookback - 1
        rows = torch.linspace(first, span[1] - 1, min(most, span[1] - first)).long()
        generator = torch.Generator().manual_seed(seed + use)
        mask = sample_masks(
            rows=len(rows),
            lookback=lookback,
            tickers=tickers,
            features=features,
            share=mask_share,
            generator=generator,
        )
        return windows(bars, rows, lookback), mask

    past, past_mask = masked(fit_rows, ridge_rows(fit_rows[1] - fit_rows[0], entries=lookback * tickers * features), 0)
    held, mask = masked(test_rows, _WINDOWS, 1)
    mean = bars[fit_rows[0] : fit_rows[1]].mean(0)

    def decoder(model: MaskedFeatureModel) -> Predict:
        return lambda seen, hidden: model(seen, hidden)[0]

    predictors: dict[str, Predict] = {name: decoder(model) for name, model in models.items()}
    predictors |= {
        "mean": predict_mean(mean),
        "carry": carry_forward(mean),
        "ridge": fit_ridge(windows=past, mask=past_mask),
    }
    return measure_skill(windows=held, mask=mask, predictors=predictors)


def _moved(model: MaskedFeatureModel, chosen: Tensor) -> dict[str, Tensor]:
    """The model's weights with its tickers replaced by `chosen` [N'] of them; tickers lead in every tokenization."""
    tokenizer = model.encoder.tokenizer
    per_ticker = tokenizer.market_tokens // tokenizer.tickers
    per_token = {
        "encoder.tokenizer.weight": per_ticker,
        "encoder.tokenizer.mask_token": per_ticker,
        "encoder.tokenizer.bias": per_ticker,
        "token_weight": per_ticker,
        "token_bias": per_ticker,
        "from_encoding.weight": per_ticker * tokenizer.width,
        "from_encoding.bias": per_ticker * tokenizer.width,
    }
    state: dict[str, Tensor] = dict(model.state_dict())
    for name, rows in per_token.items():
        values = state[name]
        state[name] = values.reshape(tokenizer.tickers, rows, *values.shape[1:])[chosen].flatten(0, 1)
    return state
