"""Interventions: what ablated heads put out in place of their own output, and from which token on.

Knows no models and no tensors: `harness.model.intervention.projection_input` makes tensors of it.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.choices import Mode, Phase
from harness.errors import DataError
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
class Rescue:
    """Zero up to a prompt's last token; from there on what the heads put out in the untouched model's own run of it."""


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


def edges_of(prompt: Prompt, mode: Mode, *, seed: int) -> Edges:
    """The edges that a mode takes from heads over this prompt; none where it has no needle.

    Others than the needle's are of the document but its first token and the prompt's: `other_edge` takes as many as the
    needle has, neighbours in the document without it, which begins again at its end, from one that is drawn by seed
    and row; `mass_edge` has all of them to choose from.

    Raises:
        DataError: the document has fewer other tokens than the needle.
    """
    needle = range(prompt.needle_start, prompt.needle_end)
    if mode == "needle_edge" or not needle:
        return Edges(tuple(needle))
    document = range(max(1, prompt.document_start), prompt.document_end)
    others = tuple(token for token in document if token not in needle)
    if len(others) < len(needle):
        raise DataError(
            f"{prompt.row_id}: {len(others)} tokens of its document beside the needle's {len(needle)}; expected at "
            f"least as many, which the mode {mode} takes instead; use a longer document"
        )
    if mode == "mass_edge":
        return Edges(tuple(needle), others)
    digest = hashlib.sha256(f"other edges\0{seed}\0{prompt.row_id}".encode()).digest()
    start = int.from_bytes(digest[:8], "big") % len(others)
    return Edges(tuple(sorted((others[start:] + others[:start])[: len(needle)])))


@dataclass(frozen=True, slots=True)
class Intervention:
    """How the heads of one prompt are ablated: with which values, and when.

    `values` are means, or the prompt of a donor, or what heads put out without some edges (then the phase is
    `decode`), or 0 with a rescue, or `None` for 0.
    """

    values: MeanValues | Prompt | Edges | Rescue | None = None
    phase: Phase = "all"

    def __post_init__(self) -> None:
        if isinstance(self.values, Edges):
            object.__setattr__(self, "phase", "decode")

    def first_ablated(self, n_prompt: int) -> int:
        """The first position at which heads are ablated, of a prompt of `n_prompt` tokens."""
        return n_prompt - 1 if self.phase == "decode" else 0


ZEROED = Intervention()
"""The default: 0 at every position, in prefill and decoding."""
