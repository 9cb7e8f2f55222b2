"""Small invented results, made with the real constructors, for every picture and page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import BarPanel, Universe
from cappuccino_ml.encoder import SMALL, Epoch
from cappuccino_ml.encoder.skill import Skill
from cappuccino_ml.features import FEATURES, FeatureSchema, MarketTable
from cappuccino_ml.metrics import max_drawdown, summary
from cappuccino_ml.policy import AgentSettings, Iteration, PPOSettings, TrainingSettings
from cappuccino_ml.reports.page import Findings
from cappuccino_ml.study import DatasetConfig, SplitSettings, StudyResult, StudySettings, TrialResult, make_splits
from cappuccino_ml.verdict import (
    Finding,
    GateSettings,
    Reading,
    RegimeRule,
    Row,
    SuperiorSet,
    ValidationReport,
    judge,
    overfitting,
    regime_table,
    sharpe_interval,
    superior_set,
)
from cappuccino_ml.verdict.bootstrap import NotTestableError, paired_sharpe_test

from .invented import made_cross_validation, no_cross_validation
from .made_paper import make_paper

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 8760
UNIVERSE = Universe()
PER_YEAR = UNIVERSE.bars_per_year
ENCODER = SMALL.model_copy(update={"lookback": 10})


def stamps(rows: int) -> np.ndarray:
    return np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")


@pytest.fixture(scope="session")
def panel() -> BarPanel:
    random = np.random.default_rng(0)
    tickers = len(UNIVERSE.tickers)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.006, (ROWS, tickers)), axis=0))
    filled = random.random((ROWS, tickers)) < 0.002
    return BarPanel(UNIVERSE, stamps(ROWS), close, close * 1.01, close * 0.99, close, close, filled)


@pytest.fixture(scope="session")
def bars(panel: BarPanel) -> pd.DataFrame:
    rows, columns = np.nonzero(~panel.is_filled)
    frame = pd.DataFrame({"timestamp": panel.timestamps[rows], "close": panel.close[rows, columns]})
    return frame.assign(symbol=np.array(UNIVERSE.symbols)[columns], timestamp=frame["timestamp"].dt.tz_localize("UTC"))


@pytest.fixture(scope="session")
def market(panel: BarPanel) -> MarketTable:
    features = np.random.default_rng(1).standard_t(4, (600, len(UNIVERSE.tickers), len(FEATURES)))
    features[:300] = np.nan
    part = panel.slice(0, 600)
    return MarketTable(FeatureSchema.of(UNIVERSE), part.timestamps, features, part.open, part.close, ~part.is_filled)


@pytest.fixture(scope="session")
def histories() -> dict[str, list[Epoch]]:
    def line(epoch: int, floor: float) -> Epoch:
        loss = floor + 0.8 * float(np.exp(-epoch / 6))
        return Epoch(
            epoch=epoch,
            train_loss=loss * 1.05,
            validation_loss=loss,
            validation_loss_tokens=loss / 2,
            validation_loss_encoding=loss,
            learning_rate=1e-3,
        )

    floors = {"fold-0": 0.5, "fold-1": 0.46, "deployment": 0.44}
    return {name: [line(epoch, floor) for epoch in range(1, 25)] for name, floor in floors.items()}


@pytest.fixture(scope="session")
def skills() -> dict[str, Skill]:
    def skill(model: float) -> Skill:
        r2 = {"model": model, "mean": -0.012, "carry": 0.311, "ridge": 0.566}
        return Skill(rows=612, hidden=91_035, r2=r2, r2_by_feature={name: (value,) * 14 for name, value in r2.items()})

    return {"fold-0": skill(0.551), "fold-1": skill(0.623), "deployment": skill(0.648)}


@pytest.fixture(scope="session")
def curves() -> dict[str, list[list[Iteration]]]:
    random = np.random.default_rng(2)

    def run(level: float) -> list[Iteration]:
        return [
            Iteration(
                steps=(index + 1) * 2048,
                reward_bps=level * (1 - float(np.exp(-index / 15))) + float(random.normal(0, 0.3)),
                turnover=0.01,
                approx_kl=0.01,
                clipfrac=0.1,
                explained_variance=0.2,
                entropy=1.0,
                saturation=0.05,
            )
            for index in range(49)
        ]

    levels = {"mlp": 1.6, "ft_scratch": 1.1, "ft_pretrained": 1.9}
    return {arm: [run(level) for _ in range(4)] for arm, level in levels.items()}


def training(arm: Any) -> TrainingSettings:
    encoder = None if arm == "mlp" else ENCODER
    return TrainingSettings(agent=AgentSettings(arm=arm, lookback=10, encoder=encoder), ppo=PPOSettings(steps=100_000))


@pytest.fixture(scope="session")
def study() -> StudyResult:
    plan = [
        ("mlp", 1.21, 0.4),
        ("ft_pretrained", 1.64, 1.1),
        ("mlp", 0.35, -0.2),
        ("ft_scratch", -0.42, 0.1),
        ("mlp", 0.9, 1.3),
        ("ft_pretrained", 2.05, 0.77),
        ("mlp", None, None),
        ("ft_scratch", 0.6, 0.2),
    ]
    trials = tuple(
        TrialResult(
            number=number,
            arm=arm,
            state="failed" if one is None else "complete",
            value=None if one is None else (one + two) / 2,
            fold_sharpes=() if one is None else (one, two),
            fold_jobs=("a", "b"),
            turnover_per_day=0.1 + 0.02 * number,
            steps=200_704,
            parameters=700_000,
            params={"learning_rate": 3e-4},
            training=training(arm),
            error="PPO's loss is nan with learning_rate 0.001; lower it." if one is None else None,
        )
        for number, (arm, one, two) in enumerate(plan)
    )
    return StudyResult(key="5f0c2b7d9e114a3c", dataset_key="d3adb33f00c0ffee", settings=StudySettings(), trials=trials)


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """Net returns on the holdout, as `validate` gives them."""
    random = np.random.default_rng(5)
    bars = 1752
    market = random.normal(0.00003, 0.005, bars)
    columns = {"cash": np.zeros(bars)}
    beta_and_drift = {
        "ft": (0.5, 1.2e-4),
        "mlp": (0.5, 6e-5),
        "equal_weight": (0.9, 0),
        "buy_and_hold": (0.9, 0),
        "bitcoin": (0.4, 0),
        "inverse_volatility": (0.88, 0),
        "momentum": (0.5, -3e-5),
        "random": (0.3, -2e-4),
        "ridge": (0.4, -5e-5),
    }
    for name, (beta, drift) in beta_and_drift.items():
        columns[name] = beta * market + random.normal(drift, 0.0012, bars)
    extra = {"ft@dearer": columns["ft"] - 3e-5, "ft#turnover": np.full(bars, 0.012)}
    return pd.DataFrame({**columns, **extra}, index=pd.DatetimeIndex(stamps(ROWS)[6529 : 6529 + bars], tz="UTC"))


def made_trials(study: StudyResult, *, drift: float) -> tuple[np.ndarray, SuperiorSet]:
    """Active returns of the completed trials on 2,000 bars, and what StepM says of them."""
    active = np.random.default_rng(9).normal(drift, 0.003, (2000, len(study.completed)))
    numbers = tuple(trial.number for trial in study.completed)
    return active, superior_set(active=active, trials=numbers, seed=1, resamples=199)


def make_report(
    frame: pd.DataFrame,
    study: StudyResult,
    *,
    label: str,
    fresh: bool,
    gift: float,
    skilled: bool,
    crossed: bool,
) -> ValidationReport:
    """A report whose candidate earns `gift` per bar more than in `frame`."""
    returns = {name: frame[name].to_numpy() for name in frame.columns if not set("@#") & set(name)}
    returns["ft"] = returns["ft"] + gift
    bars = len(frame)
    active, superior = made_trials(study, drift=4e-4 if skilled else 0.0)
    verdict = judge(
        superior=superior,
        candidate_trial=5,
        candidate=returns["ft"],
        incumbent=returns["equal_weight"],
        incumbent_name="equal_weight",
        candidate_dearer=returns["ft"] - 3e-5,
        equal_weight_dearer=returns["equal_weight"] - 1e-6,
        drawdown=max_drawdown(returns["ft"]),
        turnover_per_day=0.288,
        bars_per_year=PER_YEAR,
        seed=1,
        settings=GateSettings(resamples=199),
    )

    def row(name: str) -> Row:
        performance = summary(
            returns=returns[name],
            bars_per_year=PER_YEAR,
            weights=np.full((bars, 1), 0.6),
            turnover=np.full(bars, 0.012),
            benchmark=returns["equal_weight"],
            saturation=np.full(bars, 0.05),
        )
        try:
            interval = sharpe_interval(returns[name], bars_per_year=PER_YEAR, seed=1, resamples=199).interval
        except NotTestableError:
            interval = None
        return Row(name=name, performance=performance, interval=interval, capacity=1_234_567.8)

    test = paired_sharpe_test(
        candidate=returns["ft"], incumbent=returns["mlp"], bars_per_year=PER_YEAR, seed=1, resamples=199
    )
    low, high = test.interval
    sentence = f"no difference between FT and MLP is shown: {test.difference:+.2f}, interval {low:+.2f} to {high:+.2f}."
    first = frame.index[0].to_pydatetime()
    return ValidationReport(
        study_key=study.key,
        dataset_key=study.dataset_key,
        label=label,
        candidate="ft",
        candidate_arm="ft_pretrained",
        candidate_key="0123456789abcdef",
        candidate_trial=5,
        development_sharpe=1.41,
        verdict=verdict,
        superior=superior,
        overfitting=overfitting(returns=active, candidate=4, bars_per_year=PER_YEAR, trials_counted=7 if fresh else 21),
        reading=Reading(
            study=study.key,
            data="x",
            first=first,
            last=first + timedelta(hours=bars - 1),
            bars=bars,
            policies=tuple(returns),
            trials=7,
            trials_so_far=7 if fresh else 21,
            fresh=fresh,
            fresh_bars=bars if fresh else 0,
            earlier_studies=() if fresh else ("aaaa", "bbbb"),
            sha256="0" * 64,
        ),
        rows=tuple(row(name) for name in returns),
        stress={"as judged": 1.234, "no costs": 2.345, "double costs": 0.456, "one bar later": -0.567},
        ft_against_mlp=Finding(ft_arm="ft_pretrained", test=test, sentence=sentence),
        cross_validation=made_cross_validation() if crossed else no_cross_validation(),
        regimes=regime_table(
            {**returns, **{f"{name}#turnover": np.full(bars, 0.012) for name in returns}},
            regimes=np.repeat(np.array([2, 0, 2], dtype=np.int8), [600, 500, bars - 1100]),
            rule=RegimeRule(),
            bars_per_year=PER_YEAR,
            seed=1,
            resamples=99,
        ),
        incumbent_note="no champion is set, so the better of cash and equal weight on the development rows",
    )


@pytest.fixture(scope="session")
def equity() -> pd.DataFrame:
    random = np.random.default_rng(7)
    backtest = 10_000 * np.cumprod(1 + random.normal(0.0001, 0.003, 169))
    trader = backtest * (1 + random.normal(0, 1e-8, 169))
    return pd.DataFrame({"timestamp": stamps(169), "trader": trader, "backtest": backtest})


@pytest.fixture(scope="session")
def make_findings(skills: dict[str, Skill], study: StudyResult, frame: pd.DataFrame) -> Callable[..., Findings]:
    """Findings of an invented run; the gift per bar decides the verdict."""
    report = cache(partial(make_report, frame, study))

    def make(
        *,
        label: str = "simulated",
        gift: float = 0.0,
        skilled: bool = True,
        fresh: bool = True,
        crossed: bool = True,
        session: str = "REHEARSAL",
        **changes: Any,
    ) -> Findings:
        dataset = DatasetConfig(
            label=label,
            source={"name": "simulated", "seed": 7, "variant": "planted", "version": 1},
            bars_manifest="m",
            feature_schema=FeatureSchema.of(UNIVERSE),
            first=FIRST,
            last=FIRST + timedelta(hours=ROWS - 1),
            bars_per_year=PER_YEAR,
            splits=make_splits(ROWS, SplitSettings()),
            code="c",
            key=study.dataset_key,
        )
        values: dict[str, Any] = {
            "market": "simulated-usd-1h",
            "budget": "small",
            "dataset": dataset,
            "skills": skills,
            "study": study,
            "validation": report(label=label, fresh=fresh, gift=gift, skilled=skilled, crossed=crossed),
            "model_name": "cappuccino-simulated-usd-1h",
            "version": "3",
            "aliases": {},
            "mlflow_url": "http://127.0.0.1:5000/#/experiments/1/runs/0a1b",
            "sensor": "no alias moved since then: none yet; nothing to deploy",
            "paper": make_paper(session, label=label),
            "pictures": {},
            "page": Path("/state/reports/simulated-usd-1h/page.html"),
            "lake_folder": Path("/state/bars"),
            "state_folder": Path("/state"),
            "wall_seconds": 251.0,
        }
        return Findings(**{**values, **changes})

    return make
