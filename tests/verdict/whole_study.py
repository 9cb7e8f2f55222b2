"""A whole toy study, from bars to the stored verdict."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.environment import Guards, Layout
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import Actor
from cappuccino_ml.study import (
    CrossValidationSettings,
    EncoderPlan,
    SearchSpace,
    SplitSettings,
    StudySettings,
    bars_identity,
    cross_validate,
    encoder_jobs,
    finalist_job,
    fit,
    fit_encoder,
    freeze_dataset,
    make_splits,
    measured_trials,
    read_paths,
    run_jobs,
    run_study,
)
from cappuccino_ml.verdict import Finalist, GateSettings, HoldoutLedger, store_report, validate

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
SPLITS = SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=40)
ENCODER = EncoderSettings(lookback=2, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16)
PLAN = EncoderPlan(encoder=ENCODER, pretraining=PretrainingSettings(epochs=1, batch_size=64))
STUDY = StudySettings(
    trials_per_side=2,
    generation=2,
    space=SearchSpace(
        steps=1024,
        net_dimension=(16, 32),
        net_dimension_step=16,
        batch_size=(64, 128),
        lookback=(1, 2),
        ft_d_token=(8, 16),
        ft_n_heads=(1, 2),
        ft_encoding_dim=16,
        layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32),
        guards=Guards(dead_band=0.0),
    ),
)


def whole_study(root: Path, *, workers: int) -> Path:
    """Run what is not finished -> folder of the stored report."""
    source, start, end = SimulatedSource(seed=7), datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    parts = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=start, end=end).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    panel = align(pd.concat(parts), UNIVERSE)
    market = MarketTable.from_panel(panel)
    dataset = freeze_dataset(
        root / "datasets",
        market=market,
        splits=make_splits(len(market), SPLITS),
        label="simulated",
        source=source.identity(),
        bars_manifest="0" * 64,
        bars_per_year=UNIVERSE.bars_per_year,
        volume=panel.volume,
    )
    encoders = encoder_jobs(dataset, PLAN, root=root / "encoders")
    for _ in run_jobs(fit_encoder, encoders.values(), workers=workers):
        pass
    studies = root / "studies"
    study = run_study(dataset, STUDY, encoders=encoders, root=studies, workers=workers, say=print)
    trials = {side: study.best(side) for side in ("ft", "mlp")}
    jobs = {side: finalist_job(dataset, study, trials[side], encoders=encoders, root=studies) for side in trials}
    for _ in run_jobs(fit, jobs.values(), workers=workers):
        pass
    report, _ = validate(
        dataset=dataset,
        study=study,
        trials=read_paths(studies / study.key, study=study, folds=dataset.splits.folds),
        finalists={
            side: Finalist(trial=trials[side], actor=Actor.load(job.folder / "agent"), folder=job.folder / "agent")
            for side, job in jobs.items()
        },
        champion=None,
        ledger=HoldoutLedger(root / "verdicts" / "holdouts"),
        gate=GateSettings(resamples=199),
        cross=cross_validate(
            dataset,
            trials,
            CrossValidationSettings(seeds=1, groups=3),
            pretraining=PLAN.pretraining,
            seed=STUDY.seed,
            encoders_root=root / "encoders",
            root=studies / study.key / "cross_validation",
            workers=workers,
            say=print,
        ),
        measured=measured_trials(
            studies,
            datasets_root=root / "datasets",
            data=bars_identity(dataset.config.model_dump(mode="json")),
        ),
    )
    return store_report(root / "verdicts", report=report)
