"""The command writes the cells and their figure."""

import json
from pathlib import Path

from harness.findings.verdicts.simulation import plan, simulate
from harness.gate_simulation import main


def test_the_command_writes_figures_and_cells(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "new"), "--experiments", "2", "--every", "300"]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "simulation.json",
        "gate_simulation.png",
        "gate_simulation.svg",
    }
    assert json.loads((tmp_path / "new" / "simulation.json").read_text()) == simulate(plan(300), experiments=2)
