"""One epoch of pre-training and its validation; a step may be taken in parts, so that memory has a bound."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from cappuccino_ml.core import CappuccinoError, Settings
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel, hidden_per_feature, masked_losses


class PretrainingSettings(Settings):
    """How an encoder is pre-trained."""

    mask_share: float = Field(0.15, gt=0, le=0.5, description="expected share of hidden entries")
    batch_size: int = Field(128, ge=1)
    micro_batch: int | None = Field(
        None, ge=1, description="windows at a time; a step sums over them, so only memory and time change"
    )
    epochs: int = Field(30, ge=1, description="at most; the cosine schedule ends here")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the schedule: a linear warm-up, then a cosine to 0")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the steps before the peak")
    weight_decay: float = Field(1e-5, ge=0, description="not on biases, norms and the tokenizer")
    cls_weight: float = Field(0.5, ge=0, description="weight of the loss decoded from the encoding")
    max_grad_norm: float = Field(1.0, gt=0)
    validation_share: float = Field(0.15, gt=0, lt=1, description="of the windows, the latest ones")
    validation_windows: int = Field(2048, ge=1, description="at most, evenly spaced over that share")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss before training stops")
    checkpoint_every: int = Field(10, ge=1, description="epochs between kept checkpoints")

    @property
    def at_once(self) -> int:
        """Windows in memory at a time."""
        return min(self.micro_batch or self.batch_size, self.batch_size)


@dataclass(frozen=True)
class Batch:
    """Windows and mask [B, L, N, F]; entries [B, 1 + N] in joint fusion."""

    windows: Tensor
    mask: Tensor
    entries: Tensor | None

    def split(self, size: int) -> Iterator["Batch"]:
        """Parts of at most `size` windows."""
        for rows in torch.split(torch.arange(len(self.windows), device=self.windows.device), size):
            entries = None if self.entries is None else self.entries[rows]
            yield Batch(self.windows[rows], self.mask[rows], entries)


def train_epoch(
    model: MaskedFeatureModel,
    batches: Iterator[Batch],
    optimizer: torch.optim.Optimizer,
    settings: PretrainingSettings,
    *,
    epoch: int,
    steps_per_epoch: int,
) -> float:
    """One epoch of steps -> the mean loss.

    Raises:
        CappuccinoError: the loss is not finite (names epoch and batch), or memory ran out.
    """
    model.train()
    losses: list[float] = []
    total = settings.epochs * steps_per_epoch
    for batch in batches:
        for group in optimizer.param_groups:
            done = (epoch - 1) * steps_per_epoch + len(losses)
            group["lr"] = settings.learning_rate * rate(done + 1, total=total, warm_up=settings.warm_up)
        optimizer.zero_grad()
        loss = 0.0
        count = hidden_per_feature(batch.mask)
        with _memory_explained(model, settings):
            for part in batch.split(settings.at_once):
                on_tokens, on_encoding = masked_losses(
                    model, part.windows, part.mask, entries=part.entries, count=count
                )
                part_loss = on_tokens + settings.cls_weight * on_encoding
                part_loss.backward()  # type: ignore[no-untyped-call]
                loss += float(part_loss.detach())
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm))
        losses.append(loss)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise CappuccinoError(
                f"pre-training loss is {loss} (gradient norm {norm}) in epoch {epoch}, "
                f"batch {len(losses)}; lower learning_rate {settings.learning_rate} or check the features."
            )
        optimizer.step()
    return sum(losses) / len(losses)


def rate(step: int, *, total: int, warm_up: float) -> float:
    """Share of the peak learning rate in step 1..total."""
    rising = warm_up * total
    if step < rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))


@torch.no_grad()
def validate(
    model: MaskedFeatureModel, held: Batch, settings: PretrainingSettings, *, epoch: int
) -> tuple[float, float]:
    """Losses of the two decoders; how many windows are in memory at a time changes nothing.

    Raises:
        CappuccinoError: a loss is not finite, or memory ran out.
    """
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device="cpu")
    count = hidden_per_feature(held.mask)
    with _memory_explained(model, settings):
        for part in held.split(settings.at_once):
            total += torch.stack(masked_losses(model, part.windows, part.mask, entries=part.entries, count=count)).cpu()
    if not torch.isfinite(total).all():
        raise CappuccinoError(
            f"validation loss is not finite after epoch {epoch}; lower learning_rate {settings.learning_rate}."
        )
    tokens, encoding = total.tolist()
    return tokens, encoding


def parameter_groups(model: MaskedFeatureModel, weight_decay: float) -> list[dict[str, object]]:
    """As in the paper: no decay on biases, norms and the tokenizer (with its CLS token)."""
    free = {name for name, _ in model.named_parameters() if "bias" in name or "norm" in name or "tokenizer" in name}
    return [
        {"params": [p for name, p in model.named_parameters() if name not in free], "weight_decay": weight_decay},
        {"params": [p for name, p in model.named_parameters() if name in free], "weight_decay": 0.0},
    ]


@contextmanager
def _memory_explained(model: MaskedFeatureModel, settings: PretrainingSettings) -> Iterator[None]:
    """Turn any allocator's complaint into one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        tokenizer = model.encoder.tokenizer
        raise CappuccinoError(
            f"memory ran out with {settings.at_once} windows of {tokenizer.market_tokens + tokenizer.entries} tokens "
            f"at a time; set micro_batch below {settings.at_once}, checkpointing to true, or a smaller lookback."
        ) from error
