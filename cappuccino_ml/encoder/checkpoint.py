"""Encoders on disk: weights in safetensors, everything else in JSON, read back only if whole, unaltered and fitting."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from cappuccino_ml.core import (
    CheckpointError,
    Settings,
    artifact_folder,
    code_version,
    file_sha256,
    is_done,
    read_json,
    read_settings,
    write_bytes,
    write_json,
)
from cappuccino_ml.encoder.epochs import PretrainingSettings
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel
from cappuccino_ml.encoder.pretraining import Epoch, Pretrained
from cappuccino_ml.encoder.resume import State
from cappuccino_ml.encoder.settings import EncoderSettings
from cappuccino_ml.encoder.skill import Skill
from cappuccino_ml.encoder.transformer import FTTransformerEncoder
from cappuccino_ml.features import FeatureSchema, Scaler

BEST = "encoder.safetensors"
FINAL = "final.safetensors"
DECODERS = "decoders.safetensors"  # of the best epoch
CONFIG = "config.json"
HISTORY = "training_history.json"


class Transfer(Settings):
    """The record of a named transfer: weights learned under one schema, put to use under another.

    `first`, `last` and `scaler` beside it are the target's, whose training rows shaped the scaler and nothing else;
    history, seed and skill are the source's.
    """

    name: str
    source_key: str  # names the encoder the weights come from
    source_dataset_key: str
    source_schema: FeatureSchema
    source_schema_hash: str
    target_schema_hash: str
    source_until: datetime  # UTC, open of the last bar that shaped the weights
    read_as: dict[str, str]  # target ticker -> the source ticker whose token weights read it


class EncoderConfig(Settings):
    """What config.json says about the weights beside it."""

    encoder: EncoderSettings
    pretraining: PretrainingSettings
    feature_schema: FeatureSchema
    schema_hash: str
    scaler: Scaler
    dataset_key: str
    first: int  # rows of the dataset that shaped the encoder, both included
    last: int
    seed: int
    code_version: str
    best_epoch: int
    epochs: int  # trained
    skill: Skill
    weights_sha256: dict[str, str]  # file name -> 64 hex digits
    transfer: Transfer | None = None  # how the weights came to this schema, if they were learned under another


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder in eval mode on the CPU, and what is known about it."""

    encoder: FTTransformerEncoder
    config: EncoderConfig


def save_encoder(
    folder: Path,
    *,
    pretrained: Pretrained,
    schema: FeatureSchema,
    scaler: Scaler,
    dataset_key: str,
    transfer: Transfer | None = None,
) -> EncoderConfig:
    """Write a whole encoder folder or none; the same arguments give the same bytes.

    Args:
        folder: the final folder; if it is DONE already it is left as it is.
        pretrained: what `pretrain` gave.
        schema: meaning of the last two axes of the market it was trained on.
        scaler: what scaled that market.
        dataset_key: names the dataset that `pretrained.first` and `last` count rows of.
        transfer: the record of where the weights come from, if not from this schema.

    Returns:
        What was written to config.json.

    Raises:
        CheckpointError: schema or scaler have other tickers or features than the encoder.
    """
    tokenizer = pretrained.encoder.tokenizer
    shape = (tokenizer.tickers, tokenizer.features)
    if (len(schema.tickers), len(schema.features)) != shape or scaler.shape != shape:
        raise CheckpointError(
            f"the encoder has (tickers, features) = {shape}, but its schema has "
            f"{(len(schema.tickers), len(schema.features))} and its scaler {scaler.shape}; "
            "pass those it was trained with."
        )
    states: dict[str, State] = {BEST: pretrained.encoder.state_dict(), FINAL: pretrained.final}
    states[DECODERS] = pretrained.decoders
    states |= {f"epoch-{epoch:03d}.safetensors": state for epoch, state in pretrained.checkpoints.items()}
    with artifact_folder(folder) as aside:
        for name, state in states.items():
            write_bytes(aside / name, safetensors.torch.save({key: value.cpu() for key, value in state.items()}))
        config = EncoderConfig(
            encoder=pretrained.encoder.settings,
            pretraining=pretrained.settings,
            feature_schema=schema,
            schema_hash=schema.hash,
            scaler=scaler,
            dataset_key=dataset_key,
            first=pretrained.first,
            last=pretrained.last,
            seed=pretrained.seed,
            code_version=code_version("encoder", "features"),
            best_epoch=pretrained.best_epoch,
            epochs=len(pretrained.history),
            skill=pretrained.skill,
            weights_sha256={name: file_sha256(aside / name) for name in states},
            transfer=transfer,
        )
        write_json(aside / HISTORY, [epoch.model_dump(mode="json") for epoch in pretrained.history])
        write_json(aside / CONFIG, config)
    return config


