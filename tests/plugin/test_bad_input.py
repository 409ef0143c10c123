"""A file that cannot be used: one line before anything is computed, exit code 4, and nothing written."""

import json
import os
from collections.abc import Callable

import huggingface_hub.constants
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

import harness.model.loading.loaded_model
import harness.model.loading.sources
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from plugin.project import N_ROWS, TASKS, Project, usage_error

HEADS, ROWS = "heads.json", "rows.csv"
Spoil = Callable[[Project], object]


def write(name: str, content: bytes) -> Spoil:
    return lambda project: (project.path / name).write_bytes(content)


def remove(name: str) -> Spoil:
    return lambda project: (project.path / name).unlink()


def pipe(name: str) -> Spoil:
    """Nobody ever writes to it."""

    def spoil(project: Project) -> None:
        (project.path / name).unlink(missing_ok=True)
        os.mkfifo(project.path / name)

    return spoil


def truncate(name: str) -> Spoil:
    return lambda project: (project.path / name).write_bytes((project.path / name).read_bytes()[:300])


def rank_another_model(project: Project) -> None:
    scores = {task: [[0.5] * 8] * 40 for task in TASKS}
    write_ranking(rank(scores, top_k=2, model=ModelShape(40, 8)), project.path / HEADS)


def rank_heads_beyond_the_model(project: Project) -> None:
    lists = {task: [{"head": [0, 1], "avg_score": 0.5}, {"head": [7, 2], "avg_score": 0.4}] for task in TASKS}
    (project.path / HEADS).write_text(json.dumps(lists))


def replace_in_rows(old: str, new: str) -> Spoil:
    def spoil(project: Project) -> None:
        text = (project.path / ROWS).read_text(encoding="utf-8")
        assert old in text
        (project.path / ROWS).write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def without(name: str) -> Spoil:
    return lambda project: (project.own_model() / name).unlink()


SPOILT: dict[str, tuple[Spoil, str]] = {
    "head file missing": (remove(HEADS), f"{HEADS}: "),
    "head file empty": (write(HEADS, b""), f"{HEADS}: "),
    "head file binary": (write(HEADS, bytes(range(256))), f"{HEADS}: "),
    "head file truncated": (truncate(HEADS), f"{HEADS}: "),
    "head file of no known form": (write(HEADS, b'{"heads": 5}'), f"{HEADS}: "),
    "ranking of the wrong shape": (rank_another_model, "40 layers"),
    "ranking with a head too high": (rank_heads_beyond_the_model, "layer 7, but the model has 3 layers (0-2)"),
    "head file a pipe": (pipe(HEADS), f"{HEADS}: a pipe, which is read once only"),
    "rows a pipe": (pipe(ROWS), f"{ROWS}: a pipe, which is read once only"),
    "rows missing": (remove(ROWS), f"{ROWS}: No such file"),
    "rows empty": (write(ROWS, b""), f"{ROWS}: "),
    "rows binary": (write(ROWS, bytes(range(256))), f"{ROWS}: "),
    "rows without a column": (replace_in_rows("needle_value", "value"), f"{ROWS}: "),
    "rows of an unknown task": (replace_in_rows("ceo_lastname", "ceo_firstname"), "'ceo_firstname'"),
    "model without weights": (without("model.safetensors"), "holds no weights; expected weights"),
    "model without tokenizer": (without("tokenizer.json"), "holds no tokenizer; expected a tokenizer"),
    "model without config": (without("config.json"), "holds no config.json; expected config.json"),
    "reports in the place of a file": (write("reports", b"mine"), "reports/latest: "),
    "store of one byte": (write("mine.sqlite", b"x"), "mine.sqlite: file is not a database"),
    "store a pipe": (pipe("mine.sqlite"), "mine.sqlite: not a regular file"),
    "store of another program": (write("mine.sqlite", b"not SQLite" * 100), "mine.sqlite: "),
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_file_that_cannot_be_used(project: Project, name: str, workers: tuple[str, ...]) -> None:
    spoil, words = SPOILT[name]
    spoil(project)
    store = ("--ablation-store=mine.sqlite",) if "store" in name else ()
    assert words in usage_error(project.run("evals", *store, *workers))
    assert not [path for path in project.left() if "report.json" in path or "plots" in path]
    assert not (project.path / "reports" / "store.sqlite").exists()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--ablation-model=no/such/folder", "model 'no/such/folder': no such folder"),
        ("--ablation-model=rows.csv", "model 'rows.csv': not a folder"),
        ("--ablation-revision=main", "tiny': revision 'main' of a folder; expected none"),
        ("--ablation-tasks=ceo_firstname", "tasks: got 'ceo_firstname'; expected one or more of"),
        ("--ablation-tasks=registrant_name", "rows.csv: no rows of the task registrant_name"),
        ("--ablation-task-file=none.toml", "none.toml: No such file"),
        ("--ablation-max-rows=1", "rows.csv: no rows for evaluation"),
    ],
)
def test_a_value_that_names_nothing(project: Project, argument: str, words: str) -> None:
    assert words in usage_error(project.run("evals", argument))
    assert project.left() == []


