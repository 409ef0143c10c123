"""Stores of two versions: what they have in common is paired, what differs is found, and ties are told apart."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from against import BEST, Whole, against, compared, read_records, run_whole, tie_of

from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.experiment.record import Completion, Record
from harness.experiment.store import Store
from harness.model.performance import bench

HEADS = frozenset({Head(1, 2), Head(0, 3)})
BASELINE = Record(Job("a", frozenset()), Completion((5, 6, 7), 2, -0.5, -0.5, 0, 0.9), "Relsan Ltd", 0.1)
ABLATED = Record(Job("a", HEADS), Completion((5, 6), None, -9.0, -8.0, 4, 0.3), "Relsan", 0.1)
OTHER_ROW = Record(Job("b", frozenset()), Completion((9,), 2, -0.1, -0.1, 0, 2.0), "42", 0.1)
TIE_HERE = 1e-5
BENCH = Path(__file__).parents[1] / "reports" / "bench"


def by_job(*records: Record) -> Mapping[Job, Record]:
    return {record.job: record for record in records}


def saying(record: Record, *token_ids: int, gap: float, text: str = "another") -> Record:
    return replace(record, completion=replace(record.completion, token_ids=token_ids, smallest_gap=gap), text=text)


def first_version(record: Record) -> str:
    """A record as 0.1.0 kept it: the completion's fields beside the others."""
    job = {**asdict(record.job), "heads": [str(head) for head in sorted(record.job.heads)]}
    fields = {**asdict(record), **asdict(record.completion), "job": job}
    del fields["completion"], fields["device"], fields["baseline_logprobs"]
    return json.dumps(fields)


def test_stores_of_both_versions_hold_the_same_records(tmp_path: Path) -> None:
    with Store(tmp_path / "now.sqlite") as store:
        store.put_row([("key", BASELINE), ("another", ABLATED)])
    now = read_records(tmp_path / "now.sqlite")
    assert now == by_job(BASELINE, ABLATED)
    database = sqlite3.connect(tmp_path / "old.sqlite")
    database.execute("CREATE TABLE records (key TEXT PRIMARY KEY, record TEXT NOT NULL)")
    database.executemany(
        "INSERT INTO records VALUES (?, ?)", [(i, first_version(r)) for i, r in enumerate(now.values())]
    )
    database.commit()
    database.close()
    assert read_records(tmp_path / "old.sqlite") == now


def test_equal_completions() -> None:
    found = compared(by_job(BASELINE, ABLATED), by_job(ABLATED, BASELINE, OTHER_ROW), tie=TIE_HERE)
    assert (found["both"], found["this_alone"], found["other_alone"], found["different"]) == (2, 0, 1, 0)
    assert found["least_gap_of_equal"] == 0.3


def test_differences_and_ties() -> None:
    theirs = by_job(saying(BASELINE, 5, 8, gap=2e-6), saying(ABLATED, 5, 6, 1, gap=0.2, text=ABLATED.text))
    found = compared(by_job(BASELINE, ABLATED), theirs, tie=TIE_HERE)
    assert (found["different"], found["different_texts"], found["ties"]) == (2, 1, 1)
    real, tie = found["differences"]
    assert (real["heads"], real["at"], real["tokens"], real["gap"]) == (("L0H3", "L1H2"), 2, (None, 1), 0.2)
    assert (tie["at"], tie["tokens"], tie["texts"]) == (1, (6, 8), ("Relsan Ltd", "another"))


def test_an_end_token_counts() -> None:
    theirs = by_job(replace(BASELINE, completion=replace(BASELINE.completion, end_token_id=None)))
    assert compared(by_job(BASELINE), theirs, tie=TIE_HERE)["different"] == 1


def test_seconds_are_medians_and_parts_those_that_a_report_tells() -> None:
    def turn(seconds: float, rows: float | None = None) -> Whole:
        return Whole(seconds, 2 * seconds, None, rows, None, by_job(BASELINE))

    these = [turn(90.0), turn(10.0, 6.0), turn(12.0, 8.0)]
    found = against({"this": these, "other": [turn(48.0)]}, tie=TIE_HERE)
    assert found["seconds"]["this"]["seconds"] == 12.0
    assert found["seconds"]["this"]["rows"] == 7.0
    assert found["seconds"]["this"]["all"] == [90.0, 10.0, 12.0]
    assert found["seconds"]["other"]["before_first_row"] is None
    assert found["seconds"]["this"]["stored"] is None
    assert found["ratio"] == 4.0
    assert against({"this": these}, tie=TIE_HERE)["completions"] == 1


