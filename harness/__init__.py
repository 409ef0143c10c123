"""A pytest plugin that asks whether given attention heads are the ones that retrieve.

The front door: what tests and scripts of one's own import, `from harness import Condition, Study, Result`. Each name is
fetched from its module when it is first used, so importing `harness`, as every pytest run with the plugin installed
does, loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time `__getattr__` finds them
    from harness.experiment.conditions import Condition
    from harness.experiment.experiments import Study
    from harness.experiment.heads import Head, ModelShape
    from harness.findings.report.reading import load
    from harness.model.intervention.ablation import Ablation
    from harness.model.intervention.surgery import can_be_cut, heads_forgotten, weights_cut
    from harness.model.loading.loaded_model import LoadedModel
    from harness.retrieval.rows import Row
    from harness.study.outcome import GateVerdict, Result

__version__ = "0.1.0"

__all__ = [
    "Ablation",
    "Condition",
    "GateVerdict",
    "Head",
    "LoadedModel",
    "ModelShape",
    "Result",
    "Row",
    "Study",
    "can_be_cut",
    "heads_forgotten",
    "load",
    "weights_cut",
]

_HOMES = {
    "harness.experiment.conditions": ("Condition",),
    "harness.experiment.experiments": ("Study",),
    "harness.experiment.heads": ("Head", "ModelShape"),
    "harness.findings.report.reading": ("load",),
    "harness.model.intervention.ablation": ("Ablation",),
    "harness.model.intervention.surgery": ("can_be_cut", "heads_forgotten", "weights_cut"),
    "harness.model.loading.loaded_model": ("LoadedModel",),
    "harness.retrieval.rows": ("Row",),
    "harness.study.outcome": ("GateVerdict", "Result"),
}


if not TYPE_CHECKING:  # or the checker would believe that there is whatever is asked for

    def __getattr__(name: str) -> object:
        """A member from its own module, at its first use."""
        for home, names in _HOMES.items():
            if name in names:
                member = globals()[name] = getattr(import_module(home), name)
                return member
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, fetched or not."""
    return sorted({*globals(), *__all__})
