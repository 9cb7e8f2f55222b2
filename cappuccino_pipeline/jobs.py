"""Jobs: what schedules, sensors and the demo run. Assets join the nightly job by their tag, not by a list here."""

import dagster as dg

NIGHTLY_TAG = {"cappuccino/nightly": "true"}  # put it on an asset to have it re-made every night

update_bars = dg.define_asset_job(
    "update_bars",
    selection=dg.AssetSelection.groups("bars", "features"),
    description="Bars and features of chosen months. Asks the source only for what is missing.",
    tags={"dagster/max_runtime": "28800"},  # years of minute bars from a patient exchange take hours
)
research = dg.define_asset_job(
    "research",
    selection=dg.AssetSelection.assets("promoted_model", "attention_report").upstream()
    - dg.AssetSelection.groups("bars", "features"),
    description="From a frozen data set to a registered candidate with its verdict and what drives its decisions.",
    tags={"dagster/max_runtime": "28800"},
)
trade = dg.define_asset_job(
    "trade",
    selection=dg.AssetSelection.assets("paper_trader_deployment", "paper_trading_report"),
    description="Deploy what the aliases name, then hold its paper session and compare it with the backtest.",
    tags={"dagster/max_runtime": "3600"},
)
retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.tag("cappuccino/nightly", "true"),
    description="A frozen data set of today and a refit of the incumbent's configuration, registered without alias.",
    tags={"dagster/max_runtime": "28800"},
)
compare_arms = dg.define_asset_job(
    "compare_arms",
    selection=dg.AssetSelection.assets("ab_comparison"),
    description="Sample efficiency of the three arms on the current data set and its encoder.",
    tags={"dagster/max_runtime": "28800"},
)
experiments_job = dg.define_asset_job(
    "experiments",
    selection=dg.AssetSelection.assets("ablation_study", "transfer_study", "regime_benchmark"),
    description="Ablation, transfer and market regimes on the current data set and study. Reads no holdout.",
    tags={"dagster/max_runtime": "28800"},
)


def months_tags(*, first: str, last: str) -> dict[str, str]:
    """Run tags that make one run of a partitioned job cover all months from `first` to `last`, both included."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


# Run configuration for `execute_in_process`: events, failures too, are stored as always, but not printed with stacks.
QUIET_CONSOLE = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
