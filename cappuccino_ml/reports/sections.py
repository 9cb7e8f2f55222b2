"""The sections of the final page before the judgement, in the order of the way of the data: bars to trials."""

from datetime import datetime
from pathlib import Path

from cappuccino_ml.reports.blocks import Block, Facts, Picture, Section, Table, Text
from cappuccino_ml.reports.findings import STUDY_PICTURES, Findings, Judged
from cappuccino_ml.reports.words import day, interval, policy_name, signed, whole
from cappuccino_ml.study import Span, TrialResult
from cappuccino_ml.verdict import Row

_SHOWN = {
    "coverage": (
        "Prices and missing bars",
        "Prices over their first close (log scale); below, bars that the source does not have, and their number.",
    ),
    "feature_distributions": (
        "Distribution of the features",
        "Each feature per ticker: white dot median, thick line middle half, thin line 1st to 99th percentile.",
    ),
    "pretraining": (
        "Loss and skill of pre-training",
        "Loss while pre-training, and the variance of hidden entries that each predictor explains.",
    ),
    "feature_correlation": ("Correlation of the features", "Red moves together, blue against each other."),
    "feature_skill": (
        "Skill by feature",
        "The same share by feature: how much of it the encoder and its rivals fill in.",
    ),
    "attention": (
        "Where the encoder looks",
        "Attention of the encoder, as a multiple of an even share. It does not show what changes a decision.",
    ),
    "study_history": (
        "History",
        "Each large dot is a trial (mean over folds), each small one a fold, each hollow triangle a pruned trial.",
    ),
    "study_pruning": (
        "Pruning",
        "Each line is a trial, fold after fold; one that was given up ends at a triangle, below its side's median.",
    ),
    "study_arms": (
        "Arms side by side",
        "Each dot is a completed trial; the arms had the same folds and steps, and as many FT trials as mlp trials.",
    ),
    "study_importances": (
        "Hyper-parameter importance",
        "What sets the best quarter of the trials apart; a bar that stays below its mark may be chance.",
    ),
    "study_parallel": (
        "What was tried",
        "Each line is a completed trial through the parameters that every trial was asked, ordered by importance.",
    ),
    "study_ranges": (
        "Best ranges",
        "Grey: the range asked; blue: what CAPPUCCINO_SEARCH=best would keep of it, were this study all it knew.",
    ),
    "learning_curves": (
        "Learning",
        "All trials on all folds: reward of the exploring policy on its own training rows, which shows learning, not "
        "worth.",
    ),
    "drivers": (
        "What drives the decisions",
        "What moves the finalists' actions (integrated gradients, on rows they were fitted on), and attention: what an "
        "agent reacts to, not whether that pays.",
    ),
    "equity": (
        "Equity and drawdown",
        "Growth of 1 on the holdout, net of costs, and drawdown. Shaded: bull (green) and bear (red).",
    ),
    "intervals": (
        "Sharpe with its interval",
        "Net Sharpe a year on the holdout with its 95% interval; on top, the difference of the two finalists.",
    ),
    "cross_validation": (
        "Combinatorial paths",
        "Each dot is a combinatorial path of one seed; the line is the 95% interval of their mean.",
    ),
    "session": (
        "Trader and backtest",
        "The trader's equity on top of the backtest's, and the gap between the two.",
    ),
    "session_trades": ("Trades on the price", "Buys point up, sells down; the larger the mark, the larger the trade."),
}
_ARMS = ("mlp", "ft_scratch", "ft_pretrained")


def shown(name: str, path: Path) -> Picture:
    """A named picture with its heading and caption."""
    heading, caption = _SHOWN[name]
    return Picture(path, heading=heading, caption=caption)


def pictures_of(findings: Judged, *names: str) -> list[Block]:
    """Those of the named pictures that were drawn."""
    return [shown(name, findings.pictures[name]) for name in names if name in findings.pictures]


def row_of(findings: Judged, name: str) -> Row | None:
    """A policy's row on the holdout."""
    return next((row for row in findings.validation.rows if row.name == name), None)


