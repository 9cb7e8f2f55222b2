"""The training stage: a frozen data set, and the encoders pre-trained on its training rows."""

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.features import indicators
from cappuccino_pipeline.dataset_form import DatasetForm
from cappuccino_pipeline.freshness import while_bars_come
from cappuccino_pipeline.jobs import NIGHTLY_TAG
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import Step

if TYPE_CHECKING:
    from cappuccino_ml.features import MarketTable


@dg.asset(
    group_name="training",
    deps=[dg.AssetDep(indicators, partition_mapping=dg.AllPartitionMapping())],
    code_version=code_version("bars", "features", "study"),
    owners=OWNERS,
    kinds={"parquet"},
    tags={"stage": "training", **NIGHTLY_TAG},
)
def training_dataset(config: DatasetForm, cappuccino: dg.ResourceParam[Cappuccino]) -> dg.MaterializeResult[None]:
    """A frozen copy of bars and features with its folds, holdout and paper window: later revisions cannot change it."""
    from cappuccino_ml.features import MarketTable  # noqa: PLC0415
    from cappuccino_ml.study import freeze_dataset, make_splits  # noqa: PLC0415

    start, end = config.span()
    panel = cappuccino.panel(start=start, end=end)
    market = MarketTable.from_panel(panel)
    dataset = freeze_dataset(
        cappuccino.configuration.datasets_root,
        market=market,
        splits=make_splits(len(market), cappuccino.plan.splits),
        label=cappuccino.source.label,
        source=cappuccino.source.identity(),
        bars_manifest=cappuccino.bars.manifest_hash(),
        bars_per_year=cappuccino.configuration.universe.bars_per_year,
        volume=panel.volume,
    )
    cappuccino.current.point("training_dataset", dataset.folder)
    cappuccino.current.choose_budget(config.budget.value)
    splits = dataset.splits
    spans = [(f"fold {i} {part}", span) for i, fold in enumerate(splits.folds) for part, span in fold]
    spans += [("development", splits.development), ("holdout", splits.holdout), ("paper window", splits.paper)]
    rows = [
        [name, f"{dataset.time(a):%Y-%m-%d %H:%M}", f"{dataset.time(b):%Y-%m-%d %H:%M}", b - a]
        for name, (a, b) in spans
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(dataset.key),
        metadata={
            "source": dataset.config.label,
            "dataset_key": dataset.key,
            "dagster/row_count": len(market),
            "budget": cappuccino.budget,
            "gap_bars": splits.gap,
            "splits": markdown_table(["span", "first decision (UTC)", "last mark (UTC)", "bars"], rows),
            "schema_hash": market.schema.hash,
            "bars_manifest": dataset.config.bars_manifest[:16],
            "folder": dg.MetadataValue.path(str(dataset.folder)),
        },
    )


@dg.asset_check(asset=training_dataset, blocking=True)
def check_environment(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """The environment on these very rows is repeatable, fresh after reset, exact in money and blind to the future."""
    from cappuccino_ml.environment import Reward, VectorEnv, of_rollouts  # noqa: PLC0415
    from cappuccino_ml.environment import check_environment as check  # noqa: PLC0415

    dataset, space = cappuccino.dataset, cappuccino.plan.study.space
    first, last = dataset.splits.folds[0].train

    def make(market: "MarketTable") -> of_rollouts:
        prices = {"open_": market.open, "close": market.close, "tradable": market.tradable}
        rules = {"layout": space.layout, "guards": space.guards, "costs": space.costs}
        return of_rollouts(VectorEnv(first=first, last=last, reward=Reward(), seed=0, **rules, **prices))

    report = check(make, dataset.market)
    return dg.AssetCheckResult(
        passed=report.passed,
        metadata={
            "findings": markdown_table(["kind", "finding"], [[each.kind, each.message] for each in report.findings]),
            "books": report.books,
            "steps": report.steps,
        },
    )


@dg.asset(
    group_name="training",
    deps=[training_dataset],
    code_version=code_version("features", "encoder"),
    owners=OWNERS,
    kinds={"pytorch"},
    tags={"stage": "training"},
    freshness_policy=while_bars_come(warn=timedelta(days=35), fail=timedelta(days=90)),
)
def pretrained_encoder(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """FT-Transformers that learned the market by filling in hidden entries: one per fold, one for deployment.

    Each saw its own training rows only, so no test row ever shapes an encoder.
    """
    from cappuccino_ml.encoder import read_history  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import DEPLOYMENT, encoder_jobs, fit_encoder, run_jobs, where_it_looks  # noqa: PLC0415

    dataset = cappuccino.dataset
    jobs = encoder_jobs(dataset, cappuccino.plan.encoder, root=cappuccino.configuration.encoders_root)
    epochs = cappuccino.plan.encoder.pretraining.epochs
    context.log.info(cappuccino.say(f"pre-training {len(jobs)} encoders, at most {epochs} epochs each"))
    configs = {}
    cappuccino.watch(Step("encoder", 0, len(jobs)))
    for job, loaded in run_jobs(fit_encoder, jobs.values(), workers=cappuccino.configuration.workers):
        configs[job.name] = loaded.config
        count, r2 = f"encoder {len(configs)}/{len(jobs)}", loaded.config.skill.r2["model"]
        context.log.info(cappuccino.say(f"{count}  {job.name}: masked R2 {r2:.3f}"))
    cappuccino.current.point("pretrained_encoder", jobs[DEPLOYMENT].folder)
    skills = {name: configs[name].skill for name in jobs}
    drawn = pictures.pretraining(
        histories={name: read_history(job.folder) for name, job in jobs.items()},
        skills=skills,
        label=dataset.config.label,
        path=cappuccino.configuration.reports_root / "pretraining.png",
    )
    by_feature = pictures.feature_skill(
        skills=skills,
        features=dataset.market.schema.features,
        label=dataset.config.label,
        path=cappuccino.configuration.reports_root / "feature_skill.png",
    )
    attention = pictures.attention(
        weights=where_it_looks(jobs[DEPLOYMENT], dataset),
        tickers=dataset.market.schema.tickers,
        features=dataset.market.schema.features,
        label=dataset.config.label,
        path=cappuccino.configuration.reports_root / "attention.png",
    )
    methods = list(next(iter(skills.values())).r2)
    rows = [[name, *(f"{skill.r2[method]:.3f}" for method in methods)] for name, skill in skills.items()]
    return dg.MaterializeResult(
        metadata={
            "source": dataset.config.label,
            "masked_r2": markdown_table(["encoder", *methods], rows),
            "curves": picture(drawn),
            "masked_r2_by_feature": picture(by_feature),
            "attention": picture(attention),
            "folders": dg.MetadataValue.json({name: str(job.folder) for name, job in jobs.items()}),
        }
    )
