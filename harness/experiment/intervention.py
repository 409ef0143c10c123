"""Interventions: what ablated heads put out in place of their own output, and from which token on.

Knows no models and no tensors: `harness.model.intervention.projection_input` makes tensors of it.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.choices import Mode, Phase
from harness.retrieval.prompts import Prompt

if TYPE_CHECKING:  # the command line reads this module as it parses, where numpy would be most of the time
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Manner:
    """How a study ablates: one manner for all of its conditions, controls included."""

    mode: Mode = "zero"
    phase: Phase = "all"


DEFAULT_MANNER = Manner()
"""Zeroed, at every token."""


@dataclass(frozen=True, eq=False, slots=True)
class MeanValues:
    """For every layer its heads' mean outputs, side by side: (layers, n_heads x head_dim), float64."""

    vectors: "NDArray[np.float64]"

    @property
    def sha256(self) -> str:
        """Of shape and numbers, in hex."""
        import numpy as np

        plain = np.ascontiguousarray(self.vectors, dtype="<f8")
        return hashlib.sha256(f"{plain.shape}".encode() + plain.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Edges:
    """Tokens of a prompt, by position, that ablated heads no longer attend to, from its last token on.

    With `instead` it is not these but some of those: as much attention as these get, of each query and head.
    """

    tokens: tuple[int, ...]
    instead: tuple[int, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the positions, in hex."""
        return hashlib.sha256(f"{self.tokens} {self.instead}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Intervention:
    """How the heads of one prompt are ablated: with which values, and when.

    `values` are means, or the prompt of a donor, or what heads put out without some edges (then the phase is
    `decode`), or `None` for 0.
    """

    values: MeanValues | Prompt | Edges | None = None
    phase: Phase = "all"

    def __post_init__(self) -> None:
        if isinstance(self.values, Edges):
            object.__setattr__(self, "phase", "decode")

    def first_ablated(self, n_prompt: int) -> int:
        """The first position at which heads are ablated, of a prompt of `n_prompt` tokens."""
        return n_prompt - 1 if self.phase == "decode" else 0


ZEROED = Intervention()
"""The default: 0 at every position, in prefill and decoding."""
