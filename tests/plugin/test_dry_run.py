"""Looking without computing: `--ablation-dry-run`, and pytest's own `--collect-only`; neither leaves anything."""

import pytest

import harness.model.loading.loaded_model
from plugin.project import Project


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(*arguments: object, **named: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(harness.model.loading.loaded_model, "load_model", load_model)


@pytest.mark.usefixtures("no_model")
def test_dry_run(project: Project) -> None:
    result = project.run("evals", "-k", "within_task", "--ablation-dry-run")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "6 rows, 5 conditions: 18 completions requested, 18 distinct, 0 of them stored",
            "to do: 6 rows; prompts of *",
            "layer passes: 54 one by one, * with equal ones shared; operations of the prompts: *",
            "memory in float32, as on this CPU: * of weights (0 million), * of keys and values for each condition *",
            "hours: not known; give --ablation-bench FILE*",
        ]
    )
    assert "passed" not in result.stdout.str()
    assert "reports" not in project.left()


@pytest.mark.usefixtures("no_model")
def test_facts_are_counted_beside_gates_alone(project: Project) -> None:
    result = project.run("evals", "-k", "gate", "--ablation-dry-run", "--ablation-facts=ours")
    result.stdout.fnmatch_lines(["beside them 48 facts, * sets of heads (none among them): * completions, 0 of them *"])
    result = project.run("evals", "-k", "within_task", "--ablation-dry-run", "--ablation-facts=ours")
    assert "beside them" not in result.stdout.str()


def test_a_dry_run_counts_what_is_stored(project: Project, request: pytest.FixtureRequest) -> None:
    project.run("evals", "-k", "baseline").assert_outcomes(passed=2, deselected=36)
    before = project.left()
    request.getfixturevalue("no_model")
    result = project.run("evals", "-k", "within_task", "--ablation-dry-run", "--ablation-run=other")
    result.stdout.fnmatch_lines(["*18 completions requested, 18 distinct, 6 of them stored", "to do: 6 rows; *"])
    assert project.left() == before


@pytest.mark.usefixtures("no_model")
def test_collect_only(project: Project) -> None:
    assert len(project.ids("evals")) == 38
    assert "reports" not in project.left()


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("content", [b"", b"not SQLite" * 100], ids=["empty", "another program's"])
def test_collect_only_does_not_ask_the_store(project: Project, content: bytes) -> None:
    """Nor need it be writable: neither it nor its folder is here."""
    store = project.pytester.mkdir("kept") / "store.sqlite"
    store.write_bytes(content)
    store.chmod(0o444)
    store.parent.chmod(0o555)
    try:
        assert len(project.ids("evals", f"--ablation-store={store}")) == 38
    finally:
        store.parent.chmod(0o755)
    assert store.read_bytes() == content
    assert [path.name for path in store.parent.iterdir()] == ["store.sqlite"]
