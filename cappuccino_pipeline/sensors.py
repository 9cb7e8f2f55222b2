"""Sensors: deploy what an alias names; tell of failed runs; restart a trader that died, tell what is wrong with it."""

import json
import re
from collections.abc import Mapping
from typing import Any

import dagster as dg

from cappuccino_ml.core import Alert, CappuccinoError
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.runs import called

DEPLOYMENT = dg.AssetKey("paper_trader_deployment")
REPORT = dg.AssetKey("paper_trading_report")
_DIGITS = re.compile(r"\d+")


@dg.sensor(
    name="follow_aliases",
    target=dg.AssetSelection.groups("trading"),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="An alias was set, moved or removed in MLflow, by the pipeline or a person: the deployment follows.",
)
def follow_aliases(context: dg.SensorEvaluationContext, cappuccino: dg.ResourceParam[Cappuccino]) -> dg.SensorResult:
    """Request `paper_trader_deployment`, and its session, once per movement of `challenger` or `champion`."""
    return request_deployment(cursor=context.cursor, aliases=cappuccino.aliases())


def request_deployment(*, cursor: str | None, aliases: Mapping[str, str]) -> dg.SensorResult:
    """What to run after the registry's aliases (alias -> version) were read.

    The cursor keeps the aliases last seen and a sequence number. The number is part of the run key, because Dagster
    never runs a key twice: with `champion-v1` alone, a rollback to version 1 would silently not deploy.
    Removing an alias is a movement too: the deployment falls back to the other alias, or reports that none is left.
    """
    seen: dict[str, Any] = json.loads(cursor) if cursor else {"aliases": {}, "seq": 0}
    now = dict(sorted(aliases.items()))
    if now == seen["aliases"]:
        return dg.SensorResult(skip_reason=f"no alias moved since then: {aliases_text(now)}", cursor=cursor)
    seq = seen["seq"] + 1
    request = dg.RunRequest(
        run_key=f"aliases-{seq}-{'-'.join(f'{alias}-v{version}' for alias, version in now.items()) or 'none'}",
        asset_selection=[DEPLOYMENT, REPORT],
        tags={f"mlflow/{alias}": version for alias, version in now.items()},
    )
    return dg.SensorResult(run_requests=[request], cursor=json.dumps({"aliases": now, "seq": seq}))


def aliases_text(aliases: Mapping[str, str]) -> str:
    """`challenger v3, champion v2`, or `none yet`."""
    return ", ".join(f"{alias} v{version}" for alias, version in aliases.items()) or "none yet"


@dg.run_failure_sensor(
    name="run_failure_alert",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of each failed run: in the log, in alerts.jsonl of the state folder, and to the webhook.",
)
def run_failure_alert(context: dg.RunFailureSensorContext, cappuccino: dg.ResourceParam[Cappuccino]) -> None:
    """Leave the alert where a person, or a log shipper, finds it."""
    run = context.dagster_run
    cappuccino.alerts.send(
        Alert(
            when=cappuccino.clock.now(),
            source="run",
            reason=context.failure_event.message or "a run failed",
            about={"job": called(run), "run_id": run.run_id},
        )
    )
    cappuccino.alerts.close()


@dg.sensor(
    name="watch_trader",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Every minute: restarts a trader that is wanted and has died; tells once what is wrong at two looks.",
)
def watch_trader(context: dg.SensorEvaluationContext, cappuccino: dg.ResourceParam[Cappuccino]) -> dg.SensorResult:
    """A dead process can neither say that it is dead nor start itself."""
    from cappuccino_pipeline.supervision import keep_running  # noqa: PLC0415 - imports torch
    from cappuccino_pipeline.trader import problems  # noqa: PLC0415

    def tell(reason: str) -> None:
        cappuccino.alerts.send(Alert(when=cappuccino.clock.now(), source="trader", reason=reason))

    seen: dict[str, list[str]] = json.loads(context.cursor) if context.cursor else {"found": [], "told": []}
    try:
        did, found = keep_running(cappuccino), list[str]()
    except (CappuccinoError, OSError) as error:  # no memory, no disk: a person must hear of it
        did, found = "", [f"the trader cannot be looked after: {error}"]
    if did:
        tell(did)
    found += problems(cappuccino)
    kinds = [_DIGITS.sub("#", problem) for problem in found]  # a heartbeat's age is no news
    for kind, problem in zip(kinds, found, strict=True):
        if kind in seen["found"] and kind not in seen["told"]:
            tell(problem)
            seen["told"].append(kind)
    cappuccino.alerts.close()
    cursor = json.dumps({"found": kinds, "told": [kind for kind in seen["told"] if kind in kinds]})
    words = "; ".join(filter(None, [did, *found])) or "the trader is well, or nothing is deployed"
    return dg.SensorResult(skip_reason=words, cursor=cursor)
