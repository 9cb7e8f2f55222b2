"""What must be remembered of each open position for stops, holding times and cool-downs to work, batched.

The trader keeps the same numbers in its ledger, so that a restart forgets no stop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from cappuccino_ml.environment.guards import Guards

CPU = torch.device("cpu")
_TINY = 1e-300  # keeps 0 / 0 away


@dataclass
class Positions:
    """[B, N] float64 each, all zero for a ticker that is not held, `cooldown` apart."""

    entry: Tensor  # average price paid, slippage included and fees apart, quote currency; 0: not known yet
    high: Tensor  # highest of `entry` and the closes since the position was opened
    bars: Tensor  # closes since the position was opened
    cooldown: Tensor  # closes, from the newest on, at which the ticker is not bought
    stopped: Tensor  # 1 where a stop was hit and not everything is sold yet: it stays until everything is

    @classmethod
    def none(cls, *, books: int, tickers: int, device: torch.device = CPU) -> "Positions":
        """Nothing held, nothing remembered."""
        # Memory runs along the books: sums over tickers and operations with [B, 1] are several times faster so.
        return cls(*(torch.zeros(tickers, books, dtype=torch.float64, device=device).t() for _ in fields(cls)))

    @classmethod
    def of_one_book(cls, memory: Sequence[Mapping[str, float]]) -> "Positions":
        """B = 1, from what `memory_of` gave, ticker by ticker; an empty mapping is a ticker without memory."""
        return cls(
            *(
                torch.tensor([[float(one.get(field.name, 0.0)) for one in memory]], dtype=torch.float64, device=CPU)
                for field in fields(cls)
            )
        )

    def memory_of(self, book: int) -> list[dict[str, float]]:
        """One book's memory as plain numbers, ticker by ticker."""
        rows = {field.name: getattr(self, field.name)[book].tolist() for field in fields(self)}
        return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]

    def bought(self, coins: Tensor, units: Tensor, price: Tensor) -> None:
        """`coins` [B, N] were added at `price` and made `units` [B, N] of it: average the entry price."""
        self.entry = torch.addcmul(self.entry, price - self.entry, coins / units.clamp(min=_TINY))

    def mark(self, units: Tensor, close: Tensor, guards: Guards) -> None:
        """A bar has closed with `units` [B, N] held: count it, raise the high-water marks, latch the stops.

        A position whose entry price nobody knows counts as entered at this close.
        """
        held = torch.sign(units)
        was_held = torch.sign(self.bars)
        sold_out = was_held - was_held * held
        self.cooldown = torch.maximum((self.cooldown - 1).clamp_(min=0), sold_out.mul_(guards.cooldown_bars))
        self.bars = (self.bars + 1).mul_(held)
        unknown = torch.empty_like(self.entry).copy_(self.entry).le_(0)
        self.entry = unknown.mul_(close).add_(self.entry).mul_(held)
        self.high = torch.maximum(torch.maximum(self.high, close), self.entry).mul_(held)
        self.stopped = self.stopped * held
        if guards.stop_loss or guards.trailing_stop:
            floor = torch.zeros_like(self.entry)
            if guards.stop_loss:
                floor = self.entry * (1 - guards.stop_loss)
            if guards.trailing_stop:
                floor = torch.maximum(floor, self.high * (1 - guards.trailing_stop))
            hit = floor.ge_(close)  # 0 < close wherever nothing is held
            self.stopped = torch.maximum(self.stopped, hit)

    def enter(self, held: Tensor, close: Tensor) -> None:
        """Positions `held` [B, N] (bool) that somebody else opened count as opened at this close."""
        self.entry = torch.where(held, close, self.entry)
        self.high = torch.where(held, close, self.high)
        self.bars = torch.where(held, 1.0, self.bars)

    def forget(self, books: Tensor) -> None:
        """Make `books` [B] (bool) fresh: nothing held, nothing remembered."""
        for field in fields(self):
            value = getattr(self, field.name)
            setattr(self, field.name, torch.where(books.unsqueeze(-1), 0.0, value))
