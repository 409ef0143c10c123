"""Gates through pytest: what a verdict needs, what it says, and what becomes of it when something is missing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.store import Store
from harness.retrieval.rows import read_rows, write_rows
from harness.retrieval.tasks import EDGAR_TASKS
from plugin.project import TASKS, Project, names, usage_error

OWN, SHARED, GLOBAL = "gate[own-all-k02]", "gate[shared-all-k02]", "gate[pooled-all-k02]"
CONTROLS = [f"random_control[own:{task}-seed{seed}-k02]" for task in TASKS for seed in range(19)]


def gates(project: Project) -> dict[str, dict[str, Any]]:
    return {gate["name"]: gate for gate in project.report()["gates"]}


def test_what_a_gate_computes(project: Project) -> None:
    """Baseline, needle absent, the heads and their draws; some of them over plain text too."""
    result = project.run("evals", "-m", "gate", "-k", "own")
    result.assert_outcomes(failed=1, deselected=len(project.ids("evals")) - 1)
    own = [f"within_task[{task}-k02]" for task in TASKS]
    report = project.report()
    permuted = [name for name in names(report) if name.startswith("permutation[own:")]
    assert set(names(report)) == {"baseline", "needle_absent", "bottom[k02]", *own, *CONTROLS, *permuted}
    assert report["run"]["missing"] == []
    gate = gates(project)[OWN]
    assert gate["permuted"]["all_taken"], "a model of twelve heads has few sets"
    assert len(permuted) == 2 * (gate["permuted"]["sets"] - 1)
    assert [c["requested"] for c in report["conditions"] if c["name"] in permuted] == [0] * len(permuted)
    assert (gate["answered"], gate["permutation_drops"]) == (0, []), "no row is answered rightly"
    assert gate["plain_text"]["n"] == 6
    some = [name for name in CONTROLS if any(f"seed{seed}-" in name for seed in range(5))]
    assert {name for name in gate["conditions"] if name.startswith("plain_text")} == {
        "plain_text",
        *(f"plain_text[{name}]" for name in [*own, *some]),
    }
    assert list(gates(project)) == [OWN], "the other gates were not selected"
    assert not [line for line in result.outlines if line.startswith("permutation")]
    assert report["claim"] is None, "one gate is no claim of several"


def test_the_message_is_complete(project: Project) -> None:
    """The tiny model answers nothing, and its gates are invalid; all that they rest on is said all the same."""
    result = project.run("evals", "-m", "gate", "--ablation-gate-margin=0.2")
    result.assert_outcomes(failed=3, deselected=len(project.ids("evals")) - 3)
    result.stdout.fnmatch_lines(
        [
            f"{OWN}: invalid",
            "  what       each task's own heads, k = 2 ablated; 6 rows of 3 clusters",
            "  untouched  0.0% right; 0.0% with the needle left out; 0 right answers rest on it",
            "  drop       +0.0 by these heads; +0.0 by controls, other heads of their layers (19: +0.0 to +0.0*",
            "  difference +0.0 points, unknown of the right answers, 95 % interval *",
            "  (a)        ?    the interval's lower end is above the margin of 20% (0.0 points): unknown",
            "  (b)        ?    few permutations cost as much: unknown",
            "  (c)        ?    controls cost at most 10% (0.0 points) in the mean: unknown",
            "  draws      heads permuted within a layer: * sets*",
            "  model      *plain text * nats a token *",
            "  tasks      alone, by Holm: 2 invalid",
            "  why        0 right answers in 0 clusters rest on the needle *",
            "  note       split unknown: *",
            "  report     reports/latest/report.json",
            f"  again      pytest 'evals/test_gates.py::test_{OWN}' --ablation-gate-margin=0.2 --ablation-run=again",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    (start,) = [i for i, line in enumerate(result.outlines) if "= ablation =" in line]
    assert result.outlines[start + 1].startswith(f"{OWN}        invalid"), "verdicts stand first"


def test_facts_are_asked_beside_a_gate(project: Project) -> None:
    """Each of two questions of the untouched model, of both tasks' heads and of five controls of each."""
    (project.path / "facts.toml").write_text(
        '[[fact]]\nquestion = "Who?"\nvalue = "Lee"\n[[fact]]\nquestion = "How many?"\nvalue = 7\ncompare = "number"\n'
    )
    arguments = ("evals", "-m", "gate", "-k", "own", "--ablation-facts=facts.toml")
    result = project.run(*arguments)
    assert gates(project)[OWN]["facts"] == {
        "asked": 2,
        "known": 0,
        "lost": None,
        "interval": None,
        "controls_lost": None,
    }
    result.stdout.fnmatch_lines(["  model      *, facts and sums: the untouched model knows none of 2"])
    assert not [name for name in names(project.report()) if "fact" in name]
    project.run("evals", "-m", "gate", "-k", "own")
    assert gates(project)[OWN]["facts"] is None
    (project.path / "facts.toml").write_text("[[fact]]\n")
    line = usage_error(project.run(*arguments))
    assert "fact 1: got nothing; expected question, value and perhaps compare" in line


