"""The report on the arms, through its own job on a toy lake: table, picture, claim, and nothing trained twice."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import read_json
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.environment import Layout
from cappuccino_ml.study import ComparisonSettings, EncoderPlan, SplitSettings
from cappuccino_pipeline.assets.reports import ab_comparison
from cappuccino_pipeline.assets.training import pretrained_encoder, training_dataset
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.definitions import defs
from cappuccino_pipeline.demo import run_job
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.plans import Plan, plan_for
from cappuccino_pipeline.resources import Cappuccino

PLAN = Plan(
    splits=SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=40),
    encoder=EncoderPlan(
        encoder=EncoderSettings(lookback=2, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16),
        pretraining=PretrainingSettings(epochs=1, batch_size=64),
    ),
    comparison=ComparisonSettings(
        steps=(256, 512),
        seeds=2,
        net_dimension=16,
        layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32),
    ),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cappuccino, dg.DagsterInstance]]:
    universe = Universe(tickers=("BTC", "ETH", "LTC"))
    configuration = Configuration(state=tmp_path_factory.mktemp("state"), universe=universe, workers=1)
    cappuccino = Cappuccino(configuration, plan=PLAN)
    with dg.DagsterInstance.ephemeral() as instance:
        run_job(cappuccino, instance, "update_bars", tags=months_tags(first="2024-01", last="2024-02"))
        dg.materialize([training_dataset, pretrained_encoder], instance=instance, resources={"cappuccino": cappuccino})
        run_job(cappuccino, instance, "compare_arms")
        yield cappuccino, instance


def metadata(instance: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    event = instance.get_latest_materialization_event(dg.AssetKey("ab_comparison"))
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def test_the_report_has_a_table_a_picture_and_says_what_is_true_of_the_claim(stage) -> None:
    cappuccino, instance = stage
    said = metadata(instance)
    table = str(said["sharpe_by_arm_and_steps"].value)
    assert [line.count(arm) for arm in ("mlp", "ft_scratch", "ft_pretrained") for line in [table]] == [2, 2, 2]
    assert "data:image/png;base64" in str(said["curves"].value)
    assert "the MLP needs 512" in str(said["claim"].value)
    assert said["source"].value == "simulated"
    stored = read_json(cappuccino.configuration.reports_root / "ab_comparison.json")
    assert stored["claim"] == said["claim"].value
    assert len(stored["points"]) == 6


def test_a_second_materialization_trains_nothing_again(stage) -> None:
    cappuccino, instance = stage

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in cappuccino.configuration.comparisons_root.rglob("*")}

    before, claim = files(), metadata(instance)["claim"].value
    run_job(cappuccino, instance, "compare_arms")
    assert files() == before
    assert metadata(instance)["claim"].value == claim


def test_the_launch_form_chooses_the_arms_and_trains_none_of_them_again(stage) -> None:
    cappuccino, instance = stage

    def chosen(**arms: bool) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [ab_comparison],
            selection=[ab_comparison],
            instance=instance,
            resources={"cappuccino": cappuccino},
            run_config={"ops": {"ab_comparison": {"config": arms}}},
            raise_on_error=False,
        )

    trained = set(cappuccino.configuration.comparisons_root.rglob("*"))
    assert chosen(ft_scratch=False, ft_pretrained=False).success
    assert set(cappuccino.configuration.comparisons_root.rglob("*")) == trained
    said = metadata(instance)
    assert "ft_" not in str(said["sharpe_by_arm_and_steps"].value)
    assert "not tested" in str(said["claim"].value)
    assert "none" in str(said["differences"].value)
    assert chosen(ft_pretrained=False).success
    assert "ft_scratch at" in str(metadata(instance)["differences"].value)
    refused = chosen(mlp=False, ft_scratch=False, ft_pretrained=False)
    assert not refused.success
    assert "no arm of mlp, ft_scratch, ft_pretrained is chosen" in str(refused.failure_data_for_node("ab_comparison"))


def test_research_and_the_nightly_job_never_run_it() -> None:
    for name in ("research", "retrain", "trade"):
        selected = defs.resolve_job_def(name).asset_layer.selected_asset_keys
        assert dg.AssetKey("ab_comparison") not in selected


def test_the_full_budget_asks_what_the_claim_says() -> None:
    assert plan_for("full", seed=1).comparison.steps == (50_000, 300_000)
    assert plan_for("full", seed=1).comparison.seeds == 5
    assert max(plan_for("small", seed=1).comparison.steps) < 300_000