def test_a_model_needs_its_own_ranking(project: Project) -> None:
    project.configure(ablation_heads="")
    assert "heads: none given for the model " in usage_error(project.run("evals"))


@pytest.fixture
def narrow(project: Project) -> str:
    """The model's window is too small for any prompt; what is then said of the first row."""
    config = project.own_model() / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 200}))
    return (
        "new ones included; expected at most 200, the window of tiny; use shorter documents, or cut them with seq-len"
    )


def test_a_prompt_beyond_the_window(project: Project, narrow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.model.loading.loaded_model, "load_model", None)
    result = project.run("evals", "-k", "within_task")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([rf"demo-2026-0000.txt/\w+: \d+ tokens, {narrow}"])
    result.assert_outcomes(errors=1, deselected=34)


def test_a_prompt_beyond_the_window_in_a_dry_run(project: Project, narrow: str) -> None:
    assert narrow in usage_error(project.run("evals", "-k", "within_task", "--ablation-dry-run"))


def test_a_prompt_that_cannot_be_cut_so_short(project: Project) -> None:
    said = usage_error(project.run("evals", "--ablation-seq-len=60"))
    assert said.startswith("row demo-2026-0000.txt/")
    assert "tokens with no more than the needle in it; expected at most 60, as seq-len says; allow more" in said


def test_an_adapter_that_is_none(project: Project) -> None:
    said = usage_error(project.run("evals", "--ablation-adapter=tiny"))
    assert said.endswith("tiny: holds no adapter_config.json; expected the folder of a LoRA adapter, as peft saves it")


def test_under_a_launcher(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert usage_error(project.run("evals")).startswith("WORLD_SIZE=2: several processes were started for one model;")


def test_strict_rows(project: Project) -> None:
    """A needle that already stands in its haystack excludes the row; with the option it is an error."""
    needle = "The registrant was first incorporated in 1967."
    replace_in_rows(f"{needle},1967,", f"{needle},1967,{needle} ")(project)
    assert usage_error(project.run("evals", "--ablation-strict-rows")).startswith(
        str(project.path / "rows.csv: row 1: haystack_text")
    )
    project.run("evals", "-k", "baseline").assert_outcomes(passed=2, deselected=36)
    assert project.report()["data"]["rows"] == N_ROWS - 1
    (excluded,) = project.report()["data"]["excluded"]
    assert excluded["row"] == "demo-2026-0000.txt/incorporation_year"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_must_not_be_written(project: Project) -> None:
    (project.path / "reports").mkdir(mode=0o500)
    assert "reports/latest: Permission denied; expected a folder" in usage_error(project.run("evals"))


class TestHub:
    """A hub that is asked for a model, and says no; nothing leaves this machine."""

    def said(self, project: Project, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> str:
        # without `__init__`, which wants a response of whichever client the hub's library uses
        answer = kind.__new__(kind, "40x")

        def cached_file(*arguments: object, **named: object) -> str:
            raise OSError("a page of advice\nand its second line") from answer

        monkeypatch.setattr(harness.model.loading.sources, "cached_file", cached_file)
        line = usage_error(project.run("evals", "--ablation-model=org/secret"))
        assert project.left() == []
        return line

    def test_gated(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        said = self.said(project, GatedRepoError, monkeypatch)
        assert said.startswith("model 'org/secret': gated, and no token with access to it was given; expected one in")

    def test_no_such_model(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        said = self.said(project, RepositoryNotFoundError, monkeypatch)
        assert said.startswith("model 'org/secret': no such folder, and no such model on the hub; expected")

    def test_offline(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        said = usage_error(project.run("evals", "--ablation-model=org/secret"))
        assert said.startswith("model 'org/secret': no such folder, not in the local cache, and the hub cannot be")
        assert project.left() == []
