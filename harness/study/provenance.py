"""What stands behind a report: which programs ran, of which commit, and what a store tells of earlier verdicts.

A gate that passes with the best of five seeds, or at the best of five k, passes falsely up to five times as often as it
says. Nobody can forbid trying; a verdict can say how much was tried: how often a gate was judged before, with which
seeds and k. Ways of judging are noted in the store, so of another store's nothing is known. Knows nothing of pytest.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import __version__
from harness.experiment.gate_conditions import Gate
from harness.experiment.store import Store
from harness.settings import Settings

PROGRAMS = ("torch", "transformers", "pytest")
"""Programs whose versions a report names beside Python's and the harness's own."""


def program_versions() -> dict[str, str | None]:
    """Versions of Python, of the harness, and of `PROGRAMS`; `None` for what is not installed."""
    found: dict[str, str | None] = {"python": sys.version.split()[0], "harness": __version__}
    for name in PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def commit_of(root: Path) -> str | None:
    """The commit that the repository of this folder stands at; `None` where there is none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def way_of(gate: Gate, settings: Settings) -> str:
    """In which way a gate is judged: everything that one might try another value of."""
    way = {
        "seed": settings.seed,
        "k": list(gate.ks),
        "draws": settings.gate_draws,
        "strata": settings.gate_strata,
        "margin": settings.margin_of(gate.heads),
        "flat": settings.gate_flat,
        "outcome": settings.gate_outcome,
        "scorer": settings.scorer,
        "model": settings.model,
        "heads": None if settings.heads is None else settings.heads.name,
    }
    return json.dumps(way, sort_keys=True)


def earlier_note(store: Store, gate: Gate, settings: Settings) -> tuple[str, ...]:
    """A sentence on the other ways in which this gate was judged; nothing where there are none."""
    here = way_of(gate, settings)
    others = [json.loads(way) for way in store.judged(gate.heads) if way != here]
    if not others:
        return ()
    every = [json.loads(here), *others]
    differing = [f"{name} {_values(every, name)}" for name in every[0] if len({str(way[name]) for way in every}) > 1]
    times = "once" if len(others) == 1 else f"in {len(others)} other ways"
    return (
        f"judged {times} before in this store, with other settings ({'; '.join(differing)}): of several verdicts the "
        "best is worth less than one that was declared alone",
    )


def _values(ways: Sequence[dict[str, object]], name: str) -> str:
    """The different values of a setting, this gate's first."""
    return ", ".join(dict.fromkeys(str(way[name]).strip("[]") for way in ways))
