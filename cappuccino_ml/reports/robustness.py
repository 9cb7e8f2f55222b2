"""Blocks on where a result holds: paired differences, bull, bear and sideways markets, seeds and past stretches."""

from collections.abc import Sequence

from cappuccino_ml.reports.blocks import Block, Table, Text
from cappuccino_ml.reports.findings import Judged
from cappuccino_ml.reports.sections import finalist_label, pictures_of
from cappuccino_ml.reports.words import NOTHING, interval, plain, policy_name, signed, whole
from cappuccino_ml.verdict import REGIMES, RegimeScore


def regimes(findings: Judged) -> list[Block]:
    """What every policy earned in each regime of the holdout."""
    table = findings.validation.regimes
    found = {(result.policy, score.regime): score for result in table.results for score in result.scores}
    ordered = sorted(findings.validation.rows, key=lambda row: -row.performance.annual_sharpe)
    some = [found[ordered[0].name, regime] for regime in REGIMES]
    shown = [score for score in some if score.bars]
    header = ["Sharpe a year (95%) by regime", *(f"{s.regime}: {whole(s.bars)} bars in {s.stretches}" for s in shown)]
    rows = [
        [finalist_label(findings, row.name), *(_cell(found[row.name, score.regime]) for score in shown)]
        for row in ordered
    ]
    absent = [score.regime for score in some if not score.bars and score.regime != "unknown"]
    note = f" This holdout has no {' and no '.join(absent)} bars." if absent else ""
    if found[ordered[0].name, "unknown"].bars:
        note += f" Unknown: bars with less than {table.rule.days:g} days before them."
    return [
        Table(
            header,
            rows,
            strong=frozenset(i for i, row in enumerate(ordered) if row.name == findings.validation.candidate),
            caption=f"{table.rule.sentence} N bars in M: so many unbroken stretches, which is how many independent "
            f"examples there are.{note}",
        )
    ]


def _cell(score: RegimeScore) -> str:
    if score.interval is None:
        return f"{signed(score.sharpe)} (none)"
    return f"{signed(score.sharpe)} ({signed(score.interval[0], 1)} to {signed(score.interval[1], 1)})"


def differences(findings: Judged) -> Table:
    """Every paired difference of Sharpe ratios that was tested: on the same bars, net of costs."""
    validation, found = findings.validation, findings.validation.cross_validation
    incumbent = policy_name(validation.verdict.incumbent)
    pairs = [(f"{finalist_label(findings, validation.candidate)} less {incumbent}", validation.verdict.test)]
    if validation.ft_against_mlp is not None:
        pairs.append((f"{policy_name('ft')} less {policy_name('mlp')}", validation.ft_against_mlp.test))
    rows = [
        [
            f"{name}, holdout",
            whole(test.bars if test else validation.verdict.bars),
            signed(test.difference if test else None),
            interval(test.interval if test else None),
            plain(test.p_value if test else None, 3),
        ]
        for name, test in pairs
    ]
    if found.difference is not None:
        name = f"{policy_name('ft')} less {policy_name('mlp')}, cross-validation"
        rows.append([name, whole(found.bars), signed(found.difference), interval(found.difference_interval), NOTHING])
    return Table(
        ["paired differences, Sharpe a year", "bars", "difference", "95% interval", "p, two-sided"],
        rows,
        caption="Each pair on the same bars; an interval that holds 0 shows no difference. Holdout: studentized block "
        "bootstrap of the difference (Ledoit and Wolf 2008). Cross-validation: bootstrap over seeds and blocks.",
    )


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
