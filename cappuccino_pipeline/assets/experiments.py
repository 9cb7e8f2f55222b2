"""The experiments: ablation, transfer and market regimes. They inform people, decide nothing, and read no holdout."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.training import pretrained_encoder
from cappuccino_pipeline.assets.verdict import validation_report
from cappuccino_pipeline.grounds import grounds_of
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino

if TYPE_CHECKING:
    from cappuccino_ml.verdict import VariantScore

_HEADER = ["variant", "factor", "net Sharpe, mean", "95% over seeds", "runs", "turnover/day", "drawdown, worst"]
_COMMON: dict[str, Any] = {"group_name": "reports", "owners": OWNERS, "tags": {"stage": "reports"}}
_TRAINED = code_version("features", "environment", "encoder", "policy", "study", "verdict")


@dg.asset(deps=[pretrained_encoder], code_version=_TRAINED, kinds={"pytorch"}, **_COMMON)
def ablation_study(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """One factor at a time: tokenization, fusion, pre-training, freezing, lookback; equal steps, several seeds each.

    Trained and measured on the last fold, so no holdout is used up. Nothing is tuned per variant.
    """
    from cappuccino_ml.core import write_json  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import encoder_jobs, run_ablation  # noqa: PLC0415
    from cappuccino_ml.verdict import judge_variants  # noqa: PLC0415

    configuration, dataset, settings = cappuccino.configuration, cappuccino.dataset, cappuccino.plan.ablation
    folds = dataset.splits.folds
    encoders = encoder_jobs(dataset, cappuccino.plan.encoder, root=configuration.encoders_root)
    root = configuration.experiments_root / "ablation"
    found = run_ablation(
        dataset,
        settings,
        encoder=encoders[f"fold-{len(folds) - 1}"],
        fold=folds[-1],
        root=root,
        workers=configuration.workers,
        say=lambda line: context.log.info(cappuccino.say(f"ablation {line}")),
    )
    scores = judge_variants(
        [case.variant for case in found.cases],
        found.runs,
        root=root,
        bars_per_year=found.bars_per_year,
        seed=settings.seed,
        masked_r2=found.encoder_r2,
    )
    reports = configuration.reports_root
    write_json(reports / "ablation_study.json", [score.model_dump(mode="json") for score in scores])
    extra = ["masked R2", "ridge", "parameters", "wall s"]
    return dg.MaterializeResult(
        metadata={
            "source": found.label,
            "steps": settings.steps,
            "seeds": settings.seeds,
            "bars_measured": found.runs[0].bars,
            "variants": markdown_table(
                [*_HEADER, *extra],
                [
                    [
                        *_cells(score),
                        _number(score.masked_r2, ".3f"),
                        _number(found.ridge_r2.get(score.name), ".3f"),
                        f"{score.parameters:,}",
                        _number(score.wall_s, ".1f"),
                    ]
                    for score in scores
                ],
            ),
            "differences": _differences(scores),
            "what_it_shows": _SHOWS,
            "intervals": picture(pictures.ablation(scores=scores, label=found.label, path=reports / "ablation.png")),
            "result": dg.MetadataValue.path(str(reports / "ablation_study.json")),
        }
    )


@dg.asset(deps=[pretrained_encoder], code_version=_TRAINED, kinds={"pytorch"}, **_COMMON)
def transfer_study(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """A pre-trained encoder used on finer bars and on tickers it never saw, on time after everything it saw.

    Beside it at equal steps: pre-trained there, from scratch, and mlp. What a source cannot give is said, not left out.
    """
    from cappuccino_ml.core import write_json  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import run_transfer  # noqa: PLC0415
    from cappuccino_ml.verdict import judge_variants  # noqa: PLC0415

    configuration, dataset, settings = cappuccino.configuration, cappuccino.dataset, cappuccino.plan.transfer
    root = configuration.experiments_root / "transfer"
    grounds, missing = grounds_of(cappuccino, dataset, root=root, tell=context.log.info)
    for line in missing:
        context.log.info(cappuccino.say(f"transfer {line}"))
    results = run_transfer(
        grounds,
        settings,
        root=root,
        workers=configuration.workers,
        say=lambda line: context.log.info(cappuccino.say(f"transfer {line}")),
    )
    scores = {
        result.name: judge_variants(
            result.variants, result.runs, root=root, bars_per_year=result.bars_per_year, seed=settings.seed
        )
        for result in results
    }
    reports, label = configuration.reports_root, dataset.config.label
    metadata: dict[str, Any] = {
        "source": label,
        "steps": settings.steps,
        "seeds": settings.seeds,
        "not_done": dg.MetadataValue.md("\n".join(f"- {line}" for line in missing) or "nothing"),
        "what_it_shows": _SHOWS,
        "result": dg.MetadataValue.path(str(reports / "transfer_study.json")),
    }
    stored = {
        "not_done": missing,
        "grounds": [result.model_dump(mode="json") for result in results],
        "scores": {name: [score.model_dump(mode="json") for score in found] for name, found in scores.items()},
    }
    write_json(reports / "transfer_study.json", stored)
    if results:
        r2 = list(results[0].skill.r2)
        metadata["masked_r2"] = markdown_table(
            ["ground", *r2], [[result.name, *(f"{result.skill.r2[name]:.3f}" for name in r2)] for result in results]
        )
        header = ["ground", "schemas (hash)", "read as", "encoder saw until", "trained from", "tested"]
        metadata["transfers"] = markdown_table(
            header,
            [
                [
                    result.name,
                    f"{result.source_schema} to {result.target_schema}",
                    ", ".join(f"{ticker} as {seen}" for ticker, seen in result.read_as.items()),
                    f"{result.source_until:%Y-%m-%d %H:%M}",
                    f"{result.trained_from:%Y-%m-%d %H:%M}",
                    f"{result.tested_from:%Y-%m-%d} to {result.tested_until:%Y-%m-%d}",
                ]
                for result in results
            ],
        )
        metadata["policies"] = markdown_table(
            ["ground", *_HEADER], [[name, *_cells(score)] for name, found in scores.items() for score in found]
        )
        metadata["differences"] = _differences([score for found in scores.values() for score in found])
        drawn = pictures.transfer(
            scores=scores,
            skills={result.name: result.skill for result in results},
            label=label,
            path=reports / "transfer.png",
        )
        metadata["curves"] = picture(drawn)
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    deps=[validation_report],
    code_version=code_version("environment", "metrics", "verdict"),
    kinds={"numpy"},
    **_COMMON,
)
def regime_benchmark(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The best FT and mlp policies and the baselines in bull, bear and sideways markets, by a stated causal rule.

    On the folds' test rows, and on the holdout as its stored first reading has it: no bar is read again.
    """
    from cappuccino_ml.core import write_json  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import load_study  # noqa: PLC0415
    from cappuccino_ml.verdict import HoldoutLedger  # noqa: PLC0415
    from cappuccino_ml.verdict import regime_benchmark as benchmark  # noqa: PLC0415

    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    folder = cappuccino.current.folder("optuna_study")
    study = load_study(folder)
    stored = HoldoutLedger(configuration.verdicts_root / "holdouts").recall(study.key)
    context.log.info(cappuccino.say(f"regimes of {len(study.completed)} finished trials' best, and of the baselines"))
    found = benchmark(
        dataset=dataset,
        study=study,
        study_folder=folder,
        holdout=None if stored is None else stored[1],
        rule=cappuccino.plan.regimes,
        seed=configuration.seed,
    )
    reports = configuration.reports_root
    write_json(reports / "regime_benchmark.json", found)
    header = [
        "policy",
        "regime",
        "bars",
        "stretches",
        "net Sharpe",
        "95% over time",
        "return",
        "drawdown",
        "turnover/day",
    ]
    tables = {
        span.name: markdown_table(
            header,
            [
                [
                    row.policy,
                    score.regime,
                    score.bars,
                    score.stretches,
                    _number(score.sharpe, "+.2f"),
                    _interval(score.interval),
                    f"{score.total_return:+.1%}",
                    f"{score.max_drawdown:.1%}",
                    _number(score.turnover_per_day, ".2f"),
                ]
                for row in span.rows
                for score in row.scores
            ],
        )
        for span in found.spans
    }
    return dg.MaterializeResult(
        metadata={
            "source": found.label,
            "rule": found.rule.sentence,
            "study_key": found.study_key,
            "not_done": found.said or "nothing",
            **tables,
            "what_it_shows": found.shows,
            "picture": picture(pictures.regimes(benchmark=found, path=reports / "regimes.png")),
            "result": dg.MetadataValue.path(str(reports / "regime_benchmark.json")),
        }
    )


_SHOWS = (
    "One span of one market. An interval over seeds is the luck of training, one over time the luck of these bars. "
    "Many differences stand side by side and none is corrected for that; nothing here promotes a model."
)


def _cells(score: "VariantScore") -> list[object]:
    return [
        score.name,
        score.factor,
        f"{score.mean:+.2f}",
        _interval(score.over_seeds),
        ", ".join(f"{sharpe:+.2f}" for sharpe in score.sharpes),
        f"{score.turnover_per_day:.2f}",
        f"{score.max_drawdown:.1%}",
    ]


def _differences(scores: "Sequence[VariantScore]") -> dg.MarkdownMetadataValue:
    lines = [f"- {one.sentence}" for score in scores for one in score.against.values()]
    return dg.MetadataValue.md("\n".join(lines))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