def test_sums_in_float32_tie_as_in_the_benchmark() -> None:
    assert pytest.approx(bench.TIE, rel=0.01) == tie_of("float32", None)
    assert tie_of("float64", None) < 1e-13


def test_in_16_bits_ties_follow_from_what_is_written() -> None:
    """Errors drawn anew for all that is written, of two logits in two trees; of normal ones 0.27 % lie beyond."""
    n_layers, p = 8, 2.0**-7
    draws = np.random.default_rng(0)
    states = draws.uniform(-p / 2, p / 2, (50_000, 2, 2, 2 * n_layers)).sum(-1)
    logits = states + BEST * draws.uniform(-p / 2, p / 2, (50_000, 2, 2))
    gaps = logits[..., 0] - logits[..., 1]
    beyond = (np.abs(gaps[:, 0] - gaps[:, 1]) > tie_of("bfloat16", n_layers)).mean()
    assert 0.0005 < beyond < 0.0035
    assert tie_of("float16", 8) == tie_of("bfloat16", 8) / 8
    with pytest.raises(ValueError, match=r"^bfloat16: no report says how many layers"):
        tie_of("bfloat16", None)


def test_committed_ties_are_of_this_rule() -> None:
    found = json.loads((BENCH / "whole-demo-h200.json").read_text(encoding="utf-8"))["completions"]
    assert found["tie"] == tie_of("bfloat16", 8)
    gaps = [each["gap"] for each in found["differences"]]
    assert found["ties"] == found["different"] == sum(gap <= found["tie"] for gap in gaps) == len(gaps)


def test_completions_are_counted_by_how_near_they_came() -> None:
    def of(row_id: str, gap: float, *token_ids: int) -> Record:
        return replace(saying(BASELINE, *token_ids, gap=gap), job=Job(row_id, frozenset()))

    ours = [of("a", 0.0, 5, 6), of("b", 5e-6, 5, 6), of("c", 2e-5, 5, 6), of("d", 1.0, 5, 6)]
    theirs = [of("a", 0.9, 5, 7), *ours[1:3], of("d", 0.9, 5, 7)]
    found = compared(by_job(*ours), by_job(*theirs), tie=TIE_HERE)
    counts = [(each["both"], each["different"]) for each in found["by_gap"]]
    assert counts == [(1, 1), (0, 0), (0, 0), (1, 0), (0, 0), (1, 0), (0, 0), (1, 1)]
    assert [each["up_to"] for each in found["by_gap"]][3:] == [0.5e-5, 1e-5, 2e-5, 4e-5, None]
    assert found["ties"] == 1


FAKE = """
import json, sqlite3, sys
from pathlib import Path

if "evals" not in sys.argv:
    print("no tests here")
    sys.exit(4)
place = Path(sys.argv[sys.argv.index("--ablation-reports") + 1])
(place / "latest").mkdir(exist_ok=True)
run = {"rows_from": "2026-01-01T00:00:01+00:00", "rows_to": "2026-01-01T00:00:04.5+00:00"}
(place / "latest" / "report.json").write_text(json.dumps({"run": run, "model": {"n_layers": 8}}))
with sqlite3.connect(place / "store.sqlite") as database:
    database.execute("CREATE TABLE IF NOT EXISTS records (record TEXT)")
sys.exit(1)
"""
"""In pytest's place: a report, an empty store, and a gate that failed."""


def test_a_command(tmp_path: Path) -> None:
    (tmp_path / "pytest").mkdir()
    (tmp_path / "pytest" / "__init__.py").touch()
    (tmp_path / "pytest" / "__main__.py").write_text(FAKE)
    found = run_whole(tmp_path, ["evals"], again=True)
    assert (found.rows, found.records, found.n_layers) == (3.5, {}, 8)
    assert found.cpu_seconds > 0
    assert found.stored is not None
    assert run_whole(tmp_path, ["evals"]).stored is None
    with pytest.raises(RuntimeError, match="pytest ended with 4:\nno tests here"):
        run_whole(tmp_path, ["others"])
