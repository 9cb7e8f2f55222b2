"""From an alias to orders and back, on the real registry, sensor and trader: set, move, remove, refuse, crown."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest

from cappuccino_ml.trading import fills_of, read_ledger
from cappuccino_pipeline import demo
from cappuccino_pipeline.explain import explain
from cappuccino_pipeline.resources import Cappuccino

from .promotion_desk import PLAN, Desk, open_desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield open_desk(tmp_path_factory.mktemp("promotion"), instance)


def test_either_alias_is_set_moved_and_removed_and_the_deployment_follows(desk: Desk) -> None:
    registry, seen = desk.cappuccino.registry, []
    for alias, version in [
        ("champion", "1"),
        ("challenger", "2"),  # trades before the champion
        ("challenger", None),  # removed: back to the champion
        ("champion", "2"),
        ("champion", "1"),  # rolled back: the same version is deployed again
        ("champion", None),
    ]:
        if version is None:
            registry.remove_alias(alias, who="ann", why="test")
        else:
            registry.set_alias(alias, version, who="ann", why="test")
        result = desk.follow()
        assert result is not None
        assert result.success
        assert desk.follow() is None, "one movement is one run"
        seen.append(desk.deployed)
    champion, challenger = "champion", "challenger"
    assert seen == [
        ("1", champion), ("2", challenger), ("1", champion), ("2", champion), ("1", champion), None
    ]  # fmt: skip
    lines = desk.cappuccino.configuration.deployment_record.with_name("deployments.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line.get("version") or f"-{line['withdrawn']}" for line in told] == ["1", "2", "1", "2", "1", "-1"]
    assert all(line["who"].startswith("dagster run") and line["why"] and line["when"] for line in told)


def test_a_version_that_was_tampered_with_is_refused_and_the_old_one_stays_and_doctor_says_so(desk: Desk) -> None:
    registry = desk.cappuccino.registry
    registry.set_alias("champion", "1", who="ann", why="test")
    desk.follow()
    run_id = registry.facts("2")["run_id"]
    weights = next(path for path in registry.root.rglob("weights.safetensors") if run_id in str(path))
    copy = desk.cappuccino.configuration.models_root / desk.cappuccino.configuration.market / "v2" / weights.name
    whole = weights.read_bytes()
    for path in (weights, copy):
        path.write_bytes(whole[:-4] + b"\0\0\0\0")
    registry.set_alias("challenger", "2", who="ann", why="test")
    result = desk.follow()
    assert result is not None
    assert not result.success
    assert desk.deployed == ("1", "champion")
    assert "version 2 is not deployed: version 2: weights.safetensors is altered" in demo.failure_reason(result)
    assert "version 1 stays deployed" in demo.failure_reason(result)
    for said in ("deployed version 1", "BUT the aliases name version 2", "weights.safetensors is altered"):
        assert said in desk.trader_line
    for path in (weights, copy):
        path.write_bytes(whole)
    registry.remove_alias("challenger", who="ann", why="test")
    desk.follow()
    assert "BUT" not in desk.trader_line
    registry.remove_alias("champion", who="ann", why="test")
    desk.follow()


def test_a_go_on_paper_makes_the_challenger_champion_with_its_reasons_everywhere(desk: Desk) -> None:
    registry = desk.cappuccino.registry
    registry.set_alias("challenger", "1", who="ann", why="test")
    result = desk.follow(report=True)
    assert result is not None
    assert result.success
    report = desk.paper
    assert (report.session.label, report.replayed, report.session.model_version) == ("paper session", True, "1")
    assert report.decision.outcome == "go", report.decision.sentence
    assert report.decision.settings == PLAN.go
    assert report.drill.scenarios
    assert desk.cappuccino.aliases() == {"champion": "1"}
    move = [move for move in registry.log.moves() if move.alias == "champion"][-1]
    assert (move.version, move.who) == ("1", "pipeline")
    assert move.why.startswith("go: all 8 criteria are met")
    assert move.why in registry.facts("1")["alias.champion"]
    event = desk.instance.fetch_observations(dg.AssetKey("promoted_model"), limit=1).records[0]
    assert "version 1 is champion: go" in str(event.asset_observation.description)
    assert (desk.cappuccino.configuration.reports_root / "paper.html").stat().st_size > 10_000


def test_the_champion_runs_in_shadow_beside_the_next_challenger(desk: Desk) -> None:
    registry = desk.cappuccino.registry
    registry.set_alias("champion", "1", who="ann", why="test")
    registry.set_alias("challenger", "2", who="ann", why="test")
    result = desk.follow(report=True)
    assert result is not None
    assert result.success
    report = desk.paper
    assert report.session.model_version == "2"
    assert report.champion is not None
    assert (report.champion.version, report.champion.fills > 0) == ("1", True)
    assert len(report.drift) == 14
    assert report.execution.fee_bps == pytest.approx(report.execution.model_fee_bps, rel=1e-3)
    assert report.execution.slippage_bps == pytest.approx(report.execution.model_slippage_bps, abs=0.01)
    assert (report.uptime.decided, report.uptime.expected) == (48, 48)


def test_every_order_leads_to_its_model_verdict_data_and_run_and_every_link_can_be_followed(desk: Desk) -> None:
    cappuccino = desk.cappuccino
    ledgers = sorted((cappuccino.configuration.trading_root / "sessions").rglob("ledger.sqlite"))
    fill = fills_of(read_ledger(ledgers[0]))[0]
    told = dict(line.split(": ", 1) for line in explain(cappuccino, fill.order_id))
    version = told["model"].split(",")[0].removeprefix("version ")
    facts = cappuccino.registry.facts(version)
    assert told["model"].endswith("the registry's is the same")
    assert facts["data_manifest"] == cappuccino.dataset.key
    assert facts["data_manifest"] in told["data"]
    assert facts["dagster_run_id"] in told["made by"]
    assert facts["run_url"] in told["made by"]
    assert facts["outcome"] in told["verdict"]
    assert len(told["features"].split(";")[0]) == 16
    for asset in ("paper_trader_deployment", "paper_trading_report"):
        event = desk.instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        shown = cappuccino.registry.facts(str(metadata["model_version"].value))
        assert f"]({shown['run_url']})" in str(metadata["mlflow_run"].value)
        assert f"]({shown['version_url']})" in str(metadata["mlflow_version"].value)
        assert metadata["model_key"].value == shown["model_key"]


def test_links_lead_to_mlflow_where_it_was_served_last(desk: Desk) -> None:
    configuration = desk.cappuccino.configuration
    configuration.mlflow_address_file.write_text("http://127.0.0.1:5477")
    facts = Cappuccino(configuration).registry.facts("1")
    configuration.mlflow_address_file.unlink()
    assert facts["version_url"] == f"http://127.0.0.1:5477/#/models/{configuration.model_name}/versions/1"
    assert facts["run_url"].startswith("http://127.0.0.1:5477/#/experiments/")
