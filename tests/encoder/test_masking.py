"""Masks hide the share they promise, in three kinds, and the same seed hides the same entries."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cappuccino_ml.encoder import sample_masks


def draw(*, rows: int = 999, lookback: int = 6, share: float = 0.15, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sample_masks(rows=rows, lookback=lookback, tickers=4, features=5, share=share, generator=generator)


def kinds(mask: Tensor) -> dict[str, Tensor]:
    """Rows that can only be of one kind, told apart by what they hide."""
    whole = (mask.all(1) | ~mask.any(1)).all((1, 2))
    monotone = (mask[:, 1:] | ~mask[:, :-1]).all((1, 2, 3))  # once hidden, hidden to the newest bar
    length = mask.sum(1).flatten(1)
    even = torch.tensor([row[row > 0].unique().numel() <= 1 for row in length])  # one length per row
    spans = monotone & even
    return {"series": whole, "spans": spans & ~whole, "cells": ~spans}


@pytest.mark.parametrize("lookback", [1, 2, 6, 10])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
def test_the_share_of_hidden_entries_is_as_asked(lookback: int, share: float):
    hidden = draw(rows=6000, lookback=lookback, share=share).float().mean()
    assert abs(float(hidden) - share) < 0.02 * share + 0.004


def test_each_kind_hides_the_same_share_and_has_a_third_of_the_rows():
    mask = draw(rows=6000)
    found = kinds(mask)
    # A span as long as the window is a whole series too, so one row in eighteen looks like the other kind.
    assert abs(int(found["cells"].sum()) - 2000) <= 5
    assert abs(int(found["spans"].sum()) - 2000 * 5 / 6) < 80
    assert abs(int(found["series"].sum()) - 2000 * 7 / 6) < 80
    assert abs(float(mask[found["cells"]].float().mean()) - 0.15) < 0.01


def test_series_hidden_whole_are_not_always_the_same_ones():
    mask = draw(rows=3000)
    assert (mask.all(1).float().mean(0) > 0.03).all()


@given(seed=st.integers(0, 2**62), rows=st.integers(1, 40), lookback=st.integers(1, 12))
def test_the_same_seed_hides_the_same_entries(seed: int, rows: int, lookback: int):
    mask = draw(rows=rows, lookback=lookback, seed=seed)
    assert mask.shape == (rows, lookback, 4, 5)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, draw(rows=rows, lookback=lookback, seed=seed))


def test_another_seed_hides_others():
    assert not torch.equal(draw(seed=1), draw(seed=2))


@pytest.mark.parametrize("share", [0.0, -0.1, 0.51])
def test_an_impossible_share_is_refused(share: float):
    with pytest.raises(ValueError, match="above 0 and at most"):
        draw(share=share)
