"""Reading a report: what was written comes back, as data and as frames; anything else is one clear error."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fake_study import make_report, make_rows, make_setup, score
from vouching import vouch

from harness.errors import ReportError
from harness.experiment.conditions import BASELINE
from harness.experiment.plan import Job
from harness.experiment.record import Completion, Record
from harness.findings.report.reading import load
from harness.findings.report.report_writing import build_report, write_report
from harness.findings.samples import score_samples

TASKS = ("ceo_lastname", "incorporation_year")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_report(*make_report(TASKS, (1, 5), ("within_task", "random_control"), 3), tmp_path)
    return tmp_path


def test_what_was_written_comes_back(folder: Path) -> None:
    report, samples = make_report(TASKS, (1, 5), ("within_task", "random_control"), 3)
    assert load(folder).data.model_copy(update={"samples": None}) == report
    assert load(folder).sample_lines() == samples
    assert load(str(folder / "report.json")).data == load(folder).data


def test_frame_has_a_line_a_condition_and_task(folder: Path) -> None:
    frame = load(folder).frame()
    assert len(frame) == (1 + 2) + 4 * (1 + 1) + 10 * (1 + 2)
    own = frame[(frame.condition == "within_task[ceo_lastname-k05]") & (frame.task == "pooled")].iloc[0]
    assert (own.k, own.k_effective, own.n, own.experiment) == (5, 5, 3, "within_task")
    assert own.accuracy == own.matches / 3
    assert own.low < own.accuracy < own.high or own.accuracy in (0, 1)
    baseline = frame[frame.experiment == "baseline"]
    assert baseline.k.isna().all()
    assert baseline.drop_duplicates("task").lost.isna().all()
    assert str(frame.k.dtype) == "Int64"


def test_samples_keep_texts_as_texts(tmp_path: Path) -> None:
    """A year read as a number, or a line broken at U+2028, would be another answer."""
    (row,) = make_rows(("a",), 1)
    record = Record(Job(row.id, frozenset()), Completion((1,), 3, -1.0, -2.0, 0, 1.0), "1993\u2028 x\x85y", 0.1)
    samples = score_samples([BASELINE], [row], {record.job: record}, score, lambda row, text: {"words": 2})
    write_report(build_report(make_setup(None), [BASELINE], [row], samples), samples, tmp_path)
    frame = load(tmp_path).samples()
    assert isinstance(frame, pd.DataFrame)
    assert frame.to_dict("records") == [
        {
            "condition": "baseline",
            "row": "filing_000.txt/a",
            "filename": "filing_000.txt",
            "cluster": "filing_000.txt",
            "task": "a",
            "depth": None,
            "value": "0",
            "completion": "1993\u2028 x\x85y",
            "match": False,
            "published_match": False,
            "ended": True,
            "faults": (),
            "tokens": 1,
            "gold_logprob": -1.0,
            "baseline_logprob": -2.0,
            "value_logprob": None,
            "own.words": 2.0,
        }
    ]


def test_frames_of_a_report_without_conditions_or_samples_are_empty(tmp_path: Path) -> None:
    write_report(build_report(make_setup(None), [], [], []), [], tmp_path)
    assert load(tmp_path).frame().empty
    assert load(tmp_path).samples().empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file; expected JSON"),
        (b"{", r"line 1, column 2: .* at the end of the file, which may be cut off; expected JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"[1]", "no report"),
        (b'{"kind": "else"}', "no report"),
        (b'{"kind": "ablation-report"}', "expected an object with 'schema_version'"),
        (
            b'{"kind": "ablation-report", "schema_version": 3}',
            "schema_version 3; expected 2; a newer version .* update",
        ),
        (b'{"kind": "ablation-report", "schema_version": 1}', "expected 2; an older harness .* the store still serves"),
        (b'{"kind": "ablation-report", "schema_version": "2"}', "schema_version: '2'; expected an integer"),
        (b'{"kind": "ablation-report", "schema_version": true}', "schema_version: True; expected an integer"),
        (b'{"kind": "ablation-report", "schema_version": 2.0}', "schema_version: 2.0; expected an integer"),
        (b'{"kind": "ablation-report", "schema_version": 2}', "json: no 'run'; expected it there; run again"),
        (b'{"kind": "ablation-report", "kind": "ablation-report"}', "the key 'kind' twice in one object"),
    ],
)
def test_what_is_no_report_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(ReportError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "report.json") in str(caught.value)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"nowhere: cannot be read \(No such file or directory\)"):
        load(tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"report\.json: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("run.exit", "fine", "run.exit: 'fine'; expected 'passed', 'failed', 'interrupted' or 'error'; run again"),
        ("run.more", 1, "run.more: a field that has no meaning here; expected none"),
        ("configuration.k", {}, "configuration.k: {}; expected a valid string"),
        ("conditions.1.per_task.ceo_lastname.n", True, r"per_task.ceo_lastname.n: True; expected a valid integer"),
        ("conditions.1.heads.0", [1], r"conditions\[1\].heads\[0\]: \[1\]; expected "),
        ("conditions.0.accuracy", float("nan"), r"conditions\[0\].accuracy: nan; expected a finite number"),
        ("conditions.0.matches", 2.0, r"conditions\[0\].matches: 2.0; expected "),
        ("conditions.0.tasks", ["a", "a"], r"conditions\[0\].tasks: .*; expected each once, not 'a' twice"),
    ],
)
def test_the_first_place_that_is_wrong_is_named(folder: Path, place: str, value: object, message: str) -> None:
    file = folder / "report.json"
    plain = json.loads(file.read_text("utf-8"))
    *steps, last = place.split(".")
    part = plain
    for step in steps:
        part = part[int(step) if isinstance(part, list) else step]
    part[int(last) if isinstance(part, list) else last] = value
    file.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ReportError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1, column 2"),
        ("[]", "expected an object"),
        ("{}", "no 'condition'; expected it there; run again"),
        ('{"own": 1, "own": 1}', "the key 'own' twice"),
        ("", "an empty"),
    ],
)
def test_a_broken_line_of_samples_is_named(folder: Path, line: str, message: str) -> None:
    samples = folder / "samples.jsonl"
    first = samples.read_text("utf-8").split("\n")[0]
    samples.write_text(f"{first}\n{line}\n{first}\n", encoding="utf-8")
    vouch(folder)
    with pytest.raises(ReportError, match=rf"samples\.jsonl:2: .*{message}"):
        load(folder).samples()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("match", 1),
        ("match", "true"),
        ("match", None),
        ("gold_logprob", "-1"),
        ("gold_logprob", True),
        ("gold_logprob", float("nan")),
        ("tokens", -1),
        ("tokens", 1.0),
        ("own", []),
        ("own", {"a": "b"}),
        ("row", ""),
        ("row", 3),
        ("faults", ["tired"]),
    ],
)
def test_a_sample_of_the_wrong_kind_is_named(folder: Path, name: str, value: object) -> None:
    """Such lines once ended in a traceback where they were used."""
    file = folder / "samples.jsonl"
    first, *others = file.read_text("utf-8").split("\n")
    file.write_text("\n".join([json.dumps(json.loads(first) | {name: value}), *others]), encoding="utf-8")
    vouch(folder)
    with pytest.raises(ReportError, match=rf"samples\.jsonl:1: {name}.*; expected .*; run again"):
        load(folder).sample_lines()


def test_missing_samples_are_one_clear_error(folder: Path) -> None:
    (folder / "samples.jsonl").unlink()
    with pytest.raises(ReportError, match=r"samples\.jsonl: cannot be read"):
        load(folder).samples()


def without_name(folder: Path) -> None:
    """As reports of this version once were: they name no samples."""
    file = folder / "report.json"
    report = json.loads(file.read_text("utf-8"))
    del report["samples"]
    file.write_text(json.dumps(report), encoding="utf-8")


@pytest.mark.parametrize("vouched", [True, False])
def test_lost_samples_are_an_error(folder: Path, vouched: bool) -> None:
    """Twenty lines cut off once made "no difference" of a comparison."""
    file = folder / "samples.jsonl"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:-20]), encoding="utf-8")
    if vouched:
        expected = rf"samples\.jsonl: {len(lines) - 20} lines; expected the {len(lines)} lines that report\.json .*anew"
    else:
        without_name(folder)
        expected = r"samples\.jsonl: 4 lines of condition random_control\[seed3-k01\]; expected 6, as in report\.json"
    with pytest.raises(ReportError, match=expected):
        load(folder).sample_lines()


def test_samples_of_no_condition_are_an_error(folder: Path) -> None:
    file = folder / "samples.jsonl"
    first, *others = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join([first, *others, first.replace('"baseline"', '"nothing"')]), encoding="utf-8")
    vouch(folder)
    with pytest.raises(ReportError, match=rf"samples\.jsonl:{len(others) + 2}: condition: got 'nothing'; expected one"):
        load(folder).sample_lines()


def test_a_report_beside_the_samples_of_another_run_is_refused(folder: Path) -> None:
    """As a kill or a full disk leaves them that comes between the two; one without samples still tells its figures."""
    file = folder / "samples.jsonl"
    file.write_text(file.read_text("utf-8").replace('"match": true', '"match": false', 1), encoding="utf-8")
    with pytest.raises(ReportError, match=r"samples\.jsonl: other bytes; expected the .* run again to write it anew"):
        load(folder)
    file.unlink()
    assert not load(folder).frame().empty
