"""The page of a paper session: the decision first, then what it rests on; one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cappuccino_ml.core import write_bytes
from cappuccino_ml.reports.blocks import Block, Facts, Link, Points, Section, Table, Text, Tone
from cappuccino_ml.reports.html import document
from cappuccino_ml.reports.sections import shown
from cappuccino_ml.reports.style import is_simulated
from cappuccino_ml.reports.words import NOTHING, plain, share, signed, whole
from cappuccino_ml.trading.decision import Decision
from cappuccino_ml.trading.drift import SHIFTED, STABLE
from cappuccino_ml.trading.paper import PaperReport

_MET = {True: "yes", False: "NO", None: "not testable"}
_MOST_DEVIATIONS = 20
TONES: dict[str, Tone] = {"go": "good", "extend": "warning", "no-go": "bad"}


def criteria_rows(decision: Decision) -> list[list[str]]:
    """Name, value, limit, met and note of every criterion."""
    return [
        [one.name, one.value, one.limit, "reported" if one.otherwise == "reported" else _MET[one.passed], one.note]
        for one in decision.criteria
    ]


def criteria(decision: Decision) -> list[Block]:
    """The outcome, what stands in its way, and all criteria."""
    met = "every criterion is met" if decision.outcome == "go" else "; ".join(decision.reasons)
    return [
        Text(f"{decision.outcome.upper()}: {met}.", TONES[decision.outcome]),
        Table(
            ["criterion", "value", "limit", "met", "note"],
            criteria_rows(decision),
            left=frozenset({0, 1, 2, 3, 4}),
            strong=frozenset(row for row, one in enumerate(decision.criteria) if one.says != "go"),
            caption="A go needs all but the reported one. What fails says no-go; too few fills, too short a session "
            "and what cannot be tested say extend. The thresholds in force are stored with the decision. A go says "
            "that the trader does what the backtest does, safely; what the model is worth is the verdict's to say.",
        ),
    ]


def paper_html(report: PaperReport, *, facts: Mapping[str, str], pictures: Sequence[Path], path: Path) -> Path:
    """Write the page.

    Args:
        report: what to show.
        facts: of the model's registry version, as `ModelRegistry.facts` gives them.
        pictures: equity and trades, in this order.
        path: HTML file.

    Raises:
        LakeError: the file cannot be written.
    """
    session, outcome = report.session, report.decision.outcome
    found = session.comparison
    lead = [_bars(report)]
    if session.label != "paper session":
        lead.append(Text("REHEARSAL: no model is deployed. This tests the trader and recommends no model.", "warning"))
    elif report.replayed:
        lead.append(Text("Replayed: history through the live trader, fills at the next open; no venue.", "quiet"))
    tiles: list[tuple[str, str, str, Tone]] = [
        ("decision", outcome.upper(), f"{session.label}, version {session.model_version}", TONES[outcome]),
        ("return", share(found.total_return), f"{signed(1e4 * found.return_gap)} bps against the backtest", "plain"),
        (
            "largest drawdown",
            share(found.max_drawdown, sign=False),
            f"{found.hours:g} h, {whole(found.bars)} bars",
            "plain",
        ),
        ("fills", whole(found.fills), f"turnover {plain(found.turnover)} x equity", "plain"),
    ]
    equity, trades = pictures
    sections = [
        Section("Go, no-go or extend", criteria(report.decision)),
        Section("The session beside the backtest of the same bars", [shown("session", equity), *_deviations(report)]),
        Section("Trades", [shown("session_trades", trades), *_execution(report), *_holdings(report)]),
        Section("The champion in shadow", _shadow(report)),
        Section("Features against training", _drift(report)),
        Section("Guards, shown by a drill", _drill(report)),
        Section("Uptime and faults", _faults(report)),
        Section("The model", _model(report, facts)),
    ]
    first, last = session.first.replace("T", " "), session.last.replace("T", " ")
    text = document(
        title="Paper session",
        subtitle=f"version {session.model_version}, {first}Z to {last}Z",
        lead=lead,
        tiles=tiles,
        sections=sections,
    )
    write_bytes(path, text.encode())
    return path


def _bars(report: PaperReport) -> Text:
    if is_simulated(report.source):
        return Text(f"BARS: {report.source.upper()}. This market does not exist.", "warning")
    return Text(f"Bars: {report.source}. Paper trading only.", "quiet")


def _deviations(report: PaperReport) -> list[Block]:
    found = report.session.comparison
    if not found.deviations:
        return [Text(f"All {whole(found.fills)} orders are the backtest's, each within one increment.")]
    rows = [
        [one.bar.replace("T", " "), one.symbol, f"{one.ours:.6f}", f"{one.theirs:.6f}", _MET[one.explained], one.cause]
        for one in found.deviations[:_MOST_DEVIATIONS]
    ]
    caption = f"The first {len(rows)} of {len(found.deviations)} orders unlike the backtest's; base units."
    header = ["bar (UTC)", "symbol", "ours", "backtest", "explained", "cause"]
    return [Table(header, rows, left=frozenset({0, 1, 4, 5}), caption=caption)]


def _execution(report: PaperReport) -> list[Block]:
    paid = report.execution
    return [
        Table(
            ["of the traded notional", "paid", "in the model's costs"],
            [
                ["fees, bps", plain(paid.fee_bps), plain(paid.model_fee_bps)],
                ["slippage against the next open, bps", signed(paid.slippage_bps), signed(paid.model_slippage_bps)],
            ],
            caption=f"Notional {whole(round(paid.notional))}, fees {paid.fees:,.2f} in the quote currency.",
        )
    ]


def _holdings(report: PaperReport) -> list[Block]:
    if not report.holdings:
        return [Text("Nothing is held at the end.")]
    rows = [
        [one.symbol, f"{one.units:.6f}", _price(one.price), f"{one.value:,.0f}", share(one.weight, sign=False)]
        for one in report.holdings
    ]
    cash = 1 - sum(one.weight for one in report.holdings)
    return [
        Table(
            ["held at the end", "units", "close", "value", "weight"],
            [*rows, ["cash", "", "", "", share(cash, sign=False)]],
        )
    ]


def _price(price: float) -> str:
    return f"{price:,.2f}" if price >= 100 else f"{price:.4g}"


def _shadow(report: PaperReport) -> list[Block]:
    champion, found = report.champion, report.session.comparison
    if champion is None:
        return [Text(f"None: {report.champion_note}.")]
    return [
        Table(
            ["on the same bars", "return", "Sharpe a year", "drawdown", "turnover", "fills"],
            [
                [f"version {report.session.model_version}, traded", share(found.total_return), signed(found.sharpe),
                 share(found.max_drawdown, sign=False), plain(found.turnover), whole(found.fills)],
                [f"version {champion.version}, champion, no orders", share(champion.total_return),
                 signed(champion.sharpe), share(champion.max_drawdown, sign=False), plain(champion.turnover),
                 whole(champion.fills)],
            ],
            caption="So few bars show no difference in skill; the verdict on the holdout does that. The standard error "
            f"of each Sharpe here is about {plain(found.sharpe_error, 0)}.",
        )
    ]  # fmt: skip


def _drift(report: PaperReport) -> list[Block]:
    if not report.drift:
        return [Text(f"Not computed: {report.drift_note}.")]
    rows = [
        [one.feature, plain(one.psi, 3), NOTHING if one.usual is None else plain(one.usual, 3), one.word]
        for one in report.drift
    ]
    return [
        Table(
            ["feature, all tickers", "PSI", "95% of training windows below", "by the field's thresholds"],
            rows,
            left=frozenset({0, 3}),
            strong=frozenset(
                row for row, one in enumerate(report.drift) if one.psi >= STABLE and (one.usual or 0) < one.psi
            ),
            caption=f"Population stability index over deciles of the training rows: below {STABLE:g} stable, from "
            f"{SHIFTED:g} on shifted. Those limits are for large samples of independent rows; a few days of bars reach "
            "them by chance, so the column beside says what training windows of about this length have. Reported, no "
            "criterion.",
        )
    ]


def _drill(report: PaperReport) -> list[Block]:
    drill = report.drill
    rows = [[one.name, one.expected, one.seen, _MET[one.passed]] for one in drill.scenarios]
    return [
        Table(
            ["guard", "expected", "seen", "shown"],
            rows,
            left=frozenset({0, 1, 2, 3}),
            caption=f"Tripped on purpose with version {drill.model_version} on the simulated broker, from "
            f"{drill.bar.replace('T', ' ')}Z on; prices are cut where a loss is needed. Guards that the model has "
            "switched off are left out.",
        )
    ]


def _faults(report: PaperReport) -> list[Block]:
    up, faults = report.uptime, report.faults
    said = f"{whole(up.decided)} of {whole(up.expected)} bars were decided on ({share(up.share, sign=False)})."
    blocks: list[Block] = [Text(f"{said} Starts without a clean stop before: {faults.crashes}.")]
    if not faults.counts:
        return [*blocks, Text("The ledger holds no refusal, alarm, halt or skipped order.")]
    return [*blocks, Points([f"{kind}: {count}, first: {faults.first[kind]}" for kind, count in faults.counts.items()])]


def _model(report: PaperReport, facts: Mapping[str, str]) -> list[Block]:
    made = report.deployment
    rows = [
        ("version", f"{report.session.model_version} ({facts['arm']}), key {report.session.model_key}"),
        ("verdict", f"{facts['outcome']}, study {facts['study_key']}"),
        ("data", f"{facts['data_manifest']}, schema {facts['schema_hash'][:12]}"),
        ("Dagster run", facts["dagster_run_id"] or "none"),
    ]
    blocks: list[Block] = []
    if made is not None:
        rows += [
            ("deployed", f"as {made.alias} by {made.who}, {made.when:%Y-%m-%d %H:%M} UTC: {made.why}"),
            ("before it", f"version {made.previous}" if made.previous else "nothing"),
        ]
        blocks = [Text("Checked before it might trade:"), Points(made.checks)]
    links = [Link("MLflow run", facts["run_url"])] if facts["run_url"] else []
    return [Facts(rows), *blocks, *links]
