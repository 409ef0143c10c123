"""The command that simulates gates, and writes what came of it with its figure.

python -m harness.gate_simulation --out reports/gate_simulation --processes 16

python -m harness.gate_simulation --only-effects --draws 99 --out FOLDER

The rows of the guide's tables are printed. The second tells what more draws would find. The whole simulation takes
about an hour and a half of one core; what it finds does not depend on how many share it.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from harness.commands.console import whole_number
from harness.files import write_text
from harness.findings.verdicts.simulation import EFFECTS, N_EXPERIMENTS, Cell, Simulation, plan, simulate
from harness.findings.verdicts.worlds import N_DRAWS

FILE = "simulation.json"
Rule = Literal["verdicts", "earlier"]
FALSE_PASSES = (
    ("the judged heads cost no more than controls", 2.5, "no effect", False),
    ("they cost exactly the margin more", 2.5, "at the margin", False),
    ("they are a set like any other", 5, "exchangeable", False),
    ("of these, one head in 60, 100 or 120 matters", 5, "exchangeable", True),
)
"""Truths under which a pass is false: in words, how many in a hundred are allowed, and which cells are meant."""
RULES: tuple[Rule, ...] = ("verdicts", "earlier")


def table_rows(simulation: Simulation) -> Iterator[str]:
    """The rows of the guide's two tables (`docs/gates.md`), in Markdown: false passes, and passes of an effect."""
    cells = simulation["cells"]
    for truth, allowed, kind, one_in in FALSE_PASSES:
        of = [c for c in cells if c["truth"]["kind"] == kind and (not one_in or c["truth"].get("one_in") is not None)]
        if kind == "at the margin":  # where draws cost much and rarely, nothing holds: the guide tells it apart
            of = [c for c in of if c["truth"]["law"] != "rare"]
        if of:
            now, before = (_passes(of, rule, simulation["experiments"]) for rule in RULES)
            shares = (sum(now) / len(now), max(now), max(before))
            yield f"| {truth} | {len(of):,} | {allowed} % | " + " | ".join(f"{share:.1f} %" for share in shares) + " |"
    for differ, law in (("little", "normal"), ("much", "gamma")):
        for effect in EFFECTS:
            of = [c for c in cells if _is_spread(c, effect) and c["truth"]["law"] == law]
            if of:
                yield f"| {100 * effect:.0f} % | {differ} | " + " | ".join(_power(of, simulation["experiments"])) + " |"


def beside_the_tables(simulation: Simulation) -> Iterator[str]:
    """What the guide says of worlds that its tables leave out, in ranges over settings."""
    cells, n = simulation["cells"], simulation["experiments"]

    def said(what: str, of: Sequence[Cell], rule: Rule = "verdicts") -> Iterator[str]:
        if of:
            found = _passes(of, rule, n)
            yield f"{what}: {min(found):.1f} to {max(found):.1f} %"

    rare = [c for c in cells if (c["truth"]["kind"], c["truth"]["law"]) == ("at the margin", "rare")]
    for clusters in (20, 50, 100):
        of = [c for c in rare if c["setting"]["clusters"] == clusters]
        yield from said(f"at the margin, one control in twenty costs much, {clusters} clusters", of)
    yield from said("the same by 0.1.0", rare, "earlier")
    few = [c for c in cells if _is_spread(c, 0.3, accuracy=0.2) and c["truth"]["law"] == "normal"]
    for clusters in (20, 50):
        of = [c for c in few if c["setting"]["clusters"] == clusters]
        yield from said(f"30 % lost of one right row in five, {clusters} clusters", of)
    alone = [c for c in cells if c["truth"].get("by_one_head") and c["truth"]["lists"] == "identical"]
    for layers in (8, 30, 32):
        of = [c for c in alone if c["truth"]["layers"] == layers]
        yield from said(f"one head carries all of one list, {layers} layers", of)


def _passes(cells: Sequence[Cell], rule: Rule, experiments: int) -> list[float]:
    """Of each cell, how many in a hundred experiments pass."""
    return [100 * cell[rule]["pass"] / experiments for cell in cells]


def _is_spread(cell: Cell, effect: float, accuracy: float | None = None) -> bool:
    """An effect spread over all judged heads, without clustering, where so much is right, or else more than half."""
    truth, setting = cell["truth"], cell["setting"]
    known = (truth["kind"], truth.get("effect"), truth.get("by_one_head"), setting["clustering"])
    right = float(setting["accuracy"])
    return known == ("effect", effect, False, 0.0) and (right == accuracy if accuracy is not None else right > 0.5)


def _power(cells: Sequence[Cell], experiments: int) -> Iterator[str]:
    """With 20 and 50 clusters, the mean and the least of the cells, and the mean by the rule of 0.1.0."""
    for clusters in (20, 50):
        of = [cell for cell in cells if cell["setting"]["clusters"] == clusters]
        now, before = (_passes(of, rule, experiments) for rule in RULES)
        yield f"{sum(now) / len(now):.0f} % ({min(now):.0f})"
        yield f"{sum(before) / len(before):.0f} %"


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
    for line in (*table_rows(simulation), *beside_the_tables(simulation)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
