"""The workflows of the guide: their commands are ours, and a linter finds nothing to say."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.findings.report.report_files import SUMMARY_FILE
from harness.options import OPTIONS

FOLDER = Path(__file__).parents[1] / "docs" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
SELECTIONS = {"gate", "hooks"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_options_and_selections_are_ours(file: Path) -> None:
    commands = [shlex.split(line) for line in re.findall(r"run: (pytest .*)", file.read_text(encoding="utf-8"))]
    assert commands
    ours = {f"--ablation-{option.name}" for option in OPTIONS}
    for command in commands:
        assert command[1] == "evals"
        assert {word.partition("=")[0] for word in command if word.startswith("--")} <= ours | {"--junitxml"}
        assert command[3] in SELECTIONS


def test_the_comment_is_the_summary() -> None:
    assert f"--body-file reports/latest/{SUMMARY_FILE}" in (FOLDER / "gate.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actionlint_finds_nothing(file: Path) -> None:
    linter = shutil.which("actionlint")
    if linter is None:
        pytest.skip("no actionlint on this machine")
    found = subprocess.run([linter, str(file)], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")
