"""The command that simulates gates, and writes what came of it with its figure.

python -m harness.gate_simulation --out reports/gate_simulation --processes 16

python -m harness.gate_simulation --only-effects --draws 99 --out FOLDER

The second tells what more draws would find. The whole simulation takes about an hour and a half of one core; what it
finds does not depend on how many share it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.commands.console import whole_number
from harness.files import write_text
from harness.findings.verdicts.simulation import N_EXPERIMENTS, plan, simulate
from harness.findings.verdicts.worlds import N_DRAWS

FILE = "simulation.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, and write `simulation.json` and the figure into a folder, which is made."""
    parser = argparse.ArgumentParser(prog="python -m harness.gate_simulation", description="Simulate gates' verdicts.")
    parser.add_argument("--out", type=Path, default=Path("reports/gate_simulation"), metavar="FOLDER")
    parser.add_argument("--experiments", type=whole_number(1), default=N_EXPERIMENTS, metavar="N", help="in each cell")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S")
    parser.add_argument("--every", type=whole_number(1), default=1, metavar="N", help="every Nth cell alone, to try it")
    parser.add_argument(
        "--draws", type=whole_number(19), default=N_DRAWS, metavar="N", help="of controls, and of permutations"
    )
    parser.add_argument("--only-effects", action="store_true", help="the cells alone where there is something to find")
    parser.add_argument("--processes", type=whole_number(1), default=1, metavar="N")
    given = parser.parse_args(argv)
    from harness.findings.figures.simulation_plot import draw_simulation

    simulation = simulate(
        plan(given.every, only_effects=given.only_effects),
        experiments=given.experiments,
        seed=given.seed,
        processes=given.processes,
        draws=given.draws,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    cells = ",\n".join(json.dumps(cell) for cell in simulation["cells"])  # a line each
    head = json.dumps({**simulation, "cells": []}, indent=1).removesuffix("[]\n}")
    write_text(given.out / FILE, f"{head}[\n{cells}\n]}}\n")
    draw_simulation(simulation, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
