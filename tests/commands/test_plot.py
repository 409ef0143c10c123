"""The figures of a report, drawn anew."""

from pathlib import Path

from harness.cli import main

from .refusals import Capture, refusal


def test_plots_go_beside_the_report(folder: Path, capsys: Capture) -> None:
    assert main(["plot", str(folder), "--format", "png"]) == 0
    drawn = sorted(path.name for path in (folder / "plots").iterdir())
    assert {"accuracy_by_k.png", "head_map.png"} <= set(drawn)
    assert all(name.endswith(".png") for name in drawn)
    wrote = sorted(line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines())
    assert wrote == [str(folder / "plots" / name) for name in drawn]


def test_plots_go_where_they_are_asked_for(folder: Path, tmp_path: Path) -> None:
    argv = [
        "plot",
        str(folder / "report.json"),
        "--format",
        "svg,png",
        "--out",
        str(tmp_path / "figures"),
    ]
    assert main(argv) == 0
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
    assert not (folder / "plots").exists()


def test_what_cannot_be_used(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "expected one or more of png,svg,pdf" in refusal(capsys, "plot", folder, "--format", "gif")
    assert "expected a report's file" in refusal(capsys, "plot", tmp_path / "none")
    blocked = folder / "report.json"
    assert "expected room in a folder that can be written" in refusal(capsys, "plot", folder, "--out", blocked)
