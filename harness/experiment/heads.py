"""Attention heads, the shape of the model that has them, and what is known of it before its weights are read.

A head is a query head `(layer, head)`, both counted from 0. A model's blueprint is what its records depend on and what
it cannot be asked, found from its config in seconds and without a GPU. Knows nothing of scores (`rankings`), nor of how
a blueprint is found.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from harness.errors import HeadsError, ModelError

_HEAD_TEXT = re.compile(r"L(\d{1,9})H(\d{1,9})|(\d{1,9})-(\d{1,9})", re.ASCII)


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
        return _parsed(text)


@lru_cache(maxsize=1 << 14)
def _parsed(text: str) -> Head:
    match = _HEAD_TEXT.fullmatch(text)
    if match is None:
        raise HeadsError(f"head {text!r}; expected layer and head as in 'L17H29' or '17-29'")
    layer, head = (int(digits) for digits in match.groups() if digits is not None)
    return Head(layer, head)


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
        return _heads(self.n_layers, self.n_heads)

    def check(self, head: Head, where: str) -> None:
        """Raise a HeadsError that opens with `where` unless the model has this head."""
        for what, number, count in (("layer", head.layer, self.n_layers), ("head", head.head, self.n_heads)):
            if number >= count:
                raise HeadsError(f"{where}: {what} {number}, but the model has {count} {what}s (0-{count - 1})")


@cache
def _heads(n_layers: int, n_heads: int) -> tuple[Head, ...]:
    return tuple(Head(layer, head) for layer in range(n_layers) for head in range(n_heads))


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model as it will be loaded.

    `attention` and `dtype` are those that the loaded model will have; loading checks that it has. `device_type` is
    where it computes, `cuda` or `cpu`. `window` is the most positions that it was made for, `None` without a limit.
    `one_by_one` says why a row's conditions cannot be computed together, `None` where they can. `gpu_dtype` is the
    dtype that it would have on a GPU, asked the same, where this is a CPU that nobody asked for. `quantized_file` is
    how a GGUF file keeps its weights, as `Q4_1`, which are read as full ones of `dtype`. `windows` are how many
    positions each layer attends to at most, itself included, `None` without a limit. `no_edges` says why what single
    tokens give to its heads cannot be taken away, `None` where it can.
    """

    shape: ModelShape
    attention: str
    dtype: str
    device_type: str
    window: int | None = None
    one_by_one: str | None = None
    gpu_dtype: str | None = None
    quantized_file: str | None = None
    windows: tuple[int | None, ...] = ()
    no_edges: str | None = None


def check_window(window: int | None, model_id: str | None, row_id: str, n_tokens: int) -> None:
    """Raise a ModelError that names the row unless a model's window holds this many tokens."""
    if window is not None and n_tokens > window:
        raise ModelError(
            f"{row_id}: {n_tokens} tokens, new ones included; expected at most {window}, the window of {model_id}; "
            "use shorter documents, or cut them with seq-len"
        )
