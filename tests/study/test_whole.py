"""The whole command: where its time went, and a loop on some of its rows; pytest itself is a fake here."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_study import make_report

from harness.errors import ReportError
from harness.findings.report.report_writing import write_report
from harness.settings import Settings
from harness.study.benchmark import Request
from harness.study.whole import WholeResult, measure_whole

REQUEST = Request(
    Settings(k=(1,), max_new_tokens=3, max_rows=18, tasks=("ceo_lastname",)),
    "demo",
    ("within_task", "general"),
    n_rows=1,
    n_tokens=range(0),
    baseline="plain",
)
RESULT = WholeResult("pytest evals", 10.0, 4.0, 5.0, 1.0, 20, 3, 60, "plain", 2, 6, 4.5)

Pytest = Callable[[list[str]], int]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pytest], list[list[str]]]:
    """Put a fake in pytest's place; what it is asked."""

    def put(fake: Pytest) -> list[list[str]]:
        seen: list[list[str]] = []

        def run(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
            seen.append(command)
            return subprocess.CompletedProcess(command, fake(command), "collected nothing\n", "")

        monkeypatch.setattr(subprocess, "run", run)
        return seen

    return put


def writes_report(command: list[str], *, rows: bool = True) -> int:
    """0.1 s, then rows for 0.2 s, then a report."""
    times = [datetime.fromtimestamp(time.time() + seconds, UTC).isoformat() for seconds in (0.1, 0.3)]
    time.sleep(0.4)
    report, samples = make_report(("ceo_lastname",), (1,), ("within_task",), 3)
    if rows:
        report = report.model_copy(
            update={"run": report.run.model_copy(update={"rows_from": times[0], "rows_to": times[1]})}
        )
    write_report(report, samples, Path(command[-1]) / "latest")
    return 1


def test_where_the_time_goes_and_what_a_loop_would_take(asked: Callable[[Pytest], list[list[str]]]) -> None:
    seen = asked(writes_report)
    setting, found = measure_whole(REQUEST, Path("evals"), ["--ablation-k=1"])
    (command,) = seen
    assert command[1:7] == ["-m", "pytest", "evals", "-k", "within_task or general", "--ablation-k=1"]
    assert found.before == pytest.approx(0.1, abs=0.05)
    assert found.rows == pytest.approx(0.2, abs=0.01)
    assert found.before + found.rows + found.after == pytest.approx(found.seconds)
    assert found.after > 0
    assert setting["model"] == "demo"
    # untouched, and the best head, which is both own and shared; the loop was given one row of them
    assert (found.n_conditions, found.n_completions) == (2, 2 * found.n_rows)
    assert (found.loop, found.loop_rows, found.loop_completions) == ("plain", 1, 2)
    assert found.loop_seconds > 0


def test_the_loop_is_scaled_by_completions_and_has_the_same_start_and_end() -> None:
    assert RESULT.loop_rows_seconds == 45.0
    assert RESULT.ratio == (4.0 + 45.0 + 1.0) / 10.0
    assert RESULT.as_json()["ratio"] == RESULT.ratio


def test_a_command_that_fails_or_asks_nothing(asked: Callable[[Pytest], list[list[str]]]) -> None:
    asked(lambda command: 4)
    with pytest.raises(ReportError, match="--whole: pytest ended with 4: collected nothing; expected a report"):
        measure_whole(REQUEST, Path("evals"), [])
    asked(lambda command: writes_report(command, rows=False))
    with pytest.raises(ReportError, match="no row was asked"):
        measure_whole(replace(REQUEST, n_rows=2), Path("evals"), [])
