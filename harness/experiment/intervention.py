"""Interventions: what ablated heads put out in place of their own output, and from which token on.

Knows no models and no tensors: `harness.model.replacement` makes tensors of it.
"""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["zero", "mean", "resample"]
"""What ablated heads put out."""

Phase = Literal["all", "decode"]
"""When heads are ablated: `all`, at every token of the prompt and while decoding; `decode`, from the prompt's last
token on, whose output is the first new token. The prompt before it is read by the untouched model."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a study ablates: one manner for all of its conditions, controls included."""

    mode: Mode = "zero"
    phase: Phase = "all"


@dataclass(frozen=True, slots=True)
class Intervention:
    """How the heads of one prompt are ablated."""

    phase: Phase = "all"

    def first_ablated(self, n_prompt: int) -> int:
        """The first position at which heads are ablated, of a prompt of so many tokens."""
        return n_prompt - 1 if self.phase == "decode" else 0


ZEROED = Intervention()
"""The default: 0 at every position, in prefill and decoding."""
