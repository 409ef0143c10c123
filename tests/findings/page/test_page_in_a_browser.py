"""The page in a real browser: what is read out of its DOM are the report's figures, and every click leads somewhere.

Needs Chromium and Playwright; skipped without them.
"""

from pathlib import Path
from typing import Any

import pytest

from findings.conftest import Seen, serious
from harness.findings.page.page_data import page_data
from harness.findings.page.page_writing import page_text
from harness.findings.report.report_data import Tally

from .pages import HOSTILE, LONG, hostile_page, judged, whole


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report, samples = whole()
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page_text(report, page_data(report, samples)), encoding="utf-8")
    return path


def test_the_table_holds_the_reports_figures(seen: Seen, file: Path) -> None:
    """Every condition over all its tasks and task by task, every column; read as numbers out of what is shown."""
    page = seen.open(file)
    page.locator("#accuracy-filters select[name=Task]").select_option("")
    lines = page.eval_on_selector_all(
        "#accuracy-table tbody tr", "lines => lines.map(line => [...line.cells].map(cell => cell.textContent))"
    )
    shown = {(line[0], line[1]): [number(part) for cell in line[4:] for part in cell.split(" to ")] for line in lines}
    expected = {}
    for each in whole()[0].conditions:
        drop = (None, None, None) if each.drop is None else (each.drop.estimate, each.drop.lost, each.drop.gained)
        expected[each.name, "pooled"] = figures(each, *drop)
        for task, part in each.per_task.items():
            expected[each.name, task] = figures(part, part.drop, part.lost, part.gained)
    assert shown.keys() == expected.keys()
    for key, values in expected.items():
        assert shown[key] == pytest.approx(values, abs=0.051), key


def number(text: str) -> float | None:
    return float(text.removesuffix(" %").replace("−", "-")) if text else None


def figures(part: Tally, drop: float | None, lost: int | None, gained: int | None) -> list[float | None]:
    """As the table has them, in per cent: rows, right, accuracy, interval, drop, lost, gained, published rule."""
    assert part.interval is not None
    fractions = [part.accuracy, *part.interval, drop]
    percent = [None if each is None else 100 * each for each in fractions]
    assert part.published_rule.accuracy is not None
    return [part.n, part.matches, *percent, lost, gained, 100 * part.published_rule.accuracy]


def test_gates_hold_the_reports_numbers(seen: Seen, tmp_path: Path) -> None:
    report = judged()
    file = tmp_path / "index.html"
    file.write_text(page_text(report, page_data(report, ())), encoding="utf-8")
    shown = seen.open(file).locator("article.gate").evaluate_all("gates => gates.map(gate => gate.textContent)")
    for gate, text in zip(report.gates, shown, strict=True):
        assert gate.difference is not None
        assert gate.interval is not None
        assert f"{100 * gate.difference:+.1f} points, {gate.share:.1%} of the right answers" in text
        assert f"[{gate.interval[0]:.1%}, {gate.interval[1]:.1%}]" in text
        assert text.split()[0] == gate.verdict


def test_sorting_and_filtering(seen: Seen, file: Path) -> None:
    page = seen.open(file)
    page.get_by_role("button", name="accuracy", exact=True).click()
    page.get_by_role("button", name="accuracy ↑").click()
    shown = page.eval_on_selector_all("#accuracy-table tbody td:nth-child(7)", "cells => cells.map(c => c.textContent)")
    values = [float(text.removesuffix(" %")) for text in shown]
    assert values == sorted(values, reverse=True)
    page.locator("select[name=Experiment]").select_option("general")
    assert page.locator("#accuracy-table tbody tr").count() == 2
    page.locator("#accuracy-filters select[name=Task]").select_option("ceo_lastname")
    assert page.locator("#accuracy-count").inner_text().startswith("2 of ")


