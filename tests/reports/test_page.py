"""The final page says what the results say, names what is simulated or a rehearsal, and needs nothing from outside."""

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cappuccino_ml.reports import page, words
from cappuccino_ml.reports.findings import PICTURES
from cappuccino_ml.reports.page import Findings

MakeFindings = Callable[..., Findings]
SECTIONS = (
    "1 Data",
    "2 Features",
    "3 Pre-training",
    "4 A/B",
    "5 Study",
    "6 Holdout",
    "7 Verdict",
    "8 Registry",
    "9 REHEARSAL of a paper session",
    "10 Where to look",
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "dot.png"
    Image.new("RGB", (2, 2), "red").save(path)
    return path


def flat(text: str) -> str:
    """One line: wrapping must not decide what a test finds."""
    return " ".join(text.replace("│", " ").split())


def test_the_terminal_page_has_every_section_in_order_and_fits_110_columns(make_findings: MakeFindings):
    text = page.terminal(make_findings())
    places = [text.index(f"\n{title}") for title in SECTIONS]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= 110
    assert "\x1b" not in text


def test_colour_is_there_only_when_asked_for_and_changes_no_word(make_findings: MakeFindings):
    findings = make_findings()
    coloured = page.terminal(findings, colour=True)
    assert "\x1b[" in coloured
    without = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in without.splitlines()] == page.terminal(findings).splitlines()


def test_simulated_bars_and_a_rehearsal_are_said_in_capitals(make_findings: MakeFindings, tmp_path: Path):
    findings = make_findings(label="simulated (placebo)")
    for said in (page.terminal(findings), page.html(findings, tmp_path / "page.html").read_text()):
        assert "BARS: SIMULATED (PLACEBO)" in said
        assert "REHEARSAL: no model is deployed" in said


def test_real_bars_are_never_called_simulated_and_a_real_session_is_no_rehearsal(make_findings: MakeFindings):
    findings = make_findings(label="files (binance)", session="paper session", market="files-usd-1h")
    text = page.terminal(findings)
    assert "SIMULATED" not in text
    assert "REHEARSAL" not in text
    assert "Bars: files (binance)" in text


@pytest.mark.parametrize(("gift", "outcome"), [(0.0, "WIN"), (-1.2e-4, "INCONCLUSIVE"), (-9e-4, "REJECT")])
def test_the_outcome_stands_in_capitals_with_its_reasons(
    make_findings: MakeFindings, tmp_path: Path, gift: float, outcome: str
):
    findings = make_findings(gift=gift)
    verdict = findings.validation.verdict
    assert verdict.outcome.upper() == outcome
    text = flat(page.terminal(findings))
    html = page.html(findings, tmp_path / "page.html").read_text()
    assert f"{outcome}: FT-Transformer" in text
    assert f"{outcome}: FT-Transformer" in html
    assert all(flat(reason) in text for reason in verdict.reasons)
    assert verdict.power.sentence in text


def test_only_an_inconclusive_verdict_on_real_bars_is_called_expected(make_findings: MakeFindings):
    said = "expected and proper answer"
    assert said in flat(page.terminal(make_findings(gift=-1.2e-4, label="files (binance)")))
    assert said not in flat(page.terminal(make_findings(gift=-1.2e-4)))
    assert said not in flat(page.terminal(make_findings(label="files (binance)")))


def test_clause_a_is_shown_with_its_p_value_and_the_number_of_superior_trials(make_findings: MakeFindings):
    findings = make_findings()
    text = flat(page.terminal(findings))
    found = findings.validation.superior
    assert f"{len(found.superior)} of 7 completed trials, over 2,000 development bars in blocks of 24" in text
    assert f"p-value of trial 5 in StepM over all 7 completed trials {found.p_value(5):.3f} <= 0.050 yes" in text


def test_a_study_in_which_no_trial_is_superior_wins_nothing_and_the_page_says_why(make_findings: MakeFindings):
    findings = make_findings(skilled=False)
    assert findings.validation.verdict.outcome == "inconclusive"
    text = flat(page.terminal(findings))
    assert "0 of 7 completed trials" in text
    assert "clause a: p-value of trial 5 in StepM over all 7 completed trials: not met by" in text


def test_every_policy_is_shown_beside_equal_weight(make_findings: MakeFindings):
    findings = make_findings()
    text = flat(page.terminal(findings))
    for row in findings.validation.rows:
        found = row.performance
        assert f"{found.beta:.2f} {words.signed(found.information_ratio)} 5.0%" in text
    assert "1,234,568" in text