def load_encoder(folder: Path, *, expected: FeatureSchema | None, weights: str = BEST) -> LoadedEncoder:
    """Read what `save_encoder` wrote.

    Args:
        folder: an encoder folder.
        expected: the schema of the market to encode; None accepts any (for looking only).
        weights: the file to read: the best epoch's, `FINAL`, or a checkpoint's.

    Raises:
        CheckpointError: no DONE mark, a file was altered or is absent, or the weights do not fit config.json.
        SchemaMismatch: made with another schema than `expected`; names both.
        ConfigurationError: config.json has a wrong or unknown key.
    """
    if not is_done(folder):
        raise CheckpointError(f"{folder} has no DONE mark, so it holds no whole encoder; pre-train it again.")
    config = read_settings(EncoderConfig, folder / CONFIG)
    if config.feature_schema.hash != config.schema_hash:
        raise CheckpointError(
            f"{folder / CONFIG} states schema hash {config.schema_hash}, but its schema has "
            f"{config.feature_schema.hash}; it was altered, pre-train again."
        )
    if expected is not None:
        expected.require_same(config.feature_schema, what=f"the encoder in {folder}")
    state = _read_weights(folder / weights, config)
    schema = config.feature_schema
    encoder = FTTransformerEncoder(config.encoder, tickers=len(schema.tickers), features=len(schema.features))
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder / weights} does not fit the shape in {CONFIG} ({' '.join(str(error).split())}); pre-train again."
        ) from error
    return LoadedEncoder(encoder=encoder.eval(), config=config)


def load_masked_model(folder: Path) -> MaskedFeatureModel:
    """The encoder of the best epoch with its decoders, in eval mode: to measure skill, or to transfer.

    Raises:
        CheckpointError: as `load_encoder`, or the decoders do not fit.
    """
    loaded = load_encoder(folder, expected=None)
    schema = loaded.config.feature_schema
    model = MaskedFeatureModel(loaded.config.encoder, tickers=len(schema.tickers), features=len(schema.features))
    encoder = {f"encoder.{name}": value for name, value in loaded.encoder.state_dict().items()}
    try:
        model.load_state_dict(encoder | _read_weights(folder / DECODERS, loaded.config))
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder / DECODERS} does not fit the shape in {CONFIG} ({' '.join(str(error).split())}); pre-train again."
        ) from error
    return model.eval()


def read_history(folder: Path) -> list[Epoch]:
    """The epochs of a finished encoder."""
    return [Epoch.model_validate(entry) for entry in read_json(folder / HISTORY)]


def _read_weights(path: Path, config: EncoderConfig) -> State:
    stated = config.weights_sha256.get(path.name)
    if stated is None or not path.is_file():
        known = ", ".join(config.weights_sha256)
        raise CheckpointError(f"{path} does not exist or is not among the weights of this encoder ({known}); name one.")
    found = file_sha256(path)
    if found != stated:
        raise CheckpointError(
            f"{path} has sha256 {found[:12]}, but {CONFIG} says {stated[:12]}; it was altered, pre-train again."
        )
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file ({error}); pre-train again.") from error
