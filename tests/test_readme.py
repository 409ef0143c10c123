"""What the README says of the code - tables, options, commands, examples - is what the code does."""

import argparse
import ast
import json
import re
from pathlib import Path
from typing import get_args

from tiny_models import MODEL_TYPES, tiny_config, tiny_loaded

from harness.choices import Mode, Phase
from harness.cli import COMMANDS
from harness.experiment.conditions import EXPERIMENTS, UNTOUCHED
from harness.findings.comparing.fail_expression import Word, parse_checks
from harness.model.generation.engine import MOST_SQUARE
from harness.model.loading.architectures import ARCHITECTURES
from harness.model.loading.blueprints import one_by_one
from harness.options import OPTIONS
from harness.retrieval.rows import OPTIONAL, REQUIRED
from harness.retrieval.tasks import EDGAR_TASKS, Task, load_tasks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def first_column(header: str) -> list[str]:
    """The words in code of the table under this header, each row's first."""
    (table,) = re.findall(rf"^\| {re.escape(header)}.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    return [match[1] for line in table.splitlines() if (match := re.match(r"\| `([^`]+)` \|", line))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_table_of_architectures() -> None:
    rows = re.findall(
        r"^\| (\w+) \| `([\w.]+)` \| `([\w.]+)` \| (\w+) \| (together|one by one) \|$", README, re.MULTILINE
    )
    expected = [
        (
            model_type,
            ARCHITECTURES[model_type].layers,
            ARCHITECTURES[model_type].projection,
            tiny_loaded(model_type).attention,
            "together" if one_by_one(tiny_config(model_type), ARCHITECTURES[model_type]) is None else "one by one",
        )
        for model_type in MODEL_TYPES
    ]
    assert rows == expected


def test_options_and_numbers_are_those_of_the_code() -> None:
    named = set(re.findall(r"--ablation-([a-z-]+[a-z])", README))
    assert named <= {option.name for option in OPTIONS} | {"NAME"}
    assert f"beyond {MOST_SQUARE:,} positions" in README


def test_the_table_of_speed_is_the_committed_figures() -> None:
    rows = re.findall(
        r"\]\((reports/bench/[\w.-]+\.json)\) \| .* \| (\d+) \| .* \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE
    )
    assert len(rows) == 5
    for file, n_conditions, ratio, slower in rows:
        found = json.loads((ROOT / file).read_text(encoding="utf-8"))
        assert int(n_conditions) == found["n_conditions"]
        assert (ratio, slower) == (f"{found['ratio']:.1f}", f"{1 / found['fraction_of_floor']:.1f}")


def test_the_words_that_select_are_those_of_the_evals() -> None:
    words = first_column("word")
    files = {file.stem.removeprefix("test_") for file in (ROOT / "evals").glob("test_*.py")}
    assert set(words) == {"gate" if name == "gates" else name for name in files}
    on_request = {file.stem for file in (ROOT / "evals" / "on_request").glob("*.py")}
    assert set(words) == {*UNTOUCHED, *EXPERIMENTS, "hooks", "gate"} - {"needle_absent", *on_request}
    assert all(f"{name}.py`" in README for name in on_request)


def test_the_columns_of_rows_and_the_nine_tasks() -> None:
    columns = first_column("column")
    assert tuple(columns[:5]) == REQUIRED
    assert sorted(columns[5:]) == sorted(OPTIONAL)
    said = " ".join(README[README.index("The nine tasks are") : README.index("Others come from a TOML file")].split())
    words, numbers = said.split("compared as words")
    assert {task: "number" if task in numbers else "text" for task in re.findall(r"`(\w+)`", words + numbers)} == {
        task.id: task.compare for task in EDGAR_TASKS.values()
    }


def test_the_example_of_a_task(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    (tmp_path / "tasks.toml").write_text(example, encoding="utf-8")
    assert list(load_tasks(tmp_path / "tasks.toml").values()) == [
        Task("auditor_fee", "What was the auditor's fee?", "number")
    ]


def test_the_manners_of_ablation() -> None:
    assert tuple(first_column("`--ablation-mode`")) == get_args(Mode)
    assert tuple(first_column("`--ablation-phase`")) == get_args(Phase)


def test_the_checks_of_a_comparison() -> None:
    checks = [check for text in first_column("check") for check in parse_checks(text)]
    assert {check.what for check in checks} >= {*get_args(Word), "accuracy", "drop", "p"}


def test_commands_have_the_options_they_are_given() -> None:
    used = re.findall(r"retrieval-heads ([a-z-]+)((?: [^`|\n]*)?)", README)
    assert {name for name, _ in used} <= set(COMMANDS)
    for name, arguments in used:
        parser = argparse.ArgumentParser()
        COMMANDS[name].add_arguments(parser)
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"--[a-z-]+", arguments)) <= known, name


def test_examples_in_python_are_python() -> None:
    for example in blocks("python"):
        ast.parse(example)