@pytest.mark.parametrize("manner", ["mode=mean", "mode=resample", "phase=decode"])
def test_other_ablations_are_judged_alike(project: Project, manner: str) -> None:
    """Plain text too is ablated as it was asked."""
    rows = read_rows(project.path / "rows.csv", EDGAR_TASKS).rows
    other = [replace(row, split="identification", filename=f"other {row.filename}") for row in rows]
    write_rows([*rows, *other], project.path / "rows.csv")
    project.run("evals", "-m", "gate", "--ablation-run=usual")
    project.run("evals", "-m", "gate", f"--ablation-{manner}", "--ablation-run=other")
    usual, found = (project.report(name)["gates"][0]["plain_text"] for name in ("usual", "other"))
    assert project.report("other")["run"]["missing"] == []
    assert found["untouched"] == usual["untouched"]
    assert found["change"] != usual["change"]


def test_margins_are_each_gates_own(project: Project) -> None:
    project.configure(ablation_gate_margin="0.2", ablation_gate_margin_shared="0.05")
    project.run("evals", "-m", "gate", "--ablation-gate-flat=0.3")
    assert gates(project)[OWN]["margins"] == {"margin": 0.2, "flat": 0.3}
    assert gates(project)[SHARED]["margins"] == {"margin": 0.05, "flat": 0.3}


def test_k_of_gates(project: Project) -> None:
    ids = project.ids("evals", "-m", "gate", "--ablation-gate-k=1")
    assert ids == [f"evals/test_gates.py::test_gate[{heads}-all-k01]" for heads in ("own", "shared", "pooled")]
    project.run("evals", "-m", "gate", "--ablation-gate-k=1")
    assert {gate["k"] for gate in gates(project).values()} == {1}


def test_a_band_judges_all_k_together(project: Project) -> None:
    project.run("evals", "-m", "gate", "-k", "own", "--ablation-gate-k=band", "--ablation-gate-draws=3")
    (gate,) = gates(project).values()
    assert (gate["name"], gate["ks"], gate["k"]) == ("gate[own-all-band]", [1, 2], 2)
    assert {name for name in names(project.report()) if name.startswith("within_task")} == {
        f"within_task[{task}-k{k:02d}]" for task in TASKS for k in (1, 2)
    }


def test_strata_may_be_the_model(project: Project) -> None:
    project.run("evals", "-m", "gate", "-k", "shared", "--ablation-gate-strata=model")
    (gate,) = gates(project).values()
    assert gate["permuted"]["layers"] is None


def lists(project: Project, *heads: list[list[int]]) -> None:
    ranked = [[{"head": head, "avg_score": 0.5} for head in of_task] for of_task in heads]
    (project.path / "heads.json").write_text(json.dumps(dict(zip(TASKS, ranked, strict=True))))


def test_fewer_heads_than_asked_for_are_named(project: Project) -> None:
    lists(project, [[2, 3], [0, 1]], [[2, 3], [0, 2]])
    result = project.run("evals", "-m", "gate", "-k", "shared")
    assert project.ids("evals", "-m", "gate", "-k", "shared") == ["evals/test_gates.py::test_gate[shared-all-k01]"]
    result.stdout.fnmatch_lines(["  what       the shared heads, 1 (no more are ranked; 2 were asked for) ablated; *"])
    (gate,) = gates(project).values()
    assert (gate["name"], gate["k"], gate["k_effective"]) == ("gate[shared-all-k01]", 2, [1, 1])
    controls = [each for each in project.report()["conditions"] if each["experiment"] == "random_control"]
    assert {each["k_effective"] for each in controls} == {1}
    assert any("the ranking lists each task's best" in note for note in gate["notes"]), "a list without all scores"


