"""The command line, through `main(argv)`: what holds for every command."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import COMMANDS, main
from harness.errors import HarnessError


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """As in `retrieval-heads heads FILE | head -0`."""
    heads_file = tmp_path / "heads.json"
    heads_file.write_text("[[2, 3], [0, 1]]")
    command = [sys.executable, "-m", "harness.cli", "heads", str(heads_file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_memory_that_runs_out_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: object, **named: object) -> None:
        raise MemoryError

    monkeypatch.setattr("harness.commands.heads.read_ranking", read)
    assert main(["heads", "heads.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("retrieval-heads: error: out of memory; expected more than this process may take; raise")


def test_an_error_tells_of_options_as_they_are_typed_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest's were told, which the command does not know; what pytest alone has stays pytest's."""

    def read(*arguments: object, **named: object) -> None:
        raise HarnessError("take --ablation-model-shape, --ablation-top and --ablation-run-mixed")

    monkeypatch.setattr("harness.commands.heads.read_ranking", read)
    assert main(["heads", "heads.json"]) == 2
    assert capsys.readouterr().err.endswith("take --model-shape, --ablation-top and --ablation-run-mixed\n")


def test_parsing_loads_nothing_heavy() -> None:
    script = (
        "import sys; from harness.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'scipy', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(command in done.stdout for command in COMMANDS)
