"""The sections of the final page on what it was worth: baselines, verdict, registry, paper session, where to look."""

from cappuccino_ml.reports.blocks import Block, Facts, Link, Points, Section, Table, Text, Tone
from cappuccino_ml.reports.findings import Findings, Judged
from cappuccino_ml.reports.paper import TONES, criteria
from cappuccino_ml.reports.robustness import cross_validation, differences, regimes
from cappuccino_ml.reports.sections import finalist_label, pictures_of
from cappuccino_ml.reports.style import is_simulated
from cappuccino_ml.reports.words import NOTHING, day, interval, plain, policy_name, share, signed, whole
from cappuccino_ml.verdict import Clause, Overfitting, Row

_TONES: dict[str, Tone] = {
    "win": "good",
    "inconclusive": "warning",
    "reject": "bad",
    **TONES,
}


def tone_of(word: str) -> Tone:
    """How a verdict or recommendation is coloured."""
    return _TONES[word]


def baselines(findings: Judged) -> Section:
    """Every policy on the holdout, and the candidate under stress."""
    validation = findings.validation
    ordered = sorted(validation.rows, key=lambda row: -row.performance.annual_sharpe)
    rows = [
        [
            finalist_label(findings, row.name),
            signed(row.performance.annual_sharpe),
            interval(row.interval),
            share(row.performance.total_return),
            share(row.performance.max_drawdown, sign=False),
            share(row.performance.exposure, sign=False),
            share(row.performance.turnover_per_day, sign=False),
        ]
        for row in ordered
    ]
    strong = frozenset(index for index, row in enumerate(ordered) if row.name == validation.candidate)
    costs = next(t for t in findings.study.trials if t.number == validation.candidate_trial).training.costs
    return Section(
        "Holdout: beside the baselines",
        [
            Table(
                ["policy", "Sharpe", "95% interval", "return", "drawdown", "invested", "turnover/day"],
                rows,
                strong=strong,
                caption=f"Net of {costs.fee_bps:g} bps fee and {costs.slippage_bps:g} bps slippage per side, over "
                f"{whole(validation.reading.bars)} bars, {day(validation.reading.first)} to "
                f"{day(validation.reading.last)}. Sharpe: a year. Drawdown, invested, turnover: share of equity.",
            ),
            Table(
                ["beside equal weight", "alpha", "beta", "information", "saturated", "bars needed", "capacity"],
                [_beside(findings, row) for row in ordered],
                strong=strong,
                caption="alpha: a year, on equal weight's returns; information: Sharpe of the difference to them. "
                "saturated: share of actions at their limit. bars needed: for this Sharpe to be above 0 at 95%. "
                "capacity: equity at which 95% of its bars stay within 1% of the venue's volume, prices as they were.",
            ),
            Table(
                ["the candidate under stress", "Sharpe a year"],
                [[name, signed(value)] for name, value in validation.stress.items()],
            ),
            *pictures_of(findings, "equity", "intervals"),
            *regimes(findings),
        ],
    )


def _beside(findings: Judged, row: Row) -> list[str]:
    found = row.performance
    bars = found.minimum_track_record_bars
    return [
        finalist_label(findings, row.name),
        share(found.alpha),
        plain(found.beta),
        signed(found.information_ratio),
        share(found.saturated_share, sign=False),
        NOTHING if bars is None else whole(round(bars)),
        NOTHING if row.capacity is None else whole(round(row.capacity)),
    ]


def verdict(findings: Judged) -> Section:
    """Outcome, reasons, clause by clause, and what this holdout could have shown at all."""
    judged, reading = findings.validation.verdict, findings.validation.reading
    blocks: list[Block] = [
        Text(f"{judged.outcome.upper()}: {headline(findings)}", tone_of(judged.outcome)),
        Points(judged.reasons),
        Table(
            ["clause", "what", "value", "limit", "passed", "margin"],
            [_clause(clause) for clause in judged.clauses],
            left=frozenset({0, 1, 4, 5}),
            caption="A win needs all of them. Clause a is the study's trials on the development folds (StepM, net "
            "returns above equal weight at the same exposure); b, c and d are this candidate on the holdout.",
        ),
        differences(findings),
        Text(f"To be beaten: {findings.validation.incumbent_note}."),
        Text(superior(findings)),
        *_luck(findings.validation.overfitting),
        *cross_validation(findings),
        Text(f"What this holdout could show: {judged.power.sentence}"),
        Text(freshness(findings)),
        Text(
            f"{whole(reading.trials)} trials of this study were measured, pruned ones included; "
            f"{whole(reading.trials_so_far)} over all studies on these bars, {whole(reading.unfinished_studies)} of "
            "which had come to no verdict. Clause a corrects for the completed ones, the deflated Sharpe for the last "
            "number.",
            "quiet",
        ),
    ]
    if judged.outcome == "inconclusive" and not is_simulated(findings.label):
        error = judged.power.standard_error
        blocks.append(
            Text(
                "On real bars this is the expected and proper answer: the standard error of an annual Sharpe over "
                f"{whole(judged.bars)} bars is {plain(error)}, so all but very large differences stay unseen.",
                "warning",
            )
        )
    return Section("Verdict", blocks)


def headline(findings: Judged) -> str:
    """The verdict in one sentence."""
    validation = findings.validation
    name = finalist_label(findings, validation.candidate)
    rival = policy_name(validation.verdict.incumbent)
    if validation.verdict.outcome == "win":
        return f"{name} beats {rival} on this holdout, net of costs, by every clause of the gate."
    if validation.verdict.outcome == "reject":
        return f"{name} is not to trade."
    return f"{name} is neither shown to be better than {rival} nor bad enough to reject."


