"""Blocks on where a result holds: in bull, bear and sideways markets, and over seeds and stretches of the past."""

from collections.abc import Sequence

from cappuccino_ml.reports.blocks import Block, Table, Text
from cappuccino_ml.reports.findings import Judged
from cappuccino_ml.reports.sections import finalist_label, pictures_of
from cappuccino_ml.reports.words import interval, plain, share, signed, whole
from cappuccino_ml.verdict import REGIMES, RegimeResult


def regimes(findings: Judged) -> list[Block]:
    """What every policy earned in each regime of the holdout."""
    table = findings.validation.regimes
    found = {(result.policy, result.regime): result for result in table.results}
    shown = [regime for regime in REGIMES if table.bars(regime)]
    ordered = sorted(findings.validation.rows, key=lambda row: -row.performance.annual_sharpe)
    header = ["by regime: return, Sharpe (s.e.)"]
    for regime in shown:
        spells = sum(spell.regime == regime for spell in table.spells)
        header.append(f"{regime}: {whole(table.bars(regime))} bars in {spells}")
    rows = [
        [finalist_label(findings, row.name), *(_cell(found[row.name, regime]) for regime in shown)] for row in ordered
    ]
    absent = [regime for regime in REGIMES[:3] if regime not in shown]
    note = f" This holdout has no {' and no '.join(absent)} bars." if absent else ""
    return [
        Table(
            header,
            rows,
            strong=frozenset(i for i, row in enumerate(ordered) if row.name == findings.validation.candidate),
            caption=f"{table.rule.sentence} N in M: bars in so many unbroken spells, which is how many independent "
            f"examples there are. Sharpe a year with its standard error; unknown: too few days before.{note}",
        )
    ]


def _cell(result: RegimeResult) -> str:
    error = "-" if result.standard_error is None else plain(result.standard_error)
    return f"{share(result.total_return)}, {signed(result.sharpe)} ({error})"


def cross_validation(findings: Judged) -> list[Block]:
    """The finalists' combinatorial paths, or why there are none."""
    found = findings.validation.cross_validation
    blocks: list[Block] = []
    if found.finalists:
        rows: list[Sequence[str]] = []
        for finalist in found.finalists:
            every = [sharpe for of_seed in finalist.sharpes for sharpe in of_seed]
            rows.append(
                [
                    finalist_label(findings, finalist.side),
                    signed(finalist.mean),
                    interval(finalist.interval),
                    ", ".join(signed(sum(of_seed) / len(of_seed)) for of_seed in finalist.sharpes),
                    f"{signed(min(every))} to {signed(max(every))}",
                ]
            )
        resampling = (
            "" if found.block is None else f" and blocks of {found.block} bars ({whole(found.resamples)} times)"
        )
        with_few = " With so few seeds the interval understates the luck of training." if found.seeds < 10 else ""
        blocks.append(
            Table(
                ["cross-validation, Sharpe a year", "mean", "95% interval", "mean of each seed", "of the paths"],
                rows,
                caption=f"Combinatorial purged cross-validation: {found.paths} paths over {whole(found.bars)} "
                f"development bars, {found.seeds} seed(s). Beside the gate, no clause: fits also saw bars after those "
                f"they are measured on, and the trials were chosen on these bars. Interval: bootstrap over "
                f"seeds{resampling}.{with_few} Equal weight on the same bars: {signed(found.equal_weight)}.",
            )
        )
        blocks.append(Text(f"{found.sentence[:1].upper()}{found.sentence[1:]}"))
        blocks += pictures_of(findings, "cross_validation")
    return [*blocks, *(Text(f"Cross-validation: {obstacle}.", "quiet") for obstacle in found.obstacles)]
