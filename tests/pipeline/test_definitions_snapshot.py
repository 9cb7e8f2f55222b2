"""What Dagster is shown: every asset with its group and what it is made from, checks, jobs, schedules, sensors."""

from cappuccino_pipeline.definitions import defs

GRAPH = {
    "ohlcv_bars": ("bars", set()),
    "indicators": ("features", {"ohlcv_bars"}),
    "training_dataset": ("training", {"indicators"}),
    "pretrained_encoder": ("training", {"training_dataset"}),
    "optuna_study": ("study", {"pretrained_encoder"}),
    "validation_report": ("verdict", {"optuna_study"}),
    "promoted_model": ("registry", {"validation_report"}),
    "incumbent_refit": ("registry", {"training_dataset"}),
    "paper_trader_deployment": ("trading", {"promoted_model"}),
    "paper_trader": ("trading", {"paper_trader_deployment"}),
    "paper_trading_report": ("trading", {"paper_trader_deployment"}),
    "ab_comparison": ("reports", {"pretrained_encoder"}),
    "status": ("reports", {"incumbent_refit", "paper_trading_report"}),
    "ablation_study": ("reports", {"pretrained_encoder"}),
    "transfer_study": ("reports", {"pretrained_encoder"}),
    "regime_benchmark": ("reports", {"validation_report"}),
    "attention_report": ("reports", {"optuna_study"}),
}


def test_the_asset_graph_is_the_way_of_the_data() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): (
            graph.get(key).group_name,
            {parent.to_user_string() for parent in graph.get(key).parent_keys},
        )
        for key in graph.get_all_asset_keys()
    }
    assert found == GRAPH


def test_the_checks_that_guard_are_blocking() -> None:
    graph = defs.resolve_asset_graph()
    checks = {key.name: graph.get(key).blocking for key in graph.asset_check_keys}
    assert checks == {
        "audit_bars": True,
        "bars_are_fresh": False,
        "clocks_agree": False,
        "no_outliers": False,
        "check_features": True,
        "features_are_current": False,
        "check_environment": True,
        "trader_is_healthy": False,
        "attributions_add_up": False,
    }


def test_jobs_schedules_and_sensors_are_these() -> None:
    repository = defs.get_repository_def()
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    assert jobs == {"update_bars", "research", "trade", "retrain", "compare_arms", "experiments"}
    assert {s.name: s.default_status.value for s in repository.schedule_defs} == {
        "hourly_bars": "STOPPED",
        "nightly_retraining": "STOPPED",
    }
    assert {s.name: s.default_status.value for s in repository.sensor_defs} == {
        "follow_aliases": "RUNNING",
        "run_failure_alert": "RUNNING",
        "watch_trader": "RUNNING",
    }