def test_a_gate_without_heads_fails_alone(project: Project) -> None:
    lists(project, [[2, 3]], [[0, 1]])
    result = project.run("evals", "-m", "gate")
    result.assert_outcomes(failed=2, errors=1, deselected=len(project.ids("evals")) - 3)
    assert any("no head is among the candidates of 7 in 9 tasks" in line for line in result.outlines)
    assert list(gates(project)) == ["gate[own-all-k01]", "gate[pooled-all-k02]"]


@pytest.mark.usefixtures("unsound")
def test_a_run_that_stopped_leaves_gates_invalid_and_names_what_is_missing(project: Project) -> None:
    result = project.run("evals", "-m", "gate")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for name, gate in gates(project).items():
        n = gate["n"]
        assert gate["verdict"] == "invalid", name
        assert 0 < n < 6, "what is stored a prompt at a time"
        assert gate["reasons"][0].startswith(
            f"without sound records: baseline ({6 - n} of 6 rows), needle_absent ({6 - n} of 6 rows)"
        )
    said, conditions = gates(project)[OWN]["reasons"][0], gates(project)[OWN]["conditions"]
    for condition in conditions[:6]:
        assert f"{condition} (" in said
    assert f" and {len(conditions) - 6} more conditions (run.missing in the report); run again" in said
    assert set(project.report()["run"]["missing"]) >= set(conditions)
    assert any(line.startswith(f"{OWN}        invalid") for line in result.outlines)


def test_an_interrupted_run_leaves_gates_invalid(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Store, *arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "put_row", interrupted)
    assert project.run("evals", "-m", "gate").ret == pytest.ExitCode.INTERRUPTED
    assert {(gate["verdict"], gate["n"], gate["drop"]) for gate in gates(project).values()} == {("invalid", 0, None)}


KILLED = """
import os
import pytest
from harness.experiment.store import Store

put_row, rows = Store.put_row, set()

def put_two_rows(self, records, **named):
    kept = list(records)
    rows.update(record.job.row_id for _, record in kept)
    if len(rows) > 2:
        os._exit(9)
    put_row(self, kept, **named)

if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
    Store.put_row = put_two_rows
"""


@pytest.fixture
def killed(project: Project) -> Path:
    """The first worker dies when it has done two rows."""
    file = project.path / "conftest.py"
    file.write_text(KILLED)
    return file


@pytest.mark.usefixtures("killed")
def test_a_killed_worker_whose_work_nobody_does(project: Project) -> None:
    result = project.run("evals", "-m", "gate", "-n", "1", "--max-worker-restart=0")
    assert result.ret != pytest.ExitCode.OK
    (n,) = {gate["n"] for gate in gates(project).values()}
    assert {gate["verdict"] for gate in gates(project).values()} == {"invalid"}
    assert 0 < n < 6
    assert any(line.startswith(f"{SHARED}     invalid") for line in result.outlines)
    assert gates(project)[SHARED]["reasons"][0].startswith(f"without sound records: baseline ({6 - n} of 6")


def test_a_killed_worker_whose_work_another_does(project: Project, killed: Path) -> None:
    """The other worker judges as one process does."""
    project.run("evals", "-m", "gate", "-n", "2", "--max-worker-restart=0")
    of_two = project.report()
    assert of_two["run"]["missing"] == []
    killed.unlink()
    project.run("evals", "-m", "gate", "--ablation-refresh")
    assert project.report()["gates"] == of_two["gates"]
    assert len(of_two["gates"]) == 3


def test_plain_text_is_the_gates_alone(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        import pytest
        from harness import Condition

        @pytest.mark.ablation(Condition("mine", heads=[(0, 0)], prompt="plain_text"))
        def test_mine(ablation_result):
            pass
    """
    )
    result = project.run("test_mine.py")
    result.assert_outcomes(errors=1)
    assert any("mine: a condition over plain text; expected one that asks" in line for line in result.outlines)


def test_an_unknown_gate(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine="""
        import pytest

        @pytest.mark.ablation_gate("mine")
        def test_mine(ablation_verdict):
            pass
    """
    )
    result = project.run("test_mine.py")
    result.assert_outcomes(errors=1)
    assert any("ablation_gate marker: 'mine'; expected one of own, shared, global" in line for line in result.outlines)