def test_a_sample_by_click_and_by_its_link(seen: Seen, file: Path) -> None:
    page = seen.open(file)
    page.locator("#samples-grid td[data-row]").nth(2).click()
    page.wait_for_selector("dialog[open]")
    title, link = page.locator("#sample-title").inner_text(), page.url
    chosen = page.locator("dialog tr.chosen td").first.inner_text()
    _, samples = whole()
    by_name = {(sample.row, sample.condition): sample for sample in samples}
    assert page.locator("dialog tr.chosen .answer").inner_text() == by_name[title, chosen].completion
    page.keyboard.press("Escape")
    assert page.url.endswith("#samples")
    seen.page.goto("about:blank")
    page = seen.open(file, "#" + link.partition("#")[2])
    assert page.locator("#sample-title").inner_text() == title


@pytest.mark.parametrize("link", ["row=none.txt/of_these", "condition=none[k01]", "row=<b>"])
def test_a_link_of_another_report_is_told(seen: Seen, file: Path, link: str) -> None:
    page = seen.open(file, f"#{link}")
    told = page.locator("#fault")
    assert told.inner_text().startswith(f"There is no {link.replace('=', ' ')} here")
    assert page.locator("dialog[open]").count() == 0
    page.locator("#samples-grid td[data-row]").first.click()
    page.wait_for_selector("dialog[open]")
    assert not told.is_visible()


def test_keys_move_and_open(seen: Seen, file: Path) -> None:
    page = seen.open(file)
    page.locator("#samples-grid td[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.locator("#sample-title").inner_text() == whole()[1][1].row


def test_a_head_and_its_conditions(seen: Seen, file: Path) -> None:
    page = seen.open(file)
    report = whole()[0]
    assert report.ranking is not None
    layer, head, score = report.ranking.tasks["ceo_lastname"][0]
    page.locator(f"#heads-map td[data-head='{layer}-{head}']").click()
    page.wait_for_selector("#head h3")
    cells = page.locator("#head tbody tr").first.locator("td").all_inner_texts()
    assert cells[0] == "ceo_lastname"
    assert float(cells[1]) == pytest.approx(score, rel=5e-3)
    assert cells[3] == "1"
    ablated = [each.name for each in report.conditions if (layer, head) in each.heads]
    assert page.locator("#head p a").all_inner_texts() == ablated
    page.locator("#head p a").first.click()
    framed = page.locator("#heads-map td.marked")
    framed.first.wait_for()
    assert framed.count() == next(each for each in report.conditions if each.name == ablated[0]).k_effective


def test_hostile_texts_are_shown_as_text(seen: Seen, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(hostile_page(), encoding="utf-8")
    page = seen.open(file)
    assert page.title() == f"{HOSTILE}: ablation report"
    page.locator("#samples-grid td[data-row]").first.click()
    page.wait_for_selector("dialog[open]")
    assert page.locator("dialog mark").evaluate("mark => mark.textContent") == HOSTILE
    assert page.locator("dialog blockquote").evaluate("quote => quote.textContent") == HOSTILE + HOSTILE + LONG
    assert LONG in page.locator("dialog .answer").evaluate_all("answers => answers.map(answer => answer.textContent)")
    parts = "parts => Math.max(...parts.flatMap(part => [...part.childNodes]).map(node => node.textContent.length))"
    assert page.locator("dialog .answer").evaluate_all(parts) <= max(80, len(HOSTILE))
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(seen: Seen, axe: str, scheme: Any, tmp_path: Path) -> None:
    """Of a page with every verdict, a head that is looked at, and a sample that is open."""
    report, samples = whole()
    file = tmp_path / "index.html"
    file.write_text(page_text(report.model_copy(update={"gates": judged().gates}), page_data(report, samples)))
    seen.page.emulate_media(color_scheme=scheme)
    page = seen.open(file)
    page.locator("#heads-map td").first.click()
    assert serious(page, axe) == []
    page.locator("#samples-grid td[data-row]").first.click()
    page.wait_for_selector("dialog[open]")
    assert serious(page, axe) == []