def superior(findings: Judged) -> str:
    """How many trials the study showed to be better than equal weight, all of them considered."""
    found = findings.validation.superior
    if found.obstacle:
        return f"Clause a could not be tested: {found.obstacle}."
    return (
        f"Superior to equal weight at a family-wise {share(found.alpha, sign=False)}: {len(found.superior)} of "
        f"{len(found.trials)} completed trials, over {whole(found.bars)} development bars in blocks of {found.block}."
    )


def _luck(found: Overfitting) -> list[Block]:
    """Deflated Sharpe and PBO: reported, no clauses."""
    rows = [
        ("the candidate on the folds, Sharpe a year", signed(found.best_sharpe)),
        (f"expected best of {whole(found.trials_counted)} trials without skill", signed(found.expected_best_sharpe)),
        ("deflated Sharpe: confidence that its true Sharpe is above that", share(found.deflated_sharpe, sign=False)),
    ]
    if found.selection is not None:
        chosen = found.selection
        half = f"over {whole(chosen.partitions)} halves"
        rows += [
            (
                f"PBO: the best of one half is in the lower half of the other, {half}",
                share(chosen.pbo, sign=False),
            ),
            (f"it loses money there, {half}", share(chosen.loss_share, sign=False)),
        ]
    note = "Reported beside the gate, no clauses of it: a study in which every trial is good looks overfitted to them."
    return [Table(["was it luck?", "value"], [list(row) for row in rows], caption=note)]


def freshness(findings: Judged) -> str:
    """Whether anyone had read these bars before."""
    reading = findings.validation.reading
    span = f"{day(reading.first)} to {day(reading.last)}"
    if reading.fresh:
        return f"The holdout ({span}) was fresh: no earlier study had read any of its bars."
    return (
        f"The holdout ({span}) was not fresh: {len(reading.earlier_studies)} earlier "
        f"{'study' if len(reading.earlier_studies) == 1 else 'studies'} had read parts of it; "
        f"{whole(reading.fresh_bars)} of {whole(reading.bars)} bars were new. Trust it less."
    )


def registry(findings: Findings) -> Section:
    """Version, aliases and what followed from them."""
    aliases = ", ".join(f"{alias} is version {version}" for alias, version in findings.aliases.items() if version)
    version = f"{findings.model_name}, version {findings.version}" if findings.version else "nothing was registered"
    blocks: list[Block] = [Facts([("model", version), ("aliases", aliases or "none set"), ("sensor", findings.sensor)])]
    if findings.mlflow_url:
        blocks.append(Link("MLflow run", findings.mlflow_url))
    if findings.version and findings.version not in findings.aliases.values():
        blocks.append(
            Text(
                f"No alias names version {findings.version}, so it does not trade on paper. A person may let it: "
                f"`make ui`, in MLflow's model registry {findings.model_name}, version {findings.version}, the pencil "
                "beside Aliases, challenger (docs/runbook.md).",
                "quiet",
            )
        )
    return Section("Registry", blocks)


def session(findings: Findings) -> Section:
    """The paper session beside the backtest of the same bars."""
    report, facts, paid = findings.session, findings.session.comparison, findings.paper.execution
    blocks: list[Block] = []
    if is_rehearsal(findings):
        blocks.append(
            Text(
                "REHEARSAL: no model is deployed, so the candidate went through the trader to test the "
                "trader. Its result recommends no model.",
                "warning",
            )
        )
    equal = "yes" if facts.orders_equal else f"no: {facts.differing_bars} of {whole(facts.bars)} bars differ"
    rows = [
        ("session", f"{report.label} on {findings.label} bars and the simulated broker, fills at the next open"),
        ("model", f"version {report.model_version} ({report.model_key})"),
        ("range", f"{report.first.replace('T', ' ')}Z to {report.last.replace('T', ' ')}Z, {whole(facts.bars)} bars"),
        ("orders equal to the backtest's", equal),
        ("fills", f"{whole(facts.fills)} (backtest {whole(facts.backtest_fills)})"),
        ("return", f"{share(facts.total_return)}, turnover {plain(facts.turnover)} x equity"),
        ("fees and slippage", f"{plain(paid.fee_bps)} and {signed(paid.slippage_bps)} bps of the traded notional"),
        ("page of its own", "paper.html beside this page"),
    ]
    blocks.append(Facts(rows))
    if is_rehearsal(findings):
        blocks.append(Text("The decision below is on the trader only:"))
    blocks += criteria(findings.paper.decision)
    title = "REHEARSAL of a paper session" if is_rehearsal(findings) else "Paper session"
    return Section(title, [*blocks, *pictures_of(findings, "session", "session_trades")])


def is_rehearsal(findings: Findings) -> bool:
    """Whether the session was held without a deployed model."""
    return findings.session.label.upper() == "REHEARSAL"


def where_to_look(findings: Findings) -> Section:
    """Pages and folders."""
    folders = sorted({str(path.parent) for path in findings.pictures.values()})
    return Section(
        "Where to look",
        [
            Facts(
                [
                    ("Dagster and MLflow", "make ui"),
                    ("this page", str(findings.page)),
                    ("pictures", ", ".join(folders) or "none were drawn"),
                    ("lake", str(findings.lake_folder)),
                    ("everything else", str(findings.state_folder)),
                ]
            )
        ],
    )


def _clause(clause: Clause) -> list[str]:
    # The margin's brackets repeat value and limit, which have columns of their own here.
    margin = clause.margin.split(" (")[0]
    limit = NOTHING if clause.limit is None else f"{'<=' if clause.name in 'ad' else '>'} {plain(clause.limit, 3)}"
    passed = "yes" if clause.passed else "NO"
    return [clause.name, clause.description, plain(clause.value, 3), limit, passed, margin]