def data(findings: Judged) -> Section:
    """Range, source and splits."""
    dataset, schema = findings.dataset, findings.dataset.feature_schema
    splits = dataset.splits
    source = ", ".join(f"{name} {value}" for name, value in dataset.source.items() if isinstance(value, str | int))
    spans = [
        ("before the first decision", (0, splits.development[0]), "warm-up of the indicators, first window"),
        *(
            span
            for index, fold in enumerate(splits.folds)
            for span in (
                (f"fold {index}, training", fold.train, "fit encoder, scaler and policy"),
                (f"fold {index}, test", fold.test, "score trials"),
            )
        ),
        ("development", splits.development, "refit the finalists"),
        ("holdout", splits.holdout, "judge, once"),
        ("paper window", splits.paper, "paper session"),
    ]
    rows = [[name, *_dates(findings, span), whole(span[1] - span[0]), use] for name, span, use in spans]
    return Section(
        "Data",
        [
            Facts(
                [
                    ("source", f"{findings.label} ({source})"),
                    ("range", f"{day(dataset.first)} to {day(dataset.last)}, UTC"),
                    ("bars", f"{whole(splits.rows)} per ticker, one every {schema.timeframe}"),
                    ("tickers", f"{', '.join(schema.tickers)} against {schema.quote}"),
                    ("data set", dataset.key),
                ]
            ),
            Table(
                ["rows", "from", "to", "bars", "used to"],
                rows,
                left=frozenset({0, 1, 2, 4}),
                caption=f"{whole(splits.gap)} bars are left out between any two spans: the longest window and the "
                "indicators' memory.",
            ),
            *pictures_of(findings, "coverage"),
        ],
    )


def features(findings: Findings) -> Section:
    """What the network is given."""
    schema = findings.dataset.feature_schema
    shape = f"{len(schema.features)} features of {len(schema.tickers)} tickers at every bar"
    return Section(
        "Features",
        [
            Facts(
                [
                    ("inputs", shape),
                    ("features", ", ".join(schema.features)),
                    ("schema", f"{schema.hash}, version {schema.version}"),
                ]
            ),
            *pictures_of(findings, "feature_distributions", "feature_correlation"),
        ],
    )


def pretraining(findings: Findings) -> Section:
    """Skill of the encoders beside predictors that see the same masked windows."""
    names = [
        name
        for name in ("model", "ridge", "carry", "mean")
        if any(name in skill.r2 for skill in findings.skills.values())
    ]
    titles = {"model": "encoder R2", "ridge": "ridge R2", "carry": "last value R2", "mean": "training mean R2"}
    rows = [
        [encoder, whole(skill.rows), whole(skill.hidden), *(signed(skill.r2.get(name), 3) for name in names)]
        for encoder, skill in findings.skills.items()
    ]
    ahead = sum(
        all(skill.r2["model"] > value for name, value in skill.r2.items() if name != "model")
        for skill in findings.skills.values()
    )
    return Section(
        "Pre-training",
        [
            Table(["encoder", "windows", "hidden entries", *(titles[name] for name in names)], rows),
            Text(
                f"{ahead} of {len(findings.skills)} encoders fill in hidden entries of later windows better than every "
                "baseline (R2: 1 is perfect, 0 as good as the entries' own mean). Filling in is not forecasting: this "
                "says nothing about returns."
            ),
            *pictures_of(findings, "pretraining", "feature_skill", "attention"),
        ],
    )


