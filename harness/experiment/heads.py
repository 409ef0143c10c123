"""Attention heads and the shape of the model that has them.

A head is a query head `(layer, head)`, both counted from 0. Knows nothing of scores (`rankings`) or of models.
"""

import re
from dataclasses import dataclass

from harness.errors import HeadsError

_HEAD_TEXT = re.compile(r"L(\d+)H(\d+)|(\d+)-(\d+)", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Head:
    """One query head; `layer` and `head` are counted from 0.

    Raises:
        HeadsError: either number is negative or no integer.
    """

    layer: int
    head: int

    def __post_init__(self) -> None:
        for what, number in (("layer", self.layer), ("head", self.head)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise HeadsError(f"{what} {number!r}; expected an integer from 0 up")

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `L17H29` or `17-29`; anything else is a HeadsError."""
        match = _HEAD_TEXT.fullmatch(text)
        if match is None:
            raise HeadsError(f"head {text!r}; expected layer and head as in 'L17H29' or '17-29'")
        layer, head = (int(digits) for digits in match.groups() if digits is not None)
        return cls(layer, head)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """How many layers a model has and how many query heads each of them; the rest when known."""

    n_layers: int
    n_heads: int
    head_dim: int | None = None
    id: str | None = None
    revision: str | None = None

    def heads(self) -> tuple[Head, ...]:
        """All heads, layer by layer."""
        return tuple(Head(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads))

    def check(self, head: Head, where: str) -> None:
        """Raise a HeadsError that opens with `where` unless the model has this head."""
        for what, number, count in (("layer", head.layer, self.n_layers), ("head", head.head, self.n_heads)):
            if number >= count:
                raise HeadsError(f"{where}: {what} {number}, but the model has {count} {what}s (0-{count - 1})")
