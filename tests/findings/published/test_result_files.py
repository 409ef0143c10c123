"""Published files are told apart by content, and errors name file and entry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_files import documents, published_folder, write_documents

from harness.errors import HeadsError, ReportError
from harness.experiment.heads import Head
from harness.findings.published.result_files import Count, PublishedCondition, read_published


def cells(folder: Path) -> dict[tuple[str, int, str | None, tuple[str, ...]], PublishedCondition]:
    return {(c.experiment, c.k, c.source_task, tuple(c.counts)): c for c in read_published(folder).cells}


def test_every_kind_of_file(tmp_path: Path) -> None:
    results = read_published(published_folder(tmp_path))
    assert results.baseline == {"city": Count(10, 9), "year": Count(6, 6)}
    assert results.left_out == ("notes.json",)
    assert [ranking.source for ranking in results.rankings] == ["older_heads.json", "ranked_heads.json"]
    found = cells(tmp_path)
    assert len(found) == len(results.cells) == 2 * (3 + 2 + 4)
    both = ("city", "year")
    assert found["general", 2, None, both].n_heads == 1
    assert found["general", 2, None, both].heads is None
    assert found["global", 2, None, both].counts == {"city": Count(10, 2), "year": Count(6, 0)}
    random = found["random_control", 2, None, both]
    assert (random.heads, random.n_heads, random.seed) == ((Head(0, 0), Head(3, 3)), 2, 0)
    assert found["within_task", 2, "city", ("city",)].counts == {"city": Count(10, 3)}
    assert found["transfer", 1, "city", ("year",)].counts == {"year": Count(6, 5)}
    assert found["transfer", 1, "city", ("year",)].where == "cross_task_ablation.json: 1.per_source_task.city.year"


def test_names_do_not_tell_formats(tmp_path: Path) -> None:
    files = documents()
    swapped = dict(zip(files, reversed(files.values()), strict=True))
    results = read_published(write_documents(swapped, tmp_path))
    assert results.baseline == {"city": Count(10, 9), "year": Count(6, 6)}
    counts = [c.experiment for c in results.cells]
    assert {name: counts.count(name) for name in ("within_task", "transfer", "random_control")} == {
        "within_task": 4,
        "transfer": 8,
        "random_control": 2,
    }


def test_each_random_file_is_a_draw(tmp_path: Path) -> None:
    files = documents()
    files["random_again"] = files["random_ablation_control"]
    results = read_published(write_documents(files, tmp_path))
    assert {cell.seed for cell in results.cells} == {None, 0, 1}


Change = Callable[[Any], object]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("within_task_ablation", lambda d: d["city"]["2"].update(matches=11), "city.2.matches: 11; expected at most"),
        (
            "within_task_ablation",
            lambda d: d["city"]["2"].update(accuracy=0.5),
            "city.2.accuracy: 0.5; expected 0.3, w",
        ),
        ("within_task_ablation", lambda d: d["city"]["2"].update(k=3), "city.2.k: 3; expected 2, as its key says"),
        (
            "within_task_ablation",
            lambda d: d["city"]["2"].pop("attempts"),
            "city.2: .* expected an object with 'attempts'",
        ),
        (
            "within_task_ablation",
            lambda d: d["city"]["2"].update(attempts="10"),
            "city.2.attempts: '10'; expected an int",
        ),
        ("global_ablation", lambda d: d["1"].update(total_matches=13), "1.total_matches: 13; expected 12, the sum"),
        ("global_ablation", lambda d: d["1"].update(total_attempts=17), "1.total_attempts: 17; expected 16, the sum"),
        ("global_ablation", lambda d: d["1"].update(overall_accuracy=0.7), "1.overall_accuracy: 0.7; expected 0.75"),
        (
            "random_ablation_control",
            lambda d: d["1"].update(heads_ablated=[[1]]),
            r"1.heads_ablated\[0\]: \[1\]; expected",
        ),
        (
            "cross_task_ablation",
            lambda d: d["1"]["per_source_task"].update(city=3),
            "1.per_source_task.city: 3; expected",
        ),
        ("baseline_results", lambda d: d.pop("city"), "task city; expected one of the baseline's: year"),
        (
            "baseline_results",
            lambda d: d["year"].update(attempts=12, accuracy=0.5),
            "6 attempts of year; expected .* 12",
        ),
        (
            "ranked_heads",
            lambda d: d["tasks"]["city"][0].update(score=0.1),
            r"ranked_heads.json: tasks.city\[1\]: score",
        ),
    ],
)
def test_what_contradicts_itself_is_named(tmp_path: Path, name: str, change: Change, message: str) -> None:
    files = json.loads(json.dumps(documents()))
    change(files[name])
    kind = HeadsError if name == "ranked_heads" else ReportError
    with pytest.raises(kind, match=message) as raised:
        read_published(write_documents(files, tmp_path))
    assert "\n" not in str(raised.value)
    assert name == "baseline_results" or str(raised.value).startswith(f"{name}.json: ")


def test_what_is_no_folder_of_results(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="No such file or directory; expected a folder of published result files"):
        read_published(tmp_path / "none")
    with pytest.raises(ReportError, match="0 files of a baseline; expected"):
        read_published(tmp_path)
    write_documents({"a": documents()["baseline_results"]}, tmp_path)
    with pytest.raises(ReportError, match="no file of an ablation"):
        read_published(tmp_path)
    write_documents({"b": documents()["baseline_results"]}, tmp_path)
    with pytest.raises(ReportError, match=r"2 files of a baseline: a\.json, b\.json; expected"):
        read_published(tmp_path)
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ReportError, match=r"b\.json: line 1"):
        read_published(tmp_path)
