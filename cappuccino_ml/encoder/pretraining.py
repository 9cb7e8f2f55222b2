"""Masked feature modelling: an encoder learns the market by filling in what was hidden from it."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cappuccino_ml.core import Settings, code_version, derive_seed
from cappuccino_ml.encoder.epochs import Batch, PretrainingSettings, parameter_groups, rate, train_epoch, validate
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel
from cappuccino_ml.encoder.masking import random_books, sample_masks
from cappuccino_ml.encoder.resume import Progress, State, load_progress, save_progress
from cappuccino_ml.encoder.settings import EncoderSettings
from cappuccino_ml.encoder.skill import (
    Predict,
    Skill,
    carry_forward,
    fit_ridge,
    measure_skill,
    predict_mean,
    ridge_rows,
)
from cappuccino_ml.encoder.split import Split, span_of, split_by_time
from cappuccino_ml.encoder.transformer import FTTransformerEncoder
from cappuccino_ml.encoder.windows import windows


class Epoch(Settings):
    """One line of the training history. Losses are mean squared errors of hidden entries, averaged over features."""

    epoch: int  # from 1
    train_loss: float  # dropout on; tokens + cls_weight * encoding
    validation_loss: float  # dropout off, the same masks every epoch
    validation_loss_tokens: float
    validation_loss_encoding: float
    learning_rate: float  # at the epoch's end


@dataclass(frozen=True)
class Pretrained:
    """What pre-training gives."""

    encoder: FTTransformerEncoder  # of the best epoch, in eval mode
    decoders: State  # of the same epoch: what the skill was measured with
    final: State  # encoder weights of the last epoch
    checkpoints: dict[int, State]  # encoder weights every `checkpoint_every` epochs
    history: list[Epoch]
    best_epoch: int
    skill: Skill  # of the best epoch
    settings: PretrainingSettings
    first: int
    last: int
    seed: int


def pretrain(
    *,
    market: Tensor,
    first: int,
    last: int,
    encoder: EncoderSettings,
    settings: PretrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
    resume: Path | None = None,
) -> Pretrained:
    """Pre-train on rows first..last (both included); no other row is read, not even as the start of a window.

    Training is on the device of `market`. On one CPU thread the same arguments give the same bytes, whether or not the
    run was killed and resumed on the way.

    Args:
        market: scaled features [T, N, F], float32; targets are standardised because the scaler standardised them.
        first: the oldest bar that may shape the encoder.
        last: the newest one.
        encoder: shape of the encoder.
        settings: how to train it.
        seed: of weights, masks, order and dropout.
        on_epoch: called after every new epoch.
        resume: a folder that keeps the state after every epoch and is removed at the end; a state in it is gone on
            with.

    Raises:
        DataError: rows outside the market, too few rows for one batch, or a value that is not finite.
        CheckpointError: `resume` holds another run, or was altered.
        CappuccinoError: the loss is not finite (names epoch and batch), or memory ran out (says what to lower).
    """
    bars = span_of(market, first, last)
    feed = _Feed(bars, encoder=encoder, settings=settings, seed=seed)
    identity: dict[str, Any] = {
        "rows": [first, last],
        "bars": hashlib.sha256(bars.cpu().numpy().tobytes()).hexdigest(),
        "seed": seed,
        "encoder": encoder.model_dump(mode="json"),
        "pretraining": settings.model_dump(mode="json"),
        "code": code_version("encoder"),
    }
    with torch.random.fork_rng(devices=[bars.device] if bars.is_cuda else []):
        torch.manual_seed(derive_seed(seed, "pretraining", "weights and dropout"))  # of the CPU and of every GPU
        model = MaskedFeatureModel(encoder, tickers=bars.shape[1], features=bars.shape[2]).to(bars.device)
        progress = Progress(
            model=model,
            optimizer=torch.optim.AdamW(parameter_groups(model, settings.weight_decay), lr=settings.learning_rate),
            generator=feed.generator("order and masks"),
            best={},
            checkpoints={},
            history=[],
        )
        if resume is not None:
            load_progress(resume, progress, identity=identity)
        history = [Epoch.model_validate(line) for line in progress.history]
        while len(history) < settings.epochs and len(history) - _best(history) < settings.patience:
            line = _one_epoch(progress, feed, settings, epoch=len(history) + 1)
            history.append(line)
            progress.history.append(line.model_dump(mode="json"))
            if _best(history) == line.epoch:
                progress.best = _copy(model)
            if line.epoch % settings.checkpoint_every == 0:
                progress.checkpoints[line.epoch] = _copy(model.encoder)
            if resume is not None:
                save_progress(resume, progress, identity=identity)
            if on_epoch is not None:
                on_epoch(line)
    final = _copy(model.encoder)
    model.load_state_dict(progress.best)
    skill = _measure(model.eval(), feed, settings)
    if resume is not None:
        shutil.rmtree(resume, ignore_errors=True)
    return Pretrained(
        encoder=model.encoder,
        decoders=model.decoders(),
        final=final,
        checkpoints=progress.checkpoints,
        history=history,
        best_epoch=_best(history),
        skill=skill,
        settings=settings,
        first=first,
        last=last,
        seed=seed,
    )


class _Feed:
    """Masked windows of one span: batches to learn from, and the fixed ones to be judged on."""

    def __init__(self, bars: Tensor, *, encoder: EncoderSettings, settings: PretrainingSettings, seed: int) -> None:
        self.bars, self._encoder, self._settings, self._seed = bars, encoder, settings, seed
        self.split: Split = split_by_time(
            len(bars),
            lookback=encoder.lookback,
            batch_size=settings.batch_size,
            share=settings.validation_share,
            most=settings.validation_windows,
        )
        self.held = self.masked(self.split.validation, self.generator("validation"))

    @property
    def steps(self) -> int:
        """Per epoch: whole batches only, so that every step weighs the same."""
        return len(self.split.training) // self._settings.batch_size

    def generator(self, use: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self._seed, "pretraining", use))

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch."""
        size = self._settings.batch_size
        order = torch.randperm(len(self.split.training), generator=generator)
        for step in range(self.steps):
            yield self.masked(self.split.training[order[step * size : (step + 1) * size]], generator)

    def masked(self, rows: Tensor, generator: torch.Generator) -> Batch:
        _, tickers, features = self.bars.shape
        lookback, device = self._encoder.lookback, self.bars.device
        mask = sample_masks(
            rows=len(rows),
            lookback=lookback,
            tickers=tickers,
            features=features,
            share=self._settings.mask_share,
            generator=generator,
        )
        joint = self._encoder.fusion == "joint"
        books = random_books(rows=len(rows), tickers=tickers, generator=generator).to(device) if joint else None
        return Batch(windows(self.bars, rows.to(device), lookback), mask.to(device), books)


