"""The whole chain in-process on a toy lake: every asset, the gate, the registry, the sensor, the trader."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.environment import Layout
from cappuccino_ml.study import (
    CrossValidationSettings,
    EncoderPlan,
    RiskOptions,
    SearchSpace,
    SplitSettings,
    StudySettings,
)
from cappuccino_ml.trading import read_deployment
from cappuccino_ml.trading.paper import PaperReport, read_paper
from cappuccino_ml.verdict import GateSettings, load_report
from cappuccino_pipeline import demo
from cappuccino_pipeline.assets.study import optuna_study
from cappuccino_pipeline.assets.verdict import validation_report
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.plans import Plan
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.sensors import follow_aliases
from cappuccino_pipeline.status import standing

ASSETS = {
    "ohlcv_bars",
    "indicators",
    "training_dataset",
    "pretrained_encoder",
    "optuna_study",
    "validation_report",
    "promoted_model",
    "paper_trader_deployment",
    "paper_trading_report",
    "attention_report",
}
TOY = Plan(
    splits=SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=40),
    encoder=EncoderPlan(
        encoder=EncoderSettings(lookback=2, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16),
        pretraining=PretrainingSettings(epochs=1, batch_size=64),
    ),
    study=StudySettings(
        trials_per_side=2,
        space=SearchSpace(
            steps=512,
            net_dimension=(16, 16),
            batch_size=(64,),
            lookback=(1, 2),
            risk=RiskOptions.none(),
            ft_d_token=(8,),
            ft_n_heads=(2,),
            ft_encoding_dim=16,
            layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32),
        ),
    ),
    gate=GateSettings(resamples=199),
    rehearsal_bars=24,
    cross_validation=CrossValidationSettings(seeds=1, groups=3),
)


@dataclass
class Chain:
    cappuccino: Cappuccino
    instance: dg.DagsterInstance
    said: list[str]
    sensor: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    state = tmp_path_factory.mktemp("state")
    configuration = Configuration(state=state, universe=Universe(tickers=("BTC", "ETH", "LTC")), workers=1)
    said: list[str] = []
    cappuccino = Cappuccino(configuration, plan=TOY, echo=said.append)
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = demo.run_chain(cappuccino, instance, months=("2024-01", "2024-02"))
        yield Chain(cappuccino=cappuccino, instance=instance, said=said, sensor=sensor)


def paper(chain: Chain) -> PaperReport:
    return read_paper(chain.cappuccino.current.folder("paper_trading_report"))


def _materialized(instance: dg.DagsterInstance) -> set[str]:
    return {key.to_user_string() for key in instance.all_asset_keys() if instance.get_latest_materialization_event(key)}


def test_every_asset_is_materialized(chain: Chain) -> None:
    assert _materialized(chain.instance) == ASSETS


def test_the_environment_was_checked_on_the_studys_own_rows(chain: Chain) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("training_dataset"), "check_environment")
    (record,) = chain.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert evaluation.passed
    assert evaluation.metadata["books"].value == 16


def test_half_the_trials_are_ft_and_none_is_lost(chain: Chain) -> None:
    from cappuccino_ml.study import load_study

    study = load_study(chain.cappuccino.current.folder("optuna_study"))
    assert [trial.arm for trial in study.trials] == ["mlp", "ft_pretrained", "mlp", "ft_scratch"]
    assert all(trial.state == "complete" and len(trial.fold_sharpes) == 2 for trial in study.trials)


def test_defect_15_trials_are_named_by_content_not_by_number(chain: Chain) -> None:
    from cappuccino_ml.study import load_study

    study = load_study(chain.cappuccino.current.folder("optuna_study"))
    keys = [key for trial in study.trials for key in trial.fold_jobs]
    assert len(set(keys)) == len(keys) == 8
    assert all(len(key) == 16 for key in keys)


def test_a_short_holdout_cannot_win_and_sets_no_alias(chain: Chain) -> None:
    report = load_report(chain.cappuccino.current.folder("validation_report"))
    assert report.verdict.outcome in {"inconclusive", "reject"}
    assert report.verdict.reasons
    assert chain.cappuccino.aliases() == {}
    assert chain.cappuccino.registry.versions() == ["1"]
    assert chain.sensor.startswith("skipped")


def test_both_finalists_decisions_are_explained_without_the_holdout(chain: Chain) -> None:
    from cappuccino_ml.core import read_json
    from cappuccino_ml.reports.attribution import Attribution

    dataset, reports = chain.cappuccino.dataset, chain.cappuccino.configuration.reports_root
    stored = {
        side: Attribution.model_validate(one) for side, one in read_json(reports / "attention_report.json").items()
    }
    assert stored["mlp"].rollout is None
    assert stored["ft"].rollout is not None
    for one in stored.values():
        assert one.adds_up
        assert one.rows[1] <= dataset.splits.development[1] < dataset.splits.holdout[0]
        assert 0 < sum(driver.share for driver in one.drivers()) < 1
    event = chain.instance.get_latest_materialization_event(dg.AssetKey("attention_report"))
    assert event is not None
    assert event.asset_materialization is not None
    said = event.asset_materialization.metadata
    first = stored["ft"].drivers()[0]
    assert f"{first.ticker} {first.feature}, {first.share:.1%}" in str(said["top_five_drivers"].value)
    assert "data:image/png;base64" in str(said["drivers"].value)
    assert "what moves mlp most" in "\n".join(chain.said)


def test_a_picture_of_another_job_does_not_break_the_page(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    reports = chain.cappuccino.configuration.reports_root
    (reports / "ab_comparison.png").write_bytes((reports / "drivers.png").read_bytes())
    demo._show(chain.cappuccino, sensor=chain.sensor, seconds=1.0)
    assert "Where to look" in capsys.readouterr().out
    assert "What drives the decisions" in (reports / "page.html").read_text()


def test_the_session_is_a_rehearsal_with_the_backtests_orders(chain: Chain) -> None:
    session = paper(chain).session
    assert session.label == "REHEARSAL"
    assert session.comparison.orders_equal
    assert session.comparison.bars == 24


def test_a_second_run_computes_nothing_again(chain: Chain) -> None:
    roots = [chain.cappuccino.configuration.studies_root, chain.cappuccino.configuration.encoders_root]
    before = {path: path.stat().st_mtime_ns for root in roots for path in root.rglob("*") if path.is_file()}
    demo.run_chain(chain.cappuccino, chain.instance, months=("2024-01", "2024-02"))
    after = {path: path.stat().st_mtime_ns for root in roots for path in root.rglob("*") if path.is_file()}
    assert after == before
    assert chain.cappuccino.registry.versions() == ["1"]


def test_a_person_sets_an_alias_and_the_sensor_deploys_and_withdraws_it(chain: Chain) -> None:
    cappuccino = chain.cappuccino
    record = cappuccino.configuration.deployment_record

    def tick(cursor: str | None) -> tuple[int, str | None]:
        context = dg.build_sensor_context(instance=chain.instance, cursor=cursor, resources={"cappuccino": cappuccino})
        result = follow_aliases(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.run_requests or []:
            demo.run_job(cappuccino, chain.instance, "trade", tags=dict(request.tags))
        return len(result.run_requests or []), result.cursor

    cappuccino.registry.set_alias("challenger", "1", who="a person", why="test")
    requests, cursor = tick(None)
    deployed = read_deployment(record)
    assert requests == 1
    assert deployed is not None
    assert (deployed.version, deployed.alias) == ("1", "challenger")
    assert paper(chain).session.label == "paper session"
    assert tick(cursor)[0] == 0

    cappuccino.registry.remove_alias("challenger", who="a person", why="test")
    requests, cursor = tick(cursor)
    assert requests == 1
    assert read_deployment(record) is None
    cappuccino.registry.set_alias("challenger", "1", who="a person", why="rollback to version 1 deploys again")
    assert tick(cursor)[0] == 1
    assert read_deployment(record) is not None
    cappuccino.registry.remove_alias("challenger", who="a person", why="test")


def test_nightly_retraining_refits_the_incumbent_and_promotes_nothing(chain: Chain) -> None:
    cappuccino = chain.cappuccino
    demo.run_job(cappuccino, chain.instance, "retrain")
    assert len(cappuccino.registry.versions()) == 1, "without an alias there is no incumbent"
    cappuccino.registry.set_alias("champion", "1", who="a person", why="test")
    demo.run_job(cappuccino, chain.instance, "retrain")
    demo.run_job(cappuccino, chain.instance, "retrain")
    assert len(cappuccino.registry.versions()) == 2, "the same night twice is one version"
    assert cappuccino.registry.facts("2")["outcome"] == "not judged"
    assert cappuccino.aliases() == {"champion": "1"}
    cappuccino.registry.remove_alias("champion", who="a person", why="test")


def test_the_status_page_reads_what_every_stage_wrote(chain: Chain) -> None:
    known = {one.name: one.words for one in standing(chain.cappuccino)}
    assert [words for words in known.values() if "PROBLEM" in words] == []
    assert "trials complete" in known["last study"]
    assert "masked R2" in known["encoder"]
    assert known["verdict"].split()[0] in ("INCONCLUSIVE", "REJECT")
    assert "of version 1," in known["paper session"]


def test_the_verdict_has_its_page_its_regimes_and_the_finalists_paths(chain: Chain) -> None:
    cappuccino = chain.cappuccino
    report = load_report(cappuccino.current.folder("validation_report"))
    event = chain.instance.get_latest_materialization_event(dg.AssetKey("validation_report"))
    assert event is not None
    assert event.asset_materialization is not None
    said = event.asset_materialization.metadata
    assert Path(str(said["page"].value)).read_text().startswith("<!doctype html>")
    assert report.regimes.rule.sentence == said["regime_rule"].value
    assert [finalist.side for finalist in report.cross_validation.finalists] == ["ft", "mlp"]
    paths = cappuccino.current.folder("optuna_study") / "cross_validation"
    assert all(
        (paths / finalist.folder / "returns.parquet").is_file() for finalist in report.cross_validation.finalists
    )
    assert report.reading.trials_so_far == report.reading.trials == 4
    assert all(row.capacity for row in report.rows if row.name == "equal_weight"), "the data set keeps its volume"


def test_the_champion_of_the_registry_is_what_the_next_study_is_judged_against(chain: Chain) -> None:
    from cappuccino_ml.policy import Actor

    first = chain.cappuccino
    first.registry.set_alias("champion", "1", who="a person", why="test")
    plan = TOY.model_copy(
        update={"study": TOY.study.model_copy(update={"seed": 8}), "cross_validation": CrossValidationSettings()}
    )
    cappuccino = Cappuccino(first.configuration, plan=plan)
    champion = Actor.load(cappuccino.download("1"))
    assert champion.config.trained_until < cappuccino.dataset.time(cappuccino.dataset.splits.holdout[0])
    dg.materialize([optuna_study, validation_report], instance=chain.instance, resources={"cappuccino": cappuccino})
    report = load_report(cappuccino.current.folder("validation_report"))
    assert report.verdict.incumbent == "champion"
    assert report.reading.champion == champion.key
    assert champion.key in report.incumbent_note
    assert "champion" in {row.name for row in report.rows}
    assert (report.reading.fresh, report.reading.trials_so_far) == (False, 8)
    first.registry.remove_alias("champion", who="a person", why="test")


def test_no_pickle_is_left_behind(chain: Chain) -> None:
    state: Path = chain.cappuccino.configuration.state
    assert not [path for path in state.rglob("*") if path.suffix in {".pkl", ".pickle", ".pt", ".pth"}]
