"""Which programs ran: their versions, and the commit of the project that ran them."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import __version__

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
