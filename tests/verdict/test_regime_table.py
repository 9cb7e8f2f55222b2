"""Every bar of a holdout is in one spell of one regime, and every policy has a score in each."""

import numpy as np
import pytest

from cappuccino_ml.verdict import RegimeRule, regime_table


def test_every_bar_is_in_one_spell_and_earns_in_its_regime() -> None:
    regimes = np.repeat(np.array([2, 0, 2, 1], dtype=np.int8), [10, 20, 30, 40])  # places in REGIMES
    returns = np.random.default_rng(1).normal(0, 0.01, 100)
    columns = {"ft": returns, "ft#turnover": np.full(100, 0.01), "ft@dearer": returns}
    columns |= {"cash": np.zeros(100), "cash#turnover": np.zeros(100)}
    table = regime_table(columns, regimes=regimes, rule=RegimeRule(), bars_per_year=8760.0, seed=1)
    assert [(spell.regime, spell.first, spell.last) for spell in table.spells] == [
        ("sideways", 0, 10),
        ("bull", 10, 30),
        ("sideways", 30, 60),
        ("bear", 60, 100),
    ]
    assert [result.policy for result in table.results] == ["ft", "cash"]
    growth = np.prod([1 + score.total_return for score in table.results[0].scores])
    assert growth == pytest.approx(np.prod(1 + returns))
    assert {score.regime: (score.bars, score.stretches) for score in table.results[1].scores} == {
        "bull": (20, 1),
        "bear": (40, 1),
        "sideways": (40, 2),
        "unknown": (0, 0),
    }
