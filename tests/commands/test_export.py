"""A report's tables as files."""

from pathlib import Path

from harness.cli import main

from .refusals import Capture, refusal, usage_error


def test_tables(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["export", str(folder), "--csv"]) == 0
    assert main(["export", str(folder), "--csv", str(tmp_path / "tables")]) == 0
    names = ["accuracy_by_k.csv", "figures.csv"]
    places = [folder / "plots", tmp_path / "tables"]
    assert [sorted(path.name for path in place.iterdir()) for place in places] == [names, names]
    wrote = [f"wrote {place / name}" for place in places for name in names]
    assert capsys.readouterr().out.splitlines() == wrote


def test_what_cannot_be_used(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "expected a report's file" in refusal(capsys, "export", tmp_path / "none", "--csv", tmp_path)
    blocked = folder / "report.json"
    assert "expected a folder that can be written" in refusal(capsys, "export", folder, "--csv", blocked)
    assert "--csv" in usage_error(capsys, "export", folder)
