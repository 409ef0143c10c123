"""The page of two reports: the letters of its cells by hand, its lines against the comparison, and in a browser."""

import base64
import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from two_reports import CEO, GENERAL, RIGHT, source, with_gates

from findings.conftest import Seen, serious
from findings.page.pages import HOSTILE
from harness.experiment.conditions import BASELINE
from harness.findings.comparing.compare import Source, compare
from harness.findings.comparing.comparison_page import ComparisonData, comparison_data, comparison_page
from harness.findings.report.row_texts import RowText

NOW = {**RIGHT, GENERAL: "+-xx++-+", BASELINE: "+++++++.", CEO: "...."}
"""Of `general`: one lost, two in other words, one gained; the baseline lacks a row, and a condition has none."""


@pytest.fixture(scope="module")
def sources() -> tuple[Source, Source]:
    before = with_gates(source(name="old"), {"gate[a]": "pass", "gate[b]": "fail"})
    return before, with_gates(source(NOW, name="new"), {"gate[a]": "inconclusive", "gate[b]": "fail"})


@pytest.fixture(scope="module")
def data(sources: tuple[Source, Source]) -> ComparisonData:
    return comparison_data(compare(*sources), *sources)


def test_letters_beside_a(data: ComparisonData) -> None:
    states = {each.name: each.answers.states for each in data.conditions}
    assert states["general[k02]"] == "rloorrwg"
    assert states["baseline"] == "rrrrrrr."
    assert CEO.name not in states


def test_both_answers_of_every_pair(sources: tuple[Source, Source], data: ComparisonData) -> None:
    old, new = ({(each.condition, each.row): each for each in one.samples or ()} for one in sources)
    seen = 0
    for condition in data.conditions:
        for i, row in enumerate(data.rows):
            if condition.answers.states[i] != ".":
                key = (condition.name, row.id)
                assert data.texts[condition.before.texts[i]] == old[key].completion
                assert data.texts[condition.answers.texts[i]] == new[key].completion
                assert condition.before.gold[i] == pytest.approx(old[key].gold_logprob)
                seen += 1
    assert seen == len(old.keys() & new.keys())


def test_the_table_is_the_comparisons(sources: tuple[Source, Source], data: ComparisonData) -> None:
    comparison = compare(*sources)
    lines = {line[0]: dict(zip(data.columns_of_table, line, strict=True)) for line in data.table}
    assert len(lines) == len(data.table) == sum(1 + len(line.parts) for line in comparison.lines)
    (general,) = [line for line in comparison.lines if line.name == "general[k02]"]
    assert general.paired is not None
    assert (lines["general[k02]"]["lost"], lines["general[k02]"]["gained"]) == (1, 1)
    assert lines["general[k02]"]["p"] == general.paired.p
    assert (lines["general[k02]"]["before"], lines["general[k02]"]["after"]) == (6 / 8, 6 / 8)


def test_rows_with_another_right_value_are_not_paired(sources: tuple[Source, Source]) -> None:
    before, after = sources
    changed = [
        each.model_copy(update={"value": "9"}) if each.filename == "f0" else each for each in after.samples or ()
    ]
    other = replace(after, samples=changed)
    data = comparison_data(compare(before, other), before, other)
    assert not [row for row in data.rows if row.filename == "f0"]


def test_reports_without_samples(sources: tuple[Source, Source]) -> None:
    before, after = (replace(each, samples=None) for each in sources)
    page = comparison_page(compare(before, after), before, after)
    assert "nothing to compare row by row" in page
    assert 'id="samples-grid"' not in page


def test_hostile_texts_stay_texts(sources: tuple[Source, Source]) -> None:
    before, after = sources
    named = replace(before, name=HOSTILE)
    texts = [RowText(row="f0/ceo_lastname", question=HOSTILE, needle=HOSTILE, before="", after="", depth=0.5)]
    page = comparison_page(compare(named, after), named, after, texts)
    assert page.count("<script") == 2
    assert "<img" not in page
    packed = re.search(r'<script id="data"[^>]*>([^<]*)</script>', page)
    assert packed is not None
    data = ComparisonData.model_validate_json(zlib.decompress(base64.b64decode(packed[1])))
    assert data.rows[0].question == HOSTILE


def test_in_a_browser(seen: Seen, sources: tuple[Source, Source], tmp_path: Path) -> None:
    file = tmp_path / "compared.html"
    file.write_text(comparison_page(compare(*sources), *sources), encoding="utf-8")
    page = seen.open(file)
    shown = page.eval_on_selector_all(
        "#accuracy-table tbody tr", "lines => lines.map(line => line.cells[0].textContent)"
    )
    assert "general[k02]" in shown
    assert "within_task[incorporation_year-k01]" not in shown, "it is equal"
    page.locator("#accuracy-filters select[name=Lines]").select_option("")
    assert page.locator("#accuracy-count").inner_text() == "6 of 6 lines"
    assert page.locator("#samples-grid td.l").count() == 1
    assert page.locator("#samples-grid td.o").count() == 2
    page.locator("#samples-grid td.l").click()
    page.wait_for_selector("dialog[open]")
    chosen = page.locator("dialog tr.chosen td").all_inner_texts()
    assert chosen[:4] == ["general[k02]", "▼ lost", "7.", "8."]
    assert page.locator("#sample-title").inner_text() == "f0/incorporation_year"
    assert page.locator("tr.chosen .verdict").all_inner_texts() == ["pass", "inconclusive"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    seen: Seen, axe: str, sources: tuple[Source, Source], scheme: str, tmp_path: Path
) -> None:
    file = tmp_path / "compared.html"
    file.write_text(comparison_page(compare(*sources), *sources), encoding="utf-8")
    seen.page.emulate_media(color_scheme=scheme)
    page = seen.open(file)
    assert serious(page, axe) == []
    page.locator("#samples-grid td.l").click()
    page.wait_for_selector("dialog[open]")
    assert serious(page, axe) == []
