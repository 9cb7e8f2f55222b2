"""Masked feature modelling: an encoder learns the market by filling in what was hidden from it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from cappuccino_ml.core import CappuccinoError, DataError, Settings, derive_seed
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel, masked_losses
from cappuccino_ml.encoder.masking import sample_masks
from cappuccino_ml.encoder.skill import (
    Predict,
    Skill,
    carry_forward,
    fit_ridge,
    measure_skill,
    predict_mean,
    ridge_rows,
)
from cappuccino_ml.encoder.settings import EncoderSettings
from cappuccino_ml.encoder.transformer import FTTransformerEncoder
from cappuccino_ml.encoder.windows import windows
from cappuccino_ml.features import WARM_UP_BARS

State = dict[str, Tensor]

_MAX_VALIDATION_WINDOWS = 2048  # evenly spaced beyond that: neighbouring windows share nearly all their bars
_GAP_SHARE = 0.1  # of the windows: a short span cannot spare the whole memory of the indicators


class PretrainingSettings(Settings):
    """How an encoder is pre-trained."""

    mask_share: float = Field(0.15, gt=0, le=0.5, description="expected share of hidden entries")
    batch_size: int = Field(128, ge=1)
    epochs: int = Field(30, ge=1, description="at most; the cosine schedule ends here")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the cosine schedule")
    weight_decay: float = Field(1e-5, ge=0, description="not on biases, norms and the tokenizer")
    cls_weight: float = Field(0.5, ge=0, description="weight of the loss decoded from the encoding")
    max_grad_norm: float = Field(1.0, gt=0)
    validation_share: float = Field(0.15, gt=0, lt=1, description="of the windows, the latest ones")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss before training stops")
    checkpoint_every: int = Field(10, ge=1, description="epochs between kept checkpoints")


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
    final: State  # encoder weights of the last epoch
    checkpoints: dict[int, State]  # encoder weights every `checkpoint_every` epochs
    history: list[Epoch]
    best_epoch: int
    skill: Skill  # of the best epoch
    settings: PretrainingSettings
    first: int
    last: int
    seed: int


@dataclass(frozen=True)
class Split:
    """Window rows by time: training, then a gap, then validation."""

    training: Tensor
    validation: Tensor
    gap: int


def pretrain(
    *,
    market: Tensor,
    first: int,
    last: int,
    encoder: EncoderSettings,
    settings: PretrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Pretrained:
    """Pre-train on rows first..last (both included); no other row is read, not even as the start of a window.

    Training is on the device of `market`. On one CPU thread the same arguments give the same bytes.

    Args:
        market: scaled features [T, N, F], float32; targets are standardised because the scaler standardised them.
        first: the oldest bar that may shape the encoder.
        last: the newest one.
        encoder: shape of the encoder.
        settings: how to train it.
        seed: of weights, masks, order and dropout.
        on_epoch: called after every epoch.

    Raises:
        DataError: rows outside the market, too few rows for one batch, or a value that is not finite.
        CappuccinoError: the loss is not finite; names epoch and batch.
    """
    bars = _span(market, first, last)
    _, tickers, features = bars.shape
    split = split_by_time(len(bars), lookback=encoder.lookback, settings=settings)

    def masked(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mask = sample_masks(
            rows=len(rows),
            lookback=encoder.lookback,
            tickers=tickers,
            features=features,
            share=settings.mask_share,
            generator=generator,
        )
        return windows(bars, rows.to(bars.device), encoder.lookback), mask.to(bars.device)

    def generator(use: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(seed, "pretraining", use))

    def batches(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: whole batches only, so that every step weighs the same."""
        order = torch.randperm(len(split.training), generator=generator)
        for start in range(0, len(order) - settings.batch_size + 1, settings.batch_size):
            yield masked(split.training[order[start : start + settings.batch_size]], generator)

    held, held_mask = masked(split.validation, generator("validation"))
    training = generator("order and masks")
    history: list[Epoch] = []
    checkpoints: dict[int, State] = {}
    best: State = {}
    best_epoch, best_loss = 0, math.inf
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "pretraining", "weights and dropout"))
        model = MaskedFeatureModel(encoder, tickers=tickers, features=features).to(bars.device)
        optimizer = torch.optim.AdamW(_groups(model, settings.weight_decay), lr=settings.learning_rate)
        steps = settings.epochs * (len(split.training) // settings.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for epoch in range(1, settings.epochs + 1):
            train_loss = _train(model, batches(training), optimizer, schedule, settings, epoch)
            tokens, encoding = _validate(model, held, held_mask, settings, epoch)
            line = Epoch(
                epoch=epoch,
                train_loss=train_loss,
                validation_loss=tokens + settings.cls_weight * encoding,
                validation_loss_tokens=tokens,
                validation_loss_encoding=encoding,
                learning_rate=schedule.get_last_lr()[0],
            )
            history.append(line)
            if line.validation_loss < best_loss:
                best_epoch, best_loss, best = epoch, line.validation_loss, _copy(model)
            if epoch % settings.checkpoint_every == 0:
                checkpoints[epoch] = _copy(model.encoder)
            if on_epoch is not None:
                on_epoch(line)
            if epoch - best_epoch >= settings.patience:
                break
    final = _copy(model.encoder)
    model.load_state_dict(best)
    model.eval()
    chosen = torch.linspace(0, len(split.training) - 1, ridge_rows(len(split.training), entries=held[0].numel()))
    past, past_mask = masked(split.training[chosen.long()], generator("ridge"))
    mean = bars[: int(split.training[-1]) + 1].mean(0)
    predictors: dict[str, Predict] = {
        "model": lambda seen, mask: model(seen, mask)[0],
        "mean": predict_mean(mean),
        "carry": carry_forward(mean),
        "ridge": fit_ridge(windows=past, mask=past_mask),
    }
    return Pretrained(
        encoder=model.encoder,
        final=final,
        checkpoints=checkpoints,
        history=history,
        best_epoch=best_epoch,
        skill=measure_skill(windows=held, mask=held_mask, predictors=predictors),
        settings=settings,
        first=first,
        last=last,
        seed=seed,
    )


def split_by_time(bars: int, *, lookback: int, settings: PretrainingSettings) -> Split:
    """Training windows, a gap, and the latest windows for validation; rows are counted from the span's first bar.

    The gap keeps every validation window clear of training bars (lookback) and of the memory of the indicators (300
    bars, but at most a tenth of a short span).

    Raises:
        DataError: fewer training windows than one batch.
    """
    count = bars - lookback + 1
    gap = lookback + min(WARM_UP_BARS, int(count * _GAP_SHARE))
    held = max(1, round(count * settings.validation_share))
    training = count - held - gap
    if training < settings.batch_size:
        raise DataError(
            f"{bars} bars leave {max(0, training)} training windows (lookback {lookback}, gap {gap}, "
            f"validation {held}), fewer than one batch of {settings.batch_size}; "
            "give a longer span or a smaller batch_size."
        )
    rows = torch.arange(lookback - 1, bars)
    validation = rows[-held:]
    if held > _MAX_VALIDATION_WINDOWS:
        validation = validation[torch.linspace(0, held - 1, _MAX_VALIDATION_WINDOWS).long()]
    return Split(training=rows[:training], validation=validation, gap=gap)


def _span(market: Tensor, first: int, last: int) -> Tensor:
    if not 0 <= first <= last < len(market):
        raise DataError(f"rows {first} to {last} are not within the {len(market)} rows of the market.")
    bars = market[first : last + 1]
    bad = ~torch.isfinite(bars)
    if bad.any():
        row, ticker, feature = bad.nonzero()[0].tolist()
        raise DataError(
            f"feature {feature} of ticker {ticker} is {float(bars[row, ticker, feature])} in row {first + row}, but "
            "pre-training needs finite values; start after the warm-up."
        )
    return bars


def _train(
    model: MaskedFeatureModel,
    batches: Iterator[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    settings: PretrainingSettings,
    epoch: int,
) -> float:
    """One epoch of steps -> the mean loss."""
    model.train()
    losses: list[float] = []
    for batch, mask in batches:
        on_tokens, on_encoding = masked_losses(model, batch, mask)
        loss = on_tokens + settings.cls_weight * on_encoding
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]) or not math.isfinite(float(norm)):
            raise CappuccinoError(
                f"pre-training loss is {losses[-1]} (gradient norm {float(norm)}) in epoch {epoch}, "
                f"batch {len(losses)}; lower learning_rate {settings.learning_rate} or check the features."
            )
        optimizer.step()
        schedule.step()
    return sum(losses) / len(losses)