def _one_epoch(progress: Progress, feed: _Feed, settings: PretrainingSettings, *, epoch: int) -> Epoch:
    model = progress.model
    train_loss = train_epoch(
        model,
        feed.batches(progress.generator),
        progress.optimizer,
        settings,
        epoch=epoch,
        steps_per_epoch=feed.steps,
    )
    tokens, encoding = validate(model, feed.held, settings, epoch=epoch)
    done, total = epoch * feed.steps, settings.epochs * feed.steps
    return Epoch(
        epoch=epoch,
        train_loss=train_loss,
        validation_loss=tokens + settings.cls_weight * encoding,
        validation_loss_tokens=tokens,
        validation_loss_encoding=encoding,
        learning_rate=settings.learning_rate * rate(done, total=total, warm_up=settings.warm_up),
    )


def _measure(model: MaskedFeatureModel, feed: _Feed, settings: PretrainingSettings) -> Skill:
    """Both decoders beside the baselines, on the validation windows."""
    held, training = feed.held, feed.split.training
    chosen = torch.linspace(0, len(training) - 1, ridge_rows(len(training), entries=held.windows[0].numel()))
    past = feed.masked(training[chosen.long()], feed.generator("ridge"))
    mean = feed.bars[: int(training[-1]) + 1].mean(0)
    # A book says nothing about the market, so any fixed one will do: all in cash.
    cash = None if held.entries is None else torch.eye(1, held.entries.shape[1], device=held.windows.device)

    def decoder(which: int) -> Predict:
        return lambda seen, mask: model(seen, mask, None if cash is None else cash.expand(len(seen), -1))[which]

    predictors: dict[str, Predict] = {
        "model": decoder(0),
        "encoding": decoder(1),
        "mean": predict_mean(mean),
        "carry": carry_forward(mean),
        "ridge": fit_ridge(windows=past.windows, mask=past.mask),
    }
    return measure_skill(windows=held.windows, mask=held.mask, predictors=predictors, chunk=settings.at_once)


def _best(history: list[Epoch]) -> int:
    """The epoch with the lowest validation loss so far; 0 before the first."""
    return min(history, key=lambda line: line.validation_loss).epoch if history else 0


def _copy(module: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
