"""The page as a file: what it embeds, what it lets run, and that text stays text."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from changed_section import changed

from harness.errors import ReportError
from harness.findings.figures.plots import draw_plots
from harness.findings.page.page_data import page_data
from harness.findings.page.page_writing import embedded, page_text, read_figures, write_page
from harness.findings.report.gate_message import gate_facts

from .pages import HOSTILE, LONG, VERDICTS, hostile_page, judged, whole


class Elements(HTMLParser):
    """The elements of a page, and its text by the element that holds it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_data_is_read_back() -> None:
    data = page_data(*whole())
    assert embedded(page_text(whole()[0], data)) == data
    with pytest.raises(ValueError, match="no page of ours"):
        embedded("<p>")


def test_a_part_of_a_study_is_told_first_and_no_gate_is_missed() -> None:
    report, samples = whole()
    part = changed(report, {"run.part": {"number": 2, "of": 8, "rows": 3, "left": 0}, "gates": []})
    text = " ".join("".join(Elements(page_text(part, page_data(part, samples))).texts).split())
    rows = f"3 of {report.data.rows} rows"
    assert f"Verdicts Part 2 of 8 of a study: {rows}, on which the figures rest. No gate is judged on a part" in text
    assert "No gate was asked for" not in text


def test_hostile_texts_stay_texts() -> None:
    """Two scripts, the data and our own; no element and no attribute comes from data."""
    page = hostile_page()
    elements = Elements(page)
    assert [script.get("id") for script in elements.of("script")] == ["data", None]
    assert not elements.of("img")
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    assert HOSTILE in "".join(elements.texts)
    data = embedded(page)
    assert {HOSTILE, LONG} == set(data.texts)
    assert data.rows[0].question == data.rows[0].value == HOSTILE
    assert data.rows[0].after == LONG


def test_nothing_but_our_own_script_runs_and_nothing_is_fetched() -> None:
    page = page_text(whole()[0], page_data(*whole()))
    elements = Elements(page)
    (policy,) = [meta["content"] for meta in elements.of("meta") if "http-equiv" in meta]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    linked = [
        value for _, attributes in elements.found for name, value in attributes.items() if name in ("src", "href")
    ]
    assert linked
    assert all(value is not None and value.startswith("#") for value in linked)


def test_every_verdict_with_each_check() -> None:
    report = judged()
    page = page_text(report, page_data(report, ()))
    text = " ".join("".join(Elements(page).texts).split())
    for gate in report.gates:
        assert f"{VERDICTS[gate.name]} {gate.name}" in text
        for name, said in gate_facts(gate):
            if name != "why":
                assert " ".join(said.replace("  ", ": ").split()) in text
        for reason in gate.reasons:
            assert reason in text


def test_figures_have_their_numbers_under_the_pointer(tmp_path: Path) -> None:
    report, samples = whole()
    paths = draw_plots(report, tmp_path, formats=("svg",))
    figures = {figure.name: figure for figure in read_figures(paths)}
    assert {"accuracy_by_k", "forest"} <= figures.keys()
    assert "head_map" not in figures
    titles = re.findall(r"<title>(.*?)</title>", figures["accuracy_by_k"].svg)
    (within,) = [title for title in titles if title.startswith("within_task, k = 5: ")]
    shown = [each for each in report.conditions if (each.experiment, each.k) == ("within_task", 5)]
    accuracy = sum(each.matches for each in shown) / sum(each.n for each in shown)
    assert within.startswith(f"within_task, k = 5: {accuracy:.1%} [")
    page = page_text(report, page_data(report, samples), figures.values())
    assert page.count("<svg ") == len(figures)


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    report, samples = whole()
    assert write_page(report, page_data(report, samples), tmp_path).name == "index.html"
    with pytest.raises(ReportError, match="the page cannot be written"):
        write_page(report, page_data(report, samples), tmp_path / "none")