def comparison(findings: Judged) -> Section:
    """The A/B table: arms on the same folds, and the finalists on the holdout."""
    study, validation = findings.study, findings.validation
    rows: list[list[str]] = []
    strong: set[int] = set()
    for arm in _ARMS:
        trials = [trial for trial in study.trials if trial.arm == arm]
        if not trials:
            continue
        completed = [trial for trial in trials if trial.value is not None]
        values = [trial.value for trial in completed if trial.value is not None]
        holdout = row_of(findings, _side(arm)) if arm == _finalist_arm(findings, _side(arm)) else None
        if arm == validation.candidate_arm:
            strong.add(len(rows))
        rows.append(
            [
                arm,
                f"{len(trials)} ({_count(trials, 'pruned')}, {_count(trials, 'failed')})",
                whole(sum(trial.steps for trial in trials)),
                signed(max(values, default=None)),
                signed(_mean(values)),
                _turnover(completed),
                signed(holdout.performance.annual_sharpe) if holdout else "no finalist",
                interval(holdout.interval) if holdout else "",
            ]
        )
    header = ["arm", "trials (pruned, failed)", "steps", "best", "mean", "turnover/day", "holdout", "95% interval"]
    blocks: list[Block] = [
        Table(
            header,
            rows,
            strong=frozenset(strong),
            caption="best, mean: net Sharpe a year, mean over the folds' test rows. steps: environment steps. "
            "turnover: share of equity, on the folds. The best of many trials is flattered by the choice; the "
            "holdout was not part of it.",
        ),
        Text(
            f"Candidate: trial {validation.candidate_trial}, arm {validation.candidate_arm}, "
            f"{signed(validation.development_sharpe)} on the folds. Study {study.key}, budget {findings.budget}, "
            f"{study.settings.trials_per_side} trials a side."
        ),
    ]
    if validation.ft_against_mlp is not None:
        found = validation.ft_against_mlp
        words = found.sentence[:1].upper() + found.sentence[1:]
        blocks.append(Text(f"FT-Transformer ({found.ft_arm}) against MLP on the holdout: {words}"))
    errors = sorted({trial.error for trial in study.trials if trial.error})
    blocks += [Text(f"Failed: {error}", "warning") for error in errors]
    return Section("A/B: FT-Transformer against MLP", [*blocks, *pictures_of(findings, "study_arms", "drivers")])


def search(findings: Judged) -> Section:
    """What the study tried, how it went, and what mattered."""
    study, settings = findings.study, findings.study.settings
    found = settings.narrowing
    origin = f", narrowed around {len(found.winners)} winners of {len(found.studies)} studies" if found else ""
    pruning = "never" if settings.prune_after is None else f"after {settings.prune_after} earlier trials of its side"
    rows = [
        ("ranges", f"{settings.search}{origin}"),
        ("trials", ", ".join(f"{study.count(state)} {state}" for state in ("complete", "pruned", "failed"))),
        ("asked", f"{settings.generation} at a time; a trial may be pruned {pruning}"),
        ("steps of a fold", whole(settings.space.steps)),
    ]
    drawn = pictures_of(findings, *(name for name in STUDY_PICTURES if name != "study_arms"))
    return Section("Study: what was tried", [Facts(rows), *drawn])


def finalist_label(findings: Judged, name: str) -> str:
    """Name of a policy, with the arm where it is a finalist."""
    arm = _finalist_arm(findings, name)
    return policy_name(name) if arm in (None, name) else f"{policy_name(name)} ({arm})"


def _side(arm: str) -> str:
    return "mlp" if arm == "mlp" else "ft"


def _finalist_arm(findings: Judged, side: str) -> str | None:
    validation = findings.validation
    if row_of(findings, side) is None or side not in ("ft", "mlp"):
        return None
    if side == "mlp":
        return "mlp"
    if validation.ft_against_mlp is not None:
        return validation.ft_against_mlp.ft_arm
    return validation.candidate_arm


def _count(trials: list[TrialResult], state: str) -> int:
    return sum(trial.state == state for trial in trials)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _turnover(completed: list[TrialResult]) -> str:
    mean = _mean([trial.turnover_per_day for trial in completed])
    return "-" if mean is None else f"{100 * mean:.1f}%"


def _dates(findings: Judged, span: Span) -> list[str]:
    return [day(_time(findings, span[0])), day(_time(findings, max(span[0], span[1] - 1)))]


def _time(findings: Judged, row: int) -> datetime:
    """Open of a row: rows are evenly spaced."""
    return findings.dataset.first + row * findings.dataset.feature_schema.universe.bar