def test_what_is_reported_beside_the_gate_is_on_the_page(make_findings: MakeFindings):
    findings = make_findings(fresh=False)
    luck = findings.validation.overfitting
    text = flat(page.terminal(findings))
    assert luck.selection is not None
    assert "expected best of 21 trials without skill" in text
    assert f"confidence that its true Sharpe is above that {luck.deflated_sharpe:.1%}" in text
    assert f"over 12,870 halves {luck.selection.pbo:.1%}" in text
    assert "no clauses of it" in text


def test_a_holdout_that_was_read_before_is_said_to_be_so(make_findings: MakeFindings):
    assert "was fresh" in flat(page.terminal(make_findings(fresh=True)))
    text = flat(page.terminal(make_findings(fresh=False)))
    assert "was not fresh: 2 earlier studies" in text
    assert "0 of 1,752 bars were new" in text
    assert "21 over all studies" in text


def test_the_numbers_on_both_pages_are_those_of_the_results(make_findings: MakeFindings, tmp_path: Path):
    findings = make_findings()
    text = page.terminal(findings)
    html = page.html(findings, tmp_path / "page.html").read_text()
    expected = [skill.r2["model"] for skill in findings.skills.values()]
    shown = [f"{value:+.3f}" for value in expected]
    for row in findings.validation.rows:
        shown.append(f"{row.performance.max_drawdown:.1%}")
        if row.interval:
            shown += [f"{row.performance.annual_sharpe:+.2f}", f"{row.interval[0]:+.2f} to {row.interval[1]:+.2f}"]
    shown += [f"{value:+.2f}" for value in findings.validation.stress.values()]
    shown += [f"{trial:+.2f}" for trial in (findings.study.best("ft").value, findings.study.best("mlp").value) if trial]
    shown += ["41", "+3.21", "7.22", findings.dataset.feature_schema.hash, findings.study.key, "8,760 per ticker"]
    missing = [
        (number, where) for number in shown for where, said in (("text", text), ("html", html)) if number not in said
    ]
    assert missing == []


def test_the_arms_table_counts_trials_failures_and_steps(make_findings: MakeFindings):
    line = next(line for line in page.terminal(make_findings()).splitlines() if line.startswith(" mlp "))
    assert line.split()[:7] == ["mlp", "4", "(0,", "1)", "802,816", "+1.10", "+0.66"]


def test_the_page_embeds_its_pictures_and_reaches_for_nothing_outside(
    make_findings: MakeFindings, picture: Path, tmp_path: Path
):
    findings = make_findings(pictures={"equity": picture, "coverage": picture})
    html = page.html(findings, tmp_path / "page.html").read_text()
    assert html.count('src="data:image/png;base64,') == 2
    assert re.findall(r"https?://[^\"<\s]+", html) == [findings.mlflow_url]
    assert "<script" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_every_picture_has_its_place_a_heading_and_one_sentence(
    make_findings: MakeFindings, picture: Path, tmp_path: Path
):
    html = page.html(make_findings(pictures=dict.fromkeys(PICTURES, picture)), tmp_path / "page.html").read_text()
    shown = re.findall(r"<figure><h3>([^<]+)</h3>.*?<figcaption>([^<]+)</figcaption>", html)
    assert len(shown) == len(set(shown)) == len(PICTURES)
    assert all(caption.endswith(".") for _, caption in shown)


def test_paired_differences_stand_in_one_table_with_their_intervals(make_findings: MakeFindings, tmp_path: Path):
    findings = make_findings()
    validation, html = findings.validation, page.html(findings, tmp_path / "page.html").read_text()

    def line(*cells: str) -> str:
        first, *others = cells
        return f'<tr><td class="left">{first}</td>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'

    for name, test in (
        ("FT-Transformer (ft_pretrained) less equal weight, holdout", validation.verdict.test),
        ("FT-Transformer less MLP, holdout", validation.ft_against_mlp.test),
    ):
        said = (words.signed(test.difference), words.interval(test.interval), f"{test.p_value:.3f}")
        assert line(name, "1,752", *said) in html
    found = validation.cross_validation
    said = (words.signed(found.difference), words.interval(found.difference_interval), "-")
    assert line("FT-Transformer less MLP, cross-validation", "1,200", *said) in html


