"""A model's own forward pass with its stack of decoder layers taken out: what it hands to each, and what it
makes of what comes back.

Embedding, positions, masks and rotary angles before the layers, final norm and logits after them, stay the
model's. While a pass runs, each layer's `forward` is a stand-in that notes its arguments; the last one puts
all layers back and hands the embedded tokens and the notes to a function of the caller, which runs the real
layers as it likes. What that function returns goes on to the final norm: it may have more rows than went in.

Knows nothing of heads, caches or trees.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harness.model.loading.architectures import architecture_of
from harness.model.loading.loaded_model import LoadedModel

RETURNS_TUPLE = frozenset({"bloom", "falcon"})
"""Architectures whose layers return a tuple that begins with the hidden states; others return them bare."""


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A decoder layer, and what its model hands to it beside the hidden states, which come first."""

    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The layer's output for these hidden states: (rows, positions, width)."""
        result = self.layer(hidden, *self.args, **self.kwargs)
        output: torch.Tensor = result[0] if isinstance(result, tuple) else result
        return output


Walk = Callable[[torch.Tensor, Sequence[LayerCall]], torch.Tensor]
"""From embedded tokens (1, positions, width) and the layers' calls to the last layer's output."""


def decoder_layers(loaded: LoadedModel) -> tuple[nn.Module, ...]:
    """The model's decoder layers, first to last."""
    layers = loaded.model.get_submodule(architecture_of(loaded.model.config).layers)
    return tuple(layers.children())


def forward_with(
    loaded: LoadedModel, token_ids: Sequence[int], cache: object, walk: Walk, *, n_logits: int = 0
) -> torch.Tensor:
    """Run tokens after what the cache holds, `walk` in place of the layers.

    Returns the logits of the last `n_logits` positions (0: all) of each row that `walk` returned:
    (rows, positions, vocabulary). The cache itself is what layers are handed; the model reads its length.
    """
    layers = decoder_layers(loaded)
    calls: list[LayerCall] = []
    bare = loaded.model.config.model_type not in RETURNS_TUPLE
    with ExitStack() as standing_in:

        def stand_in(layer: nn.Module, hidden: torch.Tensor, args: Any, kwargs: Any) -> Any:
            calls.append(LayerCall(layer, args, kwargs))
            if len(calls) == len(layers):
                standing_in.close()
                hidden = walk(hidden, calls)
            return hidden if bare else (hidden,)

        for layer in layers:
            standing_in.callback(_replace_forward(layer, stand_in))
        ids = torch.tensor([token_ids], device=loaded.device)
        output = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=n_logits)
    logits: torch.Tensor = output.logits
    return logits


def _replace_forward(layer: nn.Module, stand_in: Callable[..., Any]) -> Callable[[], None]:
    """Make `stand_in` the layer's forward; returns what puts back the layer's own."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        named = dict(kwargs)
        hidden, *rest = args if args else (named.pop("hidden_states"),)
        return stand_in(layer, hidden, tuple(rest), named)

    # a library that places layers on devices has put its own forward on the object
    before = layer.__dict__.get("forward")
    layer.__dict__["forward"] = forward

    def put_back() -> None:
        if before is None:
            layer.__dict__.pop("forward", None)
        else:
            layer.__dict__["forward"] = before

    return put_back
