"""What a person is told to look at in the trader's health, and when all is well."""

from datetime import UTC, datetime

import pytest

from cappuccino_ml.trading import Deployment, Health, health_problems

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def health(**facts: object) -> Health:
    known = {"state": "ACTIVE", "pid": 1, "market": "toy", "broker": "simulated", "model_version": "3"}
    return Health.model_validate({**known, "started": NOW, "heartbeat": NOW, **facts})


def problems_of(health: Health | None, *, deployed: str | None = "3", wanted: str | None = "3") -> list[str]:
    record = None
    if deployed is not None:
        record = Deployment.model_construct(version=deployed)
    return health_problems(health, deployment=record, wanted_version=wanted, now=NOW)


def test_all_is_well() -> None:
    assert problems_of(health()) == []
    assert problems_of(None, deployed=None, wanted=None) == []


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"heartbeat": datetime(2026, 1, 5, 11, 54, tzinfo=UTC)}, "heartbeat is 360 s old"),
        ({"state": "HALTED", "why": "our book says 1, the broker 0"}, "our book says"),
        ({"state": "CRASHED", "why": "KeyError"}, "crashed: KeyError"),
        ({"state": "STOPPED"}, "was stopped at"),
        ({"model_version": "2"}, "version 3 is deployed, but 2 trades"),
        ({"feed_is_stale": True}, "the feed is stale"),
    ],
)
def test_each_is_named(facts: dict[str, object], word: str) -> None:
    (problem,) = problems_of(health(**facts))
    assert word in problem


def test_alias_and_deployment_that_differ() -> None:
    (problem,) = problems_of(health(), wanted="4")
    assert "name version 4, but 3 is deployed" in problem


def test_a_deployed_model_that_nobody_trades() -> None:
    (problem,) = problems_of(None)
    assert "has never run" in problem


def test_where_no_bar_comes_by_the_clock_a_trader_that_does_not_run_is_no_problem() -> None:
    record = Deployment.model_construct(version="3")
    for said in (None, health(state="STOPPED")):
        assert health_problems(said, deployment=record, wanted_version="3", now=NOW, by_clock=False) == []
    (problem,) = health_problems(None, deployment=record, wanted_version="4", now=NOW, by_clock=False)
    assert "name version 4, but 3 is deployed" in problem
