"""Everything that runs on a holdout, once: finalists, champion and baselines, as judged and under stress."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.environment import Backtest, Costs, backtest, backtests
from cappuccino_ml.features import MarketTable
from cappuccino_ml.metrics import saturated_share, volume_share
from cappuccino_ml.policy import Actor
from cappuccino_ml.study import Dataset, TrialResult, measure
from cappuccino_ml.verdict.baselines import equal_weight, run_baselines
from cappuccino_ml.verdict.gate import EQUAL_WEIGHT

CHAMPION = "champion"


@dataclass(frozen=True)
class Finalist:
    """A trial refitted on all development rows."""

    trial: TrialResult
    actor: Actor
    folder: Path  # the agent's, as stored


def read_holdout(
    *,
    dataset: Dataset,
    finalists: Mapping[str, Finalist],
    champion: Actor | None,
    fee_multiple: float,
    seed: int,
) -> pd.DataFrame:
    """Net returns per bar of the holdout, a column per policy; `@` marks a stress, `#` what is not a return.

    Stresses: `@dearer` at `fee_multiple` times all costs, `@free` without costs, `@late` filled one bar later.

    Args:
        dataset: frozen data; only its holdout rows are decided on. Its volume gives `#volume`, if it has one.
        finalists: by side.
        champion: what trades now.
        fee_multiple: of the stress.
        seed: of the random policy.
    """
    market, rows, volume = dataset.market, dataset.splits.holdout, dataset.volume
    columns: dict[str, NDArray[np.float64]] = {}

    def keep(name: str, run: Backtest) -> None:
        columns[name] = run.returns
        columns[f"{name}#turnover"] = run.turnover
        columns[f"{name}#exposure"] = run.weights.sum(-1)
        columns[f"{name}#saturated"] = saturated_share(run.actions)
        if volume is not None:
            filled_in = volume[rows[0] + 1 : rows[1] + 1]
            columns[f"{name}#volume"] = volume_share(orders=run.orders, volume=filled_in, equity=run.equity[:-1])

    actor = next(iter(finalists.values())).actor  # one study, so all finalists have its costs
    dearer, free = _times(actor.costs, fee_multiple), _times(actor.costs, 0.0)
    for side, run in _side_by_side(finalists, market, rows, costs=actor.costs).items():
        keep(side, run)
    for mark, costs, lag in (("dearer", dearer, 0), ("free", free, 0), ("late", actor.costs, 1)):
        for side, run in _side_by_side(finalists, market, rows, costs=costs, lag=lag).items():
            columns[f"{side}@{mark}"] = run.returns
    if champion is not None:
        keep(CHAMPION, measure(champion, market, rows, costs=actor.costs))
    turnover = max(float(columns[f"{side}#turnover"].mean()) for side in finalists)
    baselines = run_baselines(
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=rows[0],
        last=rows[1],
        guards=actor.guards,
        costs=actor.costs,
        train_rows=dataset.splits.development,
        turnover_per_bar=turnover,
        seed=seed,
        features=market.features,
    )
    for name, run in baselines.items():
        keep(name, run)
    columns[f"{EQUAL_WEIGHT}@dearer"] = run_equal_weight(dataset, actor, rows, costs=dearer).returns
    return pd.DataFrame(columns)


def _side_by_side(
    finalists: Mapping[str, Finalist], market: MarketTable, rows: tuple[int, int], *, costs: Costs, lag: int = 0
) -> dict[str, Backtest]:
    first, last = rows
    runs: dict[str, Backtest] = {}
    # Everybody under the guards it was trained with; those that have the same ones in one pass.
    for guards in dict.fromkeys(finalist.actor.guards for finalist in finalists.values()):
        sides = [side for side, finalist in finalists.items() if finalist.actor.guards == guards]
        results = backtests(
            acts=[finalists[side].actor.over(market, first=first, last=last) for side in sides],
            open_=market.open,
            close=market.close,
            tradable=market.tradable,
            first=first,
            last=last,
            guards=guards,
            costs=costs,
            lag=lag,
        )
        runs |= dict(zip(sides, results, strict=True))
    return {side: runs[side] for side in finalists}


def run_equal_weight(dataset: Dataset, actor: Actor, rows: tuple[int, int], *, costs: Costs | None = None) -> Backtest:
    """Equal weight over `rows` on the guards and costs of `actor`, or on other `costs`."""
    market = dataset.market
    return backtest(
        act=equal_weight(tickers=len(market.schema.tickers), guards=actor.guards),
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=rows[0],
        last=rows[1],
        guards=actor.guards,
        costs=costs or actor.costs,
    )


def _times(costs: Costs, factor: float) -> Costs:
    return costs.model_copy(update={"fee_bps": costs.fee_bps * factor, "slippage_bps": costs.slippage_bps * factor})
