"""The status page as an asset, beside the reports: what a person opens first in the morning."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.registry import incumbent_refit
from cappuccino_pipeline.assets.trading import paper_trading_report
from cappuccino_pipeline.jobs import NIGHTLY_TAG
from cappuccino_pipeline.metadata import OWNERS
from cappuccino_pipeline.resources import Cappuccino


@dg.asset(
    group_name="reports",
    deps=[incumbent_refit, paper_trading_report],
    owners=OWNERS,
    kinds={"html"},
    code_version=code_version("registry", "reports"),
    tags={"stage": "reports", **NIGHTLY_TAG},
)
def status(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.MaterializeResult[None]:
    """Where we stand, on one page: how fresh data and encoder are, what was decided, what trades, what went wrong.

    The same facts as `cappuccino status`, of the moment it was materialized; every night with the retraining.
    """
    from cappuccino_pipeline import status as view  # noqa: PLC0415

    known = view.standing(cappuccino)
    written = view.page(cappuccino, known, cappuccino.configuration.reports_root / view.FILE)
    troubles = [fact for fact in known if fact.tone in ("bad", "warning")]
    return dg.MaterializeResult(
        metadata={
            "asks_for_attention": dg.MetadataValue.md(
                "\n".join(f"- **{one.name}**: {one.words}" for one in troubles) or "nothing"
            ),
            **{fact.name.replace(" ", "_"): fact.words for fact in known},
            "page": dg.MetadataValue.path(str(written)),
        }
    )
