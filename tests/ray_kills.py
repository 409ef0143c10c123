"""A study of the demo on a cluster of two nodes, both of this machine, while its parts are killed.

    python -m tests.ray_kills --models 10 --nodes 1 --drivers 5

Models, a node and the driver are killed without warning (SIGKILL), each after more has been kept than at the last kill;
a node that was killed joins again, late. At the end the report and its samples must be those of a study without Ray,
and no record may have been kept twice. Prints what was killed and what came of it; the exit code is 1 where anything
differs. Needs Ray.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).parents[1]
MODEL = "ray::NodeModel"
"""How the system names the process of a model."""
LONGEST_WAIT = 0.3
"""Seconds from the moment that something more is kept to a kill, at most."""
WATCHED = """
import os, sys, pytest
from harness.experiment.store import Store

put_row = Store.put_row

def watched(self, records, **how):
    kept = list(records)
    put_row(self, kept, **how)
    with open("kept.txt", "a") as file:
        file.write("".join(f"{key}\\n" for key, _ in kept))

Store.put_row = watched
sys.exit(pytest.main(sys.argv[1:]))
"""
"""pytest, which notes the key of each record as it is kept."""


class TwoNodes:
    """A cluster of two nodes of one CPU each; the driver is on the first."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._second = self._cluster.add_node(num_cpus=1)
        self.address: str = self._cluster.address

    def models(self) -> list[psutil.Process]:
        """The processes of models that are there."""
        nodes: list[Any] = [self._cluster.head_node, self._second]
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        processes = [each for pid in raylets for each in psutil.Process(pid).children(recursive=True)]
        return [each for each in processes if _title(each).startswith(MODEL)]

    def kill_node(self) -> None:
        """End the second node; another one joins in its place."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._cluster.add_node(num_cpus=1)

    @contextmanager
    def third(self, code: str, folder: Path) -> Iterator[None]:
        """One node more, on which every Python runs this first."""
        (folder / "sitecustomize.py").write_text(code)
        more = self._cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{folder}:{ROOT}"})
        try:
            yield
        finally:
            self._cluster.remove_node(more)

    def close(self) -> None:
        """End it."""
        self._cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@dataclass(frozen=True)
class Study:
    """The main job of the demo on so many rows, in a folder of its own."""

    folder: Path
    rows: int

    def start(self, address: str | None = None, *options: str) -> "subprocess.Popen[str]":
        """Begin it, or go on with it, on a cluster or here."""
        eval_file = ROOT / "evals" / "test_within_task.py"
        arguments = ["-q", "-p", "harness.plugin", "-p", "no:cacheprovider", "-c", os.devnull, str(eval_file)]
        ours = [f"--rootdir={self.folder}", f"--ablation-max-rows={self.rows}", f"--ablation-reports={self.folder}"]
        if address is not None:
            ours.append(f"--ablation-ray={address}")
        return subprocess.Popen(
            [sys.executable, "-c", WATCHED, *arguments, *ours, *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kept(self) -> list[str]:
        """Keys of the records, in the order in which they were kept."""
        file = self.folder / "kept.txt"
        return file.read_text().split() if file.exists() else []

    def said(self) -> tuple[dict[str, Any], str]:
        """The report, less what says when, how and where it ran, and the samples."""
        report = json.loads((self.folder / "latest" / "report.json").read_text(encoding="utf-8"))
        del report["run"]
        for name in ("ray", "reports", "store"):
            del report["configuration"][name]
        return report, (self.folder / "latest" / "samples.jsonl").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Tally:
    """What was killed, how often a driver gave up by itself, records kept, how many of them twice, and seconds."""

    killed: Counter[str]
    gave_up: int
    kept: int
    twice: int
    seconds: float


def run_and_kill(study: Study, cluster: TwoNodes, kills: Sequence[str], seed: int) -> Tally:
    """Run a study to its end, and kill these parts of it in this order.

    Raises:
        RuntimeError: it came to its end before the last kill, or ended otherwise than it should.
    """
    chance, began, killed, gave_up = random.Random(seed), time.monotonic(), Counter[str](), 0
    driver = study.start(cluster.address)
    for what in kills:
        n_kept = len(study.kept())
        while len(study.kept()) == n_kept or not cluster.models():
            if driver.poll() is not None:
                output, _ = driver.communicate()
                if "models in a row ended" not in output:
                    raise RuntimeError(f"it ended after {dict(killed)}, before the next kill, {what}:\n{output}")
                gave_up, driver = gave_up + 1, study.start(cluster.address)
            time.sleep(0.01)
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        if what == "driver":
            driver.kill()
            driver.communicate()
            driver = study.start(cluster.address)
        elif what == "node":
            cluster.kill_node()
        elif found := cluster.models():
            chance.choice(found).kill()
        killed[what] += 1
    output, _ = driver.communicate()
    if driver.returncode:
        raise RuntimeError(f"exit code {driver.returncode} after {dict(killed)}:\n{output}")
    kept = study.kept()
    return Tally(killed, gave_up, len(kept), len(kept) - len(set(kept)), time.monotonic() - began)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """The cluster, for a while; Ray's own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = TwoNodes()
    try:
        yield cluster
    finally:
        cluster.close()


def main() -> int:
    """Run it; 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.ray_kills", description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=10, help="kills of a model (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=1, help="kills of a node (default: %(default)s)")
    parser.add_argument("--drivers", type=int, default=5, help="kills of the driver (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=108, help="rows of the demo (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kills = ["model"] * arguments.models + ["node"] * arguments.nodes + ["driver"] * arguments.drivers
    random.Random(arguments.seed).shuffle(kills)
    with tempfile.TemporaryDirectory() as place, two_nodes() as cluster:
        alone, killed = (Study(Path(place) / name, arguments.rows) for name in ("alone", "killed"))
        for each in (alone, killed):
            each.folder.mkdir()
        output, _ = alone.start().communicate()
        print(output.splitlines()[-1])
        tally = run_and_kill(killed, cluster, kills, arguments.seed)
        same = killed.said() == alone.said()
    print(
        f"killed: {', '.join(f'{n} {what}' for what, n in tally.killed.items()) or 'nothing'}; the driver gave up "
        f"{tally.gave_up} times; {tally.kept} records kept, {tally.twice} of them twice; {tally.seconds:.0f} s; "
        f"report and samples {'as' if same else 'NOT as'} without Ray"
    )
    return 0 if same and not tally.twice else 1


if __name__ == "__main__":
    sys.exit(main())
