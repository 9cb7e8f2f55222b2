"""The final page of one way through the pipeline: in the terminal, and as one HTML file that needs nothing else."""

from pathlib import Path

from cappuccino_ml.core import write_bytes
from cappuccino_ml.reports import judgement, sections
from cappuccino_ml.reports.blocks import Section, Text, Tone
from cappuccino_ml.reports.findings import Findings, Judged
from cappuccino_ml.reports.html import document
from cappuccino_ml.reports.sections import row_of
from cappuccino_ml.reports.style import is_simulated
from cappuccino_ml.reports.terminal import sheet
from cappuccino_ml.reports.words import duration, interval, policy_name, signed

__all__ = ["Findings", "Judged", "html", "terminal", "verdict_html"]


def terminal(findings: Findings, *, colour: bool = False) -> str:
    """The page as text, 110 columns wide.

    Args:
        findings: what to show.
        colour: with ANSI colours; only for a terminal that understands them.
    """
    took = f"{findings.market}, budget {findings.budget}"
    if findings.wall_seconds is not None:
        took += f", {duration(findings.wall_seconds)}"
    return sheet(title="Cappuccino", subtitle=took, lead=_lead(findings), sections=_sections(findings), colour=colour)


def html(findings: Findings, path: Path) -> Path:
    """Write the page to `path`: pictures embedded, no script, nothing loaded from anywhere.

    Raises:
        LakeError: the file cannot be written.
        OSError: a picture cannot be read.
    """
    text = document(
        title="Cappuccino",
        subtitle=f"{findings.market}, budget {findings.budget}",
        lead=_lead(findings),
        tiles=_tiles(findings),
        sections=_sections(findings),
    )
    write_bytes(path, text.encode())
    return path


def verdict_html(judged: Judged, path: Path) -> Path:
    """Write the page of a verdict alone, before there is a registration or a paper session; as self-contained.

    Raises:
        LakeError: the file cannot be written.
        OSError: a picture cannot be read.
    """
    text = document(
        title="Cappuccino: verdict",
        subtitle=f"{judged.market}, budget {judged.budget}, study {judged.study.key}",
        lead=_lead(judged),
        tiles=_tiles_of_verdict(judged),
        sections=[
            make(judged)
            for make in (judgement.verdict, judgement.baselines, sections.comparison, sections.search, sections.data)
        ],
    )
    write_bytes(path, text.encode())
    return path


def _lead(findings: Judged) -> list[Text]:
    """What no one may miss, before everything else."""
    lead = []
    if is_simulated(findings.label):
        lead.append(
            Text(
                f"BARS: {findings.label.upper()}. This market does not exist. Nothing here says what would be "
                "earned on a real one.",
                "warning",
            )
        )
    else:
        lead.append(Text(f"Bars: {findings.label}. Paper trading only.", "quiet"))
    outcome = findings.validation.verdict.outcome
    lead.append(Text(f"{outcome.upper()}: {judgement.headline(findings)}", judgement.tone_of(outcome)))
    return lead


def _tiles_of_verdict(findings: Judged) -> list[tuple[str, str, str, Tone]]:
    """(name, value, note, tone) of the three numbers at the top that a verdict has."""
    validation = findings.validation
    row = row_of(findings, validation.candidate)
    rival = row_of(findings, validation.verdict.incumbent)
    return [
        (
            "verdict",
            validation.verdict.outcome.upper(),
            f"against {policy_name(validation.verdict.incumbent)}",
            judgement.tone_of(validation.verdict.outcome),
        ),
        (
            "net Sharpe a year, holdout",
            signed(row.performance.annual_sharpe if row else None),
            f"95% interval {interval(row.interval if row else None)}",
            "plain",
        ),
        (
            f"{policy_name(validation.verdict.incumbent)}, holdout",
            signed(rival.performance.annual_sharpe if rival else None),
            "net Sharpe a year, to be beaten",
            "plain",
        ),
    ]


def _tiles(findings: Findings) -> list[tuple[str, str, str, Tone]]:
    """The four numbers at the top of the whole page."""
    facts = findings.session.comparison
    about = "for the trader only; " if judgement.is_rehearsal(findings) else ""
    equal = "equal" if facts.orders_equal else "NOT equal"
    return [
        *_tiles_of_verdict(findings),
        (
            findings.session.label,
            findings.paper.decision.outcome.upper(),
            f"{about}{facts.fills} fills, orders {equal} to the backtest's",
            judgement.tone_of(findings.paper.decision.outcome),
        ),
    ]


def _sections(findings: Findings) -> list[Section]:
    return [
        make(findings)
        for make in (
            sections.data,
            sections.features,
            sections.pretraining,
            sections.comparison,
            sections.search,
            judgement.baselines,
            judgement.verdict,
            judgement.registry,
            judgement.session,
            judgement.where_to_look,
        )
    ]
