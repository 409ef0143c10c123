"""The ways of computing completions, by the names that users give: `shared`, and `reference`, its oracle.

A way is a module with `run_row` and `ENGINE_VERSION`, which changes whenever the meaning of what it computes does.
"""

from types import MappingProxyType, ModuleType

from harness.model import engine, reference

ENGINES = MappingProxyType[str, ModuleType]({"shared": engine, "reference": reference})
"""The module of each way."""


def engine_version(name: str) -> str:
    """The way and the version of its meaning, as records are kept under."""
    return f"{name}-{ENGINES[name].ENGINE_VERSION}"
