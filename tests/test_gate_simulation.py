"""The command writes the cells and their figure."""

import json
from pathlib import Path

from harness.findings.verdicts.simulation import Simulation, plan, simulate
from harness.gate_simulation import main, table_rows


def test_the_guides_tables_are_those_of_the_committed_cells() -> None:
    root = Path(__file__).parents[1]
    simulation: Simulation = json.loads((root / "reports" / "gate_simulation" / "simulation.json").read_text())
    guide = (root / "docs" / "gates.md").read_text().splitlines()
    rows = list(table_rows(simulation))
    assert len(rows) == 4 + 6
    assert [row for row in rows if row not in guide] == []


def test_the_command_writes_figures_and_cells(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "new"), "--experiments", "2", "--every", "300"]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "simulation.json",
        "gate_simulation.png",
        "gate_simulation.svg",
    }
    assert json.loads((tmp_path / "new" / "simulation.json").read_text()) == simulate(plan(300), experiments=2)
