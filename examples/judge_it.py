"""Verdict: the trained policy beside equal weight, with an interval.  python -m examples.judge_it [FOLDER]"""

from pathlib import Path

from cappuccino_ml.metrics import summary
from cappuccino_ml.policy import Actor
from cappuccino_ml.study import measure
from cappuccino_ml.verdict import NotTestableError, paired_sharpe_test, run_baselines
from examples import folder
from examples.look_at_features import frozen
from examples.train_one_arm import job_of


def main(place: Path) -> None:
    """Backtest on the fold's test rows (never the holdout: that is read once), test the difference, show."""
    dataset, job = frozen(place), job_of(place)
    market, (first, last) = dataset.market, dataset.splits.folds[-1].test
    actor = Actor.load(job.folder / "agent")
    ours = measure(actor, market, (first, last))
    baselines = run_baselines(
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=first,
        last=last,
        guards=actor.guards,
        costs=actor.costs,
        train_rows=dataset.splits.folds[-1].train,
        turnover_per_bar=float(ours.turnover.mean()),
        seed=7,
        features=market.features,
    )
    bars_per_year = dataset.config.bars_per_year
    for name, run in {"the policy": ours, **baselines}.items():
        facts = summary(returns=run.returns, bars_per_year=bars_per_year)
        print(f"{name:20} net Sharpe {facts.annual_sharpe:+6.2f}  return {facts.total_return:+.1%}")
    try:
        test = paired_sharpe_test(
            candidate=ours.returns,
            incumbent=baselines["equal_weight"].returns,
            bars_per_year=bars_per_year,
            seed=7,
            resamples=499,
        )
    except NotTestableError as error:  # so little training may leave a policy that holds cash
        print(f"no difference to equal weight can be shown: {error}")
        return
    low, high = test.interval
    print(f"difference to equal weight {test.difference:+.2f} a year, 95% interval {low:+.2f} to {high:+.2f}")
    print("an interval that holds 0 shows no difference" if low < 0 < high else "the interval does not hold 0")


if __name__ == "__main__":
    main(folder())
