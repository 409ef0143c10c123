"""Published samples by hand: three companies, one with two filings, two rankings and two draws of random heads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from changed_section import plain_of
from fake_study import SHAPE, make_setup
from jsonschema import Draft202012Validator

from harness.errors import ReportError
from harness.findings.published.sample_files import PublishedSamples, read_samples, samples_report, scoring_lines
from harness.findings.report.report_data import ReportData

ROWS = {
    "11_1993.txt_headquarters_city_0": ("headquarters_city", "St. Louis"),
    "11_1994.txt_headquarters_city_1": ("headquarters_city", "Omaha"),
    "22_1993.txt_headquarters_city_2": ("headquarters_city", "Paris"),
    "33_1993.txt_employees_count_total_3": ("employees_count_total", "1,200"),
}
"""`idx` to task and value."""
UNTOUCHED = ("St", "Omaha", "Paris", "1200")
PREDS = {
    "QRScore-SEC": {0: UNTOUCHED, 8: ("St", "Rome", "Paris", "12"), 16: ("Rome", "Rome", "Rome", "1200")},
    "Random-seed42": {0: UNTOUCHED, 8: UNTOUCHED},
    "Random-seed123": {0: ("St", "Omaha", "Paris", "1,200"), 8: ("St. Louis", "Omaha", "Rome", "1200")},
    "Transfer-headquarters_city": {8: ("Rome", "Omaha", "Paris", "1200")},
}


def theirs(pred: str, gold: str) -> int:
    """Either text within the other."""
    one, other = (text.lower().replace(",", "").replace(".", "") for text in (pred, gold))
    return int(one in other or other in one)


def documents() -> dict[str, Any]:
    """Every file's document, to be changed and written."""
    found: dict[str, Any] = {}
    for method, by_k in PREDS.items():
        details: dict[str, Any] = {
            str(k): [
                {"idx": idx, "task": task, "gold": gold, "pred": pred, "correct": theirs(pred, gold)}
                for (idx, (task, gold)), pred in zip(ROWS.items(), preds, strict=True)
            ]
            for k, preds in by_k.items()
        }
        curve = {k: sum(row["correct"] for row in rows) / len(rows) for k, rows in details.items()}
        found[f"{method}_results"] = {
            "method": method,
            "knockout_sizes": list(by_k),
            "accuracy_curve": curve,
            "details": details,
        }
    found["comparison_summary"] = {"methods": list(PREDS)}
    return found


def folder_of(folder: Path, files: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, document in (documents() if files is None else files).items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def found_in(folder: Path) -> PublishedSamples:
    found = read_samples(folder)
    assert found is not None
    return found


def report_of(folder: Path) -> ReportData:
    return samples_report(make_setup(None, SHAPE), found_in(folder))


def test_rows_clusters_and_conditions(tmp_path: Path) -> None:
    found = found_in(folder_of(tmp_path))
    assert [(row.filename, row.cluster_name, row.task) for row in found.rows[:2]] == [
        ("11_1993.txt", "11", "headquarters_city"),
        ("11_1994.txt", "11", "headquarters_city"),
    ]
    assert [condition.name for condition in found.conditions] == [
        "baseline",
        "QRScore-SEC[k08]",
        "QRScore-SEC[k16]",
        "random_control[seed123-k08]",
        "random_control[seed42-k08]",
        "transfer[headquarters_city:headquarters_city-k08]",
        "transfer[headquarters_city:employees_count_total-k08]",
    ]
    assert len(found.samples) == 4 * 6
    assert (found.left_out, found.differing) == (("comparison_summary.json",), 1)


def test_both_scorings_by_hand(tmp_path: Path) -> None:
    """ "St" is no St. Louis, and "12" no 1,200, by whole tokens; as published both are right."""
    report = report_of(folder_of(tmp_path))
    by_name = {condition.name: condition for condition in report.conditions}
    figures = {
        name: (each.matches, each.published_rule.matches, each.n, each.k_effective) for name, each in by_name.items()
    }
    assert figures["baseline"] == (3, 4, 4, 0)
    assert figures["QRScore-SEC[k08]"] == (1, 3, 4, 8)
    assert figures["QRScore-SEC[k16]"] == (1, 1, 4, 16)
    drop = by_name["QRScore-SEC[k08]"].drop
    assert drop is not None
    assert (drop.lost, drop.gained, drop.n, drop.filings) == (2, 0, 4, 4)
    Draft202012Validator(ReportData.model_json_schema()).validate(plain_of(report))


def test_draws_and_clusters_bear_on_the_intervals(tmp_path: Path) -> None:
    """Company 11 has two rows: residuals of the drop at 8 (0, 1, 0, 1 less 1/2) summed over companies: 0, -1/2, 1/2.

    CR1: 3/2 x (1/4 + 1/4) / 16; t(2) reaches 4.303 standard errors of 0.2165.
    """
    found = found_in(folder_of(tmp_path))
    first, _, *lines = scoring_lines(found)
    assert first.startswith("the untouched model answers 1 of 4 rows otherwise in some file than in QRScore-SEC_res")
    (line,) = [line for line in lines if line.startswith("QRScore-SEC ") and " k=8 " in line]
    figures = "4 25.0% +50.0 [-43.2, +143.2] 75.0% +25.0 [-55.7, +105.7] 2"
    assert line.split() == ["QRScore-SEC", "k=8", *figures.split()]
    contrast = next(each for each in report_of(tmp_path).contrasts if each.experiment == "QRScore-SEC")
    assert (contrast.k, contrast.k_effective, contrast.drop, contrast.random_drop) == (8, (8, 8), 0.5, 0.0)


Change = Callable[[Any], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["details"]["8"][1].update(correct=2), r"8\[1\]\.correct: 2; expected 0 or 1"),
        (lambda d: d["details"]["8"][1].pop("pred"), r"details\.8\[1\]: .*; expected an object with 'pred'"),
        (lambda d: d["details"]["8"].append(d["details"]["8"][0]), r"8\[4\]\.idx: .*; expected each row once"),
        (
            lambda d: d["details"]["8"][0].update(gold="Rome"),
            r"8: 11_1993\.txt_headquarters_city_0: head",
        ),
        (lambda d: d["details"]["0"][3].update(gold="many"), r"'many'; expected a value that can be found .* a number"),
        (lambda d: d["details"]["8"][0].update(task=""), r"8\[0\]\.task: ''; expected a name"),
        (lambda d: d["details"].update(all=[]), r"details\.all: \[\]; expected a number of heads for a key"),
        (lambda d: d["accuracy_curve"].update({"8": 0.5}), r"accuracy_curve\.8: 0\.5; expected 0\.75, 3/4"),
        (
            lambda d: d.update(method="Random-seed42"),
            r"method: .*; expected another method than in QRS",
        ),
    ],
)
def test_what_contradicts_itself_is_named(tmp_path: Path, change: Change, said: str) -> None:
    files = documents()
    change(files["QRScore-SEC_results"])
    with pytest.raises(ReportError, match=said):
        read_samples(folder_of(tmp_path, files))


def test_no_untouched_model_and_no_samples(tmp_path: Path) -> None:
    only = {"a": documents()["Transfer-headquarters_city_results"]}
    with pytest.raises(ReportError, match=r"a\.json: details: none with 0 heads zeroed"):
        read_samples(folder_of(tmp_path / "one", only))
    assert read_samples(folder_of(tmp_path / "none", {"summary": {}})) is None
    with pytest.raises(ReportError, match="No such file or directory; expected a folder"):
        read_samples(tmp_path / "nowhere")