def test_what_comes_from_outside_is_escaped(make_findings: MakeFindings, tmp_path: Path):
    html = page.html(make_findings(sensor="<script>alert(1)</script>"), tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_same_findings_give_the_same_page_whatever_the_time_it_took(make_findings: MakeFindings, tmp_path: Path):
    first = page.html(make_findings(wall_seconds=1.0), tmp_path / "a.html")
    again = page.html(make_findings(wall_seconds=99.0), tmp_path / "b.html")
    assert first.read_bytes() == again.read_bytes()


def test_a_picture_without_a_section_is_refused(make_findings: MakeFindings, picture: Path):
    with pytest.raises(ValueError, match="no section shows a picture named cat"):
        make_findings(pictures={"cat": picture})


def test_a_verdict_on_another_study_is_refused(make_findings: MakeFindings, study):
    with pytest.raises(ValueError, match="the verdict is on"):
        make_findings(study=study.model_copy(update={"key": "another"}))


def test_a_run_that_registered_nothing_says_so(make_findings: MakeFindings):
    text = page.terminal(make_findings(version=None, mlflow_url=None))
    assert "nothing was registered" in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.signed(1.234), "+1.23"),
        (words.signed(-0.001), "0.00"),
        (words.signed(None), "-"),
        (words.signed(float(np.nan)), "-"),
        (words.share(0.1234), "+12.3%"),
        (words.share(0.1234, sign=False), "12.3%"),
        (words.share(None), "-"),
        (words.interval(None), "none"),
        (words.duration(251), "4 min 11 s"),
        (words.duration(9.6), "10 s"),
        (words.duration(7530), "2 h 05 min"),
    ],
)
def test_numbers_are_written_for_people(said: str, expected: str):
    assert said == expected


def test_regimes_are_shown_with_their_rule_and_how_many_examples_there_are(make_findings: MakeFindings):
    findings = make_findings()
    text = flat(page.terminal(findings))
    table = findings.validation.regimes
    assert "bull: 500 bars in 1" in text
    assert "sideways: 1,252 bars in 2" in text
    assert "This holdout has no bear bars." in text
    assert "Unknown" not in text
    assert flat(table.rule.sentence) in text
    for result in table.results:
        for score in (score for score in result.scores if score.interval):
            low, high = score.interval
            assert f"{words.signed(score.sharpe)} ({words.signed(low, 1)} to {words.signed(high, 1)})" in text


def test_cross_validation_is_beside_the_gate_and_its_absence_is_said(make_findings: MakeFindings):
    findings = make_findings()
    text, found = flat(page.terminal(findings)), findings.validation.cross_validation
    for finalist in found.finalists:
        assert f"{words.signed(finalist.mean)} {words.interval(finalist.interval)}" in text
    assert found.sentence[1:] in text
    assert "5 paths over 1,200 development bars, 3 seed(s). Beside the gate, no clause" in text
    assert "the interval understates the luck of training" in text
    without = flat(page.terminal(make_findings(crossed=False)))
    assert "Cross-validation: left out at this budget." in without
    assert "cross-validation, Sharpe a year" not in without


def test_a_verdict_has_a_page_of_its_own_that_needs_nothing_from_outside(
    make_findings: MakeFindings, tmp_path: Path, picture: Path
):
    findings = make_findings()
    judged = page.Judged(
        market=findings.market,
        budget=findings.budget,
        dataset=findings.dataset,
        study=findings.study,
        validation=findings.validation,
        pictures={"cross_validation": picture, "equity": picture},
    )
    html = page.verdict_html(judged, tmp_path / "verdict.html").read_text()
    assert "BARS: SIMULATED" in html
    assert html.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert "<script" not in html
    assert html.index("WIN: ") < html.index("<span>1</span>Verdict") < html.index("<span>2</span>Holdout")
    for clause in findings.validation.verdict.clauses:
        assert escape(clause.description) in html


def test_a_version_without_an_alias_comes_with_the_way_to_promote_it(make_findings: MakeFindings):
    text = flat(page.terminal(make_findings(aliases={"champion": "2"})))
    assert "No alias names version 3, so it does not trade on paper." in text
    assert "registry cappuccino-simulated-usd-1h, version 3, the pencil beside Aliases, challenger" in text
    for changes in ({"aliases": {"challenger": "3"}}, {"version": None, "mlflow_url": None}):
        assert "No alias names" not in flat(page.terminal(make_findings(**changes)))