@torch.no_grad()
def _validate(
    model: MaskedFeatureModel, held: Tensor, mask: Tensor, settings: PretrainingSettings, epoch: int
) -> tuple[float, float]:
    """Losses of the two decoders, each batch weighted by its windows."""
    model.eval()
    total = torch.zeros(2, dtype=torch.float64)
    for rows in torch.split(torch.arange(len(held), device=held.device), settings.batch_size):
        total += len(rows) * torch.stack(masked_losses(model, held[rows], mask[rows])).cpu()
    if not torch.isfinite(total).all():
        raise CappuccinoError(
            f"validation loss is not finite after epoch {epoch}; lower learning_rate {settings.learning_rate}."
        )
    tokens, encoding = (total / len(held)).tolist()
    return tokens, encoding


def _groups(model: MaskedFeatureModel, weight_decay: float) -> list[dict[str, object]]:
    """As in the paper: no decay on biases, norms and the tokenizer (with its CLS token)."""
    free = {name for name, _ in model.named_parameters() if "bias" in name or "norm" in name or "tokenizer" in name}
    return [
        {"params": [p for name, p in model.named_parameters() if name not in free], "weight_decay": weight_decay},
        {"params": [p for name, p in model.named_parameters() if name in free], "weight_decay": 0.0},
    ]


def _copy(module: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
