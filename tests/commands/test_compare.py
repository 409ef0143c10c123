"""What differs between two reports, and the exit codes of a CI job; what merging stores says, and refuses."""

import json
import shutil
from pathlib import Path

import pytest
from experiment.test_store_merge import OTHER, held, store
from stores import RECORD
from vouching import vouch

from harness.cli import main
from harness.commands.compare import merged_lines
from harness.experiment.store_merge import Merged

from .refusals import Capture, refusal, usage_error


@pytest.fixture
def other(folder: Path, tmp_path: Path) -> Path:
    """The same report, with one answer of the baseline lost."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    lines = (other / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    right = next(i for i, line in enumerate(lines) if '"baseline"' in line and '"match": true' in line)
    changed = json.loads(lines[right]) | {"completion": "nothing", "match": False}
    lines[right] = json.dumps(changed)
    (other / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    vouch(other)
    return other


def test_equal_reports(folder: Path, capsys: Capture) -> None:
    """Also by the path of report.json; every check of a difference holds."""
    argv = ["compare", str(folder), str(folder / "report.json"), "--fail-on", "config,answers", "--fail-on", "fall>0"]
    assert main(argv) == 0
    assert capsys.readouterr().out == "no difference: 3 conditions, 9 answers\n"


def test_exit_codes_and_json(folder: Path, other: Path, tmp_path: Path, capsys: Capture) -> None:
    argv = ["compare", str(folder), str(other)]
    assert main(argv) == 0
    assert main([*argv, "--fail-on", "baseline:fall>0.4"]) == 0
    assert capsys.readouterr().err == ""
    file = tmp_path / "comparison.json"
    assert main([*argv, "--fail-on", "answers,config", "--fail-on", "baseline:fall>0.2", "--json", str(file)]) == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "failed: answers: baseline: 1 of 3 answers differ",
        "failed: baseline:fall>0.2: baseline: 33.3 points",
    ]
    assert shown.out.splitlines()[-1] == f"wrote {file}"
    whole = json.loads(file.read_text(encoding="utf-8"))
    assert (whole["schema_version"], whole["kind"], whole["setup"]) == (1, "ablation-comparison", [])
    assert whole["lines"][0]["paired"]["lost"] == 1


def test_a_page(folder: Path, other: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "compared.html"
    assert main(["compare", str(folder / "report.json"), str(other), "--html", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {file}"
    assert 'id="samples-grid"' in file.read_text(encoding="utf-8")
    assert "--html: " in refusal(capsys, "compare", folder, other, "--html", tmp_path)


def test_a_report_without_samples(folder: Path, other: Path, capsys: Capture) -> None:
    (other / "samples.jsonl").unlink()
    assert main(["compare", str(folder), str(other)]) == 0
    assert "answers not compared" in capsys.readouterr().out
    assert main(["compare", str(folder), str(other), "--fail-on", "answers"]) == 1
    assert "cannot be shown" in capsys.readouterr().err


def test_lost_samples_never_pass(folder: Path, other: Path, capsys: Capture) -> None:
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (other / "samples.jsonl").write_text("".join(lines[:-2]), encoding="utf-8")
    assert "samples.jsonl: 7 lines; expected the 9 lines that report.json" in refusal(capsys, "compare", folder, other)


def test_what_cannot_be_used(folder: Path, other: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "expected a report's file" in refusal(capsys, "compare", folder, tmp_path / "none")
    assert "write 0.05 for five points" in refusal(capsys, "compare", folder, other, "--fail-on", "fall>5%")
    assert "no generl in either report" in refusal(capsys, "compare", folder, other, "--fail-on", "generl:fall>0.1")
    assert "--json: " in refusal(capsys, "compare", folder, other, "--json", tmp_path)
    (other / "samples.jsonl").write_text("{}\n")
    vouch(other)
    assert "samples.jsonl:1: no 'condition'" in refusal(capsys, "compare", folder, other)
    assert "required: B" in usage_error(capsys, "compare", folder)


def test_merge_says_what_came_of_each_store(tmp_path: Path, capsys: Capture) -> None:
    parts, into = (
        [store(tmp_path / "1", a=RECORD, b=RECORD), store(tmp_path / "2", b=RECORD, c=RECORD)],
        tmp_path / "all",
    )
    assert main(["merge", *map(str, parts), "--into", str(into)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{parts[0]}: 2 records added",
        f"{parts[1]}: 1 record added; 1 record there already",
        f"store: {into}; run the study again with it, without --ablation-part: what is stored is not computed again",
    ]
    other = store(tmp_path / "3", a=OTHER)
    assert "1 question that stores answer differently: row " in refusal(capsys, "merge", other, "--into", into)
    for keep, came in (("first", "which was not taken"), ("last", "which took the place of the one before")):
        assert main(["merge", str(other), "--into", str(into), "--keep", keep]) == 0
        assert capsys.readouterr().out.startswith(
            f"{other}: 0 records added; 1 record there already; 1 of them with another answer, {came}\n"
        )
        assert held(into) == {"a": OTHER if keep == "last" else RECORD, "b": RECORD, "c": RECORD}


def test_merge_says_what_becomes_of_other_mean_values() -> None:
    """Records under them are found no more."""
    differing = [Merged(Path("1"), 3, 0, 0, 0, 1)]
    for keep, said in (
        ("first", "were not taken: what rests on them"),
        ("last", "took the place of others: what rests"),
    ):
        line, _ = merged_lines(differing, Path("all"), keep)
        assert line.startswith(f"1: 3 records added; its mean values differ and {said}")


def test_merge_refuses(tmp_path: Path, capsys: Capture) -> None:
    assert "expected a store of records to merge" in refusal(
        capsys, "merge", tmp_path / "no", "--into", tmp_path / "all"
    )
    assert "--into" in usage_error(capsys, "merge", tmp_path / "no")
    assert "choose from first, last" in usage_error(capsys, "merge", "a", "--into", "b", "--keep", "both").replace(
        "'", ""
    )
