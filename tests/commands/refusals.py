"""How a command refuses: the one line that it prints."""

import pytest

from harness.cli import main

Capture = pytest.CaptureFixture[str]


def refusal(capsys: Capture, *argv: object) -> str:
    """The one line of a command that must fail with exit code 2, and shows nothing."""
    capsys.readouterr()
    assert main([str(argument) for argument in argv]) == 2
    shown, said = capsys.readouterr()
    assert not shown
    *notes, line = said.splitlines()
    assert line.startswith("retrieval-heads: error: ")
    assert not any("error" in note or "Traceback" in note for note in notes)
    return line.removeprefix("retrieval-heads: error: ")


def usage_error(capsys: Capture, *argv: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]
