"""The card can be read by people and refuses what it does not know."""

import pytest
from pydantic import ValidationError

from .conftest import make_card


def test_the_card_names_verdict_source_and_numbers() -> None:
    text = make_card("abc", "inconclusive").to_markdown()
    for part in (
        "**Verdict: inconclusive.**",
        "Bars: simulated",
        "| sharpe | 1.25 |",
        "| learning_rate | 0.0001 |",
        r"a \| b",
    ):
        assert part in text


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValidationError):
        make_card("abc", "maybe")
