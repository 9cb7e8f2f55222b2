"""Net Sharpe against environment steps of the three arms, on planted markets or on a folder of real bars."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import markets
from cappuccino_ml.encoder import SMALL, PretrainingSettings
from cappuccino_ml.reports import pictures
from cappuccino_ml.study import (
    ComparisonSettings,
    EncoderPlan,
    comparison_jobs,
    encoder_jobs,
    fit_encoder,
    run_comparison,
)
from cappuccino_ml.study.workers import run_jobs
from cappuccino_ml.verdict import sample_efficiency


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, help="folder of real bars; without it, planted markets")
    parser.add_argument("--quote", default="USDT", help="quote currency of the files")
    parser.add_argument("--seeds", type=int, default=5, help="planted: markets, one agent each; real: agents")
    parser.add_argument("--first-market", type=int, default=101, help="seed of the first planted market")
    parser.add_argument("--steps", type=int, nargs="+", default=[50_000, 300_000])
    parser.add_argument("--epochs", type=int, default=10, help="of pre-training")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state", type=Path, required=True, help="folder for data sets, encoders and agents")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)

    root = arguments.state
    if arguments.bars:
        seeds = range(0)
        datasets = [markets.files(root / "datasets", arguments.bars, quote=arguments.quote)]
    else:
        seeds = range(arguments.first_market, arguments.first_market + arguments.seeds)
        datasets = [markets.planted(root / "datasets", seed=seed) for seed in seeds]
    settings = ComparisonSettings(steps=tuple(arguments.steps), seeds=arguments.seeds if arguments.bars else 1)
    plan = EncoderPlan(
        encoder=SMALL.model_copy(update={"lookback": 6}),
        pretraining=PretrainingSettings(epochs=arguments.epochs, learning_rate=3e-3, batch_size=64),
    )
    name = f"fold-{len(datasets[0].splits.folds) - 1}"
    encoders = [encoder_jobs(dataset, plan, root=root / "encoders")[name] for dataset in datasets]
    r2 = {}
    for job, loaded in run_jobs(fit_encoder, encoders, workers=arguments.workers):
        r2[job.dataset_key] = loaded.config.skill.r2["model"]
        say(f"encoder: masked R2 {r2[job.dataset_key]:.3f}, ridge {loaded.config.skill.r2['ridge']:.3f}")
    jobs = [
        comparison_jobs(dataset, settings, encoder=encoder, fold=dataset.splits.folds[-1], root=root / "agents")
        for dataset, encoder in zip(datasets, encoders, strict=True)
    ]
    comparison = run_comparison(
        jobs,
        settings,
        label=datasets[0].config.label,
        encoder_r2=r2,
        bars_per_year=datasets[0].config.bars_per_year,
        workers=arguments.workers,
        say=say,
    )
    judged = sample_efficiency(comparison, root=root / "agents", seed=7)
    train, test = datasets[0].splits.folds[-1]
    say(f"\n{judged.label}: trained on {train[1][1] - train[1][0]:,} bars, measured on the {test[1][1] - test[1][0]:,}")
    say("bars after a gap; net of 25 bps per side; annual Sharpe; 95% intervals of the mean over runs")
    header = f"{'arm':14}{'steps':>10}{'mean':>8}{'interval':>18}{'turnover/day':>14}{'parameters':>12}  runs"
    say(header)
    for point in judged.points:
        between = "" if point.over_seeds is None else f"{point.over_seeds[0]:+.2f} .. {point.over_seeds[1]:+.2f}"
        runs = " ".join(f"{sharpe:+.2f}" for sharpe in point.sharpes)
        say(
            f"{point.arm:14}{point.steps:>10,}{point.mean:>+8.2f}{between:>18}{point.turnover_per_day:>14.2f}"
            f"{point.parameters:>12,}  {runs}"
        )
    if not arguments.bars:
        found = [markets.yardsticks(dataset, seed=seed) for seed, dataset in zip(seeds, datasets, strict=True)]
        for name in found[0]:
            sharpes = [one[name] for one in found]
            say(f"{name:24}{sum(sharpes) / len(sharpes):>+8.2f}{'':44}  {' '.join(f'{x:+.2f}' for x in sharpes)}")
    for difference in judged.differences:
        say(difference.sentence)
    say(judged.claim)
    if arguments.picture:
        pictures.sample_efficiency(judged=judged, path=arguments.picture)
    print(json.dumps({f"{p.arm}_{p.steps}": round(p.mean, 2) for p in judged.points}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
