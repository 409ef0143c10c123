"""What may be chosen where a floor and a setting must agree: each choice's words, said once.

Every pytest run that has the plugin installed imports this module, so it imports next to nothing.
"""

from dataclasses import dataclass
from typing import Literal

Insertion = Literal["sentence", "published"]
"""Where a needle goes: at a sentence boundary, or at a bare character position, as in the published study."""

RandomMatch = Literal["uniform", "layer"]
"""How control heads are drawn: from the whole pool, or from the layers of the heads they control for."""

GateHeads = Literal["own", "shared", "global"]
"""Whose heads a gate judges, which is its name: each task's own, those that tasks share, or the best over all rows."""

GateOutcome = Literal["accuracy", "likelihood"]
"""What a gate judges of a row: whether the answer is right, or how likely the right value is where the untouched model
says it."""

Mode = Literal["zero", "mean", "resample", "resample_same", "rescue", "needle_edge", "other_edge", "mass_edge"]
"""What ablated heads put out: `zero`, nothing; `mean`, what they put out on average on other rows; `resample`, what
they put out on one other row, the donor, and `resample_same`, on the donor's document with the row's own needle in it;
`rescue`, nothing up to the answer, and there what they put out in the untouched run; the others, what they put out when
they do not attend to some tokens of the document: `needle_edge`, the needle's; `other_edge`, as many others;
`mass_edge`, others of as much attention."""

DONOR_MODES: tuple[Mode, ...] = ("resample", "resample_same")
"""Modes in which another prompt is run for a row's heads."""

EDGE_MODES: tuple[Mode, ...] = ("needle_edge", "other_edge", "mass_edge")
"""Modes in which heads stop reading some tokens, always from the prompt's last token on."""

Phase = Literal["all", "decode"]
"""When heads are ablated: `all`, at every token of the prompt and while decoding; `decode`, from the prompt's last
token on, whose output is the first new token. The prompt before it is read by the untouched model."""

MethodName = Literal["summed_attention", "contrast", "retrieval_score", "qr_score", "logit_contribution"]
"""How heads are scored, to be ranked: each has a module of its own in `harness.model.identification`."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """`n` nodes of a cluster with as many `gpus` each, of one kind: the card's name, and its memory in gigabytes."""

    n: int
    gpus: int
    card: str
    gigabytes: int

    def __str__(self) -> str:
        """As it is asked for: `2x4xA100-40GB`."""
        return f"{f'{self.n}x' if self.n > 1 else ''}{self.gpus}x{self.card}-{self.gigabytes}GB"
