"""Ablation, transfer and regimes through their own job on a toy lake: no holdout is read, nothing is done twice."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import SimulatedSource, Universe
from cappuccino_ml.core import read_json
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.environment import Layout
from cappuccino_ml.study import (
    AblationSettings,
    EncoderPlan,
    SearchSpace,
    SplitSettings,
    StudySettings,
    TransferSettings,
)
from cappuccino_ml.verdict import GateSettings, HoldoutLedger, RegimeRule
from cappuccino_pipeline.assets.study import optuna_study
from cappuccino_pipeline.assets.training import pretrained_encoder, training_dataset
from cappuccino_pipeline.assets.verdict import validation_report
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.definitions import defs
from cappuccino_pipeline.demo import run_job
from cappuccino_pipeline.grounds import grounds_of
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.plans import Plan, plan_for
from cappuccino_pipeline.resources import Cappuccino

LAYOUT = Layout(timestamps=4, environments=4, steps=16, episode_bars=32)
PLAN = Plan(
    splits=SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=40),
    encoder=EncoderPlan(
        encoder=EncoderSettings(lookback=2, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16),
        pretraining=PretrainingSettings(epochs=1, batch_size=64),
    ),
    study=StudySettings(
        trials_per_side=1,
        space=SearchSpace(
            steps=256,
            net_dimension=(16, 16),
            batch_size=(64,),
            lookback=(1, 2),
            ft_d_token=(8,),
            ft_n_heads=(2,),
            ft_encoding_dim=16,
            layout=LAYOUT,
        ),
    ),
    gate=GateSettings(resamples=199),
    ablation=AblationSettings(steps=256, seeds=1, lookbacks=(1, 2), short_lookback=1, net_dimension=16, layout=LAYOUT),
    transfer=TransferSettings(steps=256, seeds=1, fine_days=5, net_dimension=16, layout=LAYOUT),
    regimes=RegimeRule(days=2, enter=0.01, leave=0.005),
)
UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
ASSETS = ("ablation_study", "transfer_study", "regime_benchmark")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cappuccino, dg.DagsterInstance]]:
    configuration = Configuration(state=tmp_path_factory.mktemp("state"), universe=UNIVERSE, workers=1)
    cappuccino = Cappuccino(configuration, plan=PLAN)
    with dg.DagsterInstance.ephemeral() as instance:
        run_job(cappuccino, instance, "update_bars", tags=months_tags(first="2024-01", last="2024-02"))
        dg.materialize(
            [training_dataset, pretrained_encoder, optuna_study, validation_report],
            instance=instance,
            resources={"cappuccino": cappuccino},
        )
        run_job(cappuccino, instance, "experiments")
        yield cappuccino, instance


def metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, dg.MetadataValue]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def test_the_ablation_has_a_row_a_difference_and_a_skill_for_every_factor(stage) -> None:
    _, instance = stage
    said = metadata(instance, "ablation_study")
    table = str(said["variants"].value)
    for factor in ("tokenization", "fusion", "pre-training", "freezing", "lookback", "encoder"):
        assert f"| {factor} |" in table
    assert str(said["differences"].value).count("Sharpe a year") == table.count("\n") - 2
    assert "data:image/png;base64" in str(said["picture"].value)
    assert said["source"].value == "simulated"
    assert all(row.rstrip(" |").rpartition("|")[2].strip() for row in table.splitlines()[2:]), "wall time of every row"


def test_the_transfer_says_what_it_cannot_do_and_does_the_rest(stage) -> None:
    cappuccino, instance = stage
    said = metadata(instance, "transfer_study")
    assert "1h to 5m cannot be done" in str(said["not_done"].value)
    assert "hourly bars only" in str(said["not_done"].value)
    assert "LTC as BTC" in str(said["transfers"].value)
    assert "data:image/png;base64" in str(said["picture"].value)
    stored = read_json(cappuccino.configuration.reports_root / "transfer_study.json")
    (ground,) = stored["grounds"]
    assert ground["source_schema"] != ground["target_schema"]
    assert ground["source_until"] < ground["trained_from"] < ground["tested_from"]
    assert set(ground["skill"]["r2"]) == {"transferred", "pre-trained there", "mean", "carry", "ridge"}


def test_regimes_name_their_rule_and_cover_every_bar_once(stage) -> None:
    cappuccino, instance = stage
    said = metadata(instance, "regime_benchmark")
    assert "return over the 2 days before its decision" in str(said["rule"].value)
    assert "data:image/png;base64" in str(said["picture"].value)
    stored = read_json(cappuccino.configuration.reports_root / "regime_benchmark.json")
    assert [span["name"] for span in stored["spans"]] == ["folds", "holdout"]
    for span in stored["spans"]:
        assert {"ft", "mlp", "cash", "equal_weight", "ridge"} <= {row["policy"] for row in span["rows"]}
        for row in span["rows"]:
            assert sum(score["bars"] for score in row["scores"]) == span["bars"]


def test_the_experiments_leave_the_one_reading_of_the_holdout_alone_and_train_nothing_twice(stage) -> None:
    cappuccino, instance = stage
    configuration = cappuccino.configuration
    ledger = HoldoutLedger(configuration.verdicts_root / "holdouts")
    (reading,) = ledger.readings()

    def files() -> dict[Path, int]:
        roots = (configuration.experiments_root, configuration.verdicts_root, configuration.encoders_root)
        # A lock that is taken again has another time and the same nothing in it.
        return {p: p.stat().st_mtime_ns for root in roots for p in root.rglob("*") if p.is_file() and p.name != ".lock"}

    before = files()
    stored = {asset: (configuration.reports_root / f"{asset}.json").read_bytes() for asset in ASSETS}
    run_job(cappuccino, instance, "experiments")
    assert files() == before
    assert {asset: (configuration.reports_root / f"{asset}.json").read_bytes() for asset in ASSETS} == stored
    assert ledger.readings() == (reading,)


def test_no_row_of_an_experiment_reaches_the_holdout(stage) -> None:
    cappuccino, _ = stage
    dataset = cappuccino.dataset
    end = dataset.time(dataset.splits.development[1])
    root = cappuccino.configuration.experiments_root
    configs = [read_json(path) for path in (root / "transfer" / "datasets").glob("*/dataset.json")]
    assert len(configs) == 2
    assert all(pd.Timestamp(config["last"]) <= pd.Timestamp(end) for config in configs)
    jobs = [read_json(path) for path in root.rglob("job.json")]
    assert len(jobs) == 8 + 6
    assert all(job["test_rows"][1] <= dataset.splits.development[1] for job in jobs)


def test_finer_bars_come_through_the_port_into_their_own_table_and_end_before_the_holdout(stage, tmp_path) -> None:
    cappuccino, _ = stage
    dataset = cappuccino.dataset
    folder = tmp_path / "bars"
    folder.mkdir()
    source = SimulatedSource()
    for symbol in UNIVERSE.symbols:
        hours = source.fetch(symbol=symbol, universe=UNIVERSE, start=dataset.time(0), end=dataset.time(1400))
        fine = hours.loc[hours.index.repeat(12)].reset_index(drop=True)
        fine["timestamp"] += pd.to_timedelta(np.tile(np.arange(12) * 5, len(hours)), unit="min")
        noise = 1 + np.random.default_rng(len(symbol)).uniform(0, 1e-3, len(fine))
        fine[["open", "high", "low", "close"]] = fine[["open", "high", "low", "close"]].mul(noise, axis=0)
        fine.to_parquet(folder / f"{symbol}-5m.parquet")
    configuration = Configuration(state=tmp_path / "state", source="files", files_folder=folder, universe=UNIVERSE)
    reader = Cappuccino(configuration, plan=PLAN)
    (fine, tickers), missing = grounds_of(reader, dataset, root=tmp_path / "transfer", tell=lambda line: None)
    assert missing == []
    assert (fine.name, tickers.name) == ("5m bars", "unseen tickers")
    assert fine.target.market.schema.timeframe == "5m"
    assert fine.target.config.bars_manifest == reader.at("5m").bars.manifest_hash()
    end = dataset.time(dataset.splits.development[1])
    assert fine.target.config.last <= end + UNIVERSE.bar
    assert fine.target.config.last + pd.Timedelta("5min") == end + UNIVERSE.bar
    memory = dataset.splits.gap * UNIVERSE.bar
    assert dataset.time(fine.source.rows[1]) + memory <= fine.target.config.first


def test_research_and_the_nightly_job_never_run_them() -> None:
    for name in ("research", "retrain", "trade", "compare_arms"):
        selected = defs.resolve_job_def(name).asset_layer.selected_asset_keys
        assert not {dg.AssetKey(asset) for asset in ASSETS} & set(selected)


def test_the_full_budget_buys_more_of_everything() -> None:
    small, full = plan_for("small", seed=1), plan_for("full", seed=1)
    for name in ("ablation", "transfer"):
        assert getattr(full, name).steps > getattr(small, name).steps
        assert getattr(full, name).seeds > getattr(small, name).seeds
