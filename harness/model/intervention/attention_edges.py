"""Attention edges: what heads put out when they do not attend to some tokens of the prompt.

From the prompt's last token on a head's output is computed anew, softmax(Q K^T) V without the keys of these tokens, and
put in its place at the output projection's input. Queries, keys, values and mask are those that the layer hands to its
attention (the library's attention interface): grouped keys, rotated, within their windows. Scaling, soft-cap and
attention sinks are the model's; what a head does not give to the tokens that are left out it gives to all others, the
first token and a learned sink among them. No kernel masks single heads; a query at a time is cheap to compute by hand.

Sources: attention knockout (Geva et al. 2023, https://arxiv.org/abs/2304.14767), there for all heads of some layers;
for chosen heads and the needle's sentence, github.com/4n4ny4/qr_scoring, there while the gold answer is fed.

Of other tokens exactly as much attention is taken as the needle gets, for every query and head anew: from the most
attended on, and of the last one a part. Where all of them get less than the needle, all are taken.

What is computed checks itself: with all keys it must be what the layer's attention put out, and that must be what
entered the projection. So an attention that does more than is known here is found out.

Knows nothing of which rows of a batch lose which heads.
"""

import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import Edges
from harness.model.intervention.projection_input import Replacement
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.blueprints import no_edges
from harness.model.loading.loaded_model import LoadedModel

NOTING = "retrieval_heads_noting"
"""The name under which `transformers` knows an attention that is the one asked for, and noted."""

ROUNDING = float(torch.finfo(torch.float32).eps ** 0.5)
"""By how much of the largest value two ways to compute attention may differ, at least in float32."""

Attend = Callable[..., tuple[torch.Tensor, Any]]


@dataclass(eq=False, slots=True)
class _Call:
    """One call of a layer's attention, (rows, heads, positions, width); `usual` is the attention that was asked for."""

    usual: str
    query: torch.Tensor | None = None
    key: torch.Tensor | None = None
    value: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    others: dict[str, Any] | None = None
    output: torch.Tensor | None = None


_noted: "weakref.WeakKeyDictionary[nn.Module, _Call]" = weakref.WeakKeyDictionary()


def _note(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **others: Any,
) -> tuple[torch.Tensor, Any]:
    """The attention that was asked for; what goes in and comes out is noted."""
    call = _noted[module]
    # of a model's own eager attention only its module knows
    eager: Attend | None = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    usual: Attend = ALL_ATTENTION_FUNCTIONS.get_interface(call.usual, eager)  # type: ignore[arg-type]  # the library's
    output, weights = usual(module, query, key, value, attention_mask, **others)
    call.query, call.key, call.value, call.mask = query, key, value, attention_mask
    call.others, call.output = others, output
    return output, weights


AttentionInterface.register(NOTING, _note)


class AttentionEdges(Replacement):
    """Outputs of heads that do not attend to some tokens, from position `first` on; before it, what they were.

    `heads` are computed, those of the layers that are watched.

    Raises:
        ModelError: an architecture that computes attention itself.
        AblationError: within, an attention that does not go through the library's interface all the same; on `check`,
            one that is not softmax(QK^T)V as it is known here, or is changed before it enters the projection.
    """

    name = "the heads' outputs without some of their edges"
    steady = False

    def __init__(self, loaded: LoadedModel, edges: Edges, heads: Collection[Head], *, first: int) -> None:
        reason = no_edges(loaded.model.config, loaded.architecture)
        if reason is not None:
            raise ModelError(
                f"{loaded.shape.id}: {reason}; expected one that does not; use the mode zero, mean or resample"
            )
        place, _, _ = loaded.architecture.projection.rpartition(".")
        layers = loaded.model.get_submodule(loaded.architecture.layers)
        self._attention = [layer.get_submodule(place) for layer in layers.children()]
        self._outputs = loaded.outputs
        self._edges = edges
        self._heads: dict[int, list[int]] = {}
        for head in sorted(heads):
            self._heads.setdefault(head.layer, []).append(head.head)
        self._first = first
        # by layer: how far its outputs are from those computed here, and how many entered the projection otherwise
        self._distances: dict[int, list[torch.Tensor]] = {}
        self._others: dict[int, list[torch.Tensor]] = {}

    @contextmanager
    def watching(self, layers: Collection[int]) -> Iterator[None]:
        """Note what these layers hand to their attention."""
        with ExitStack() as hooks:
            for layer in layers:
                module = self._attention[layer]
                if not hasattr(module, "config"):
                    raise self._unknown(layer)
                before = module.register_forward_pre_hook(_begin)
                hooks.callback(before.remove)
                after = module.register_forward_hook(_end, always_call=True)
                hooks.callback(after.remove)
                hooks.callback(_noted.pop, module, None)
            yield

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(rows, positions, width)."""
        call = _noted[self._attention[output.layer]]
        if call.query is None or call.key is None or call.value is None or call.output is None:
            raise self._unknown(output.layer)
        skipped = min(max(self._first - start, 0), like.shape[1])
        values = like.clone()
        if skipped < like.shape[1]:
            whole = call.output.reshape(like.shape)[:, skipped:]
            self._others.setdefault(output.layer, []).append(torch.count_nonzero(whole != like[:, skipped:]))
            by_head = values.view(*like.shape[:2], output.n_heads, output.head_dim)
            for head in self._heads.get(output.layer, ()):
                scores, value = _scores(call, head, skipped, start + like.shape[1], output)
                whole_head = whole.reshape(*whole.shape[:2], output.n_heads, -1)[:, :, head]
                self._distances.setdefault(output.layer, []).append(
                    _distance(scores.attended(value), whole_head, value)
                )
                by_head[:, skipped:, head] = scores.without(self._edges).attended(value).to(like.dtype)
        call.query = call.key = call.value = call.mask = call.others = call.output = None
        return values

    def _unknown(self, layer: int) -> AblationError:
        return AblationError(
            f"{self._outputs[layer].name}: its attention does not go through the library's attention interface; "
            "expected that it does; what single tokens give to its heads cannot be taken away"
        )

    def check(self) -> None:
        """Raise unless every head, with all its keys, put out what its layer's attention did."""
        for layer, distances in self._distances.items():
            name, farthest = self._outputs[layer].name, max(float(each) for each in distances)
            if not farthest <= 1:
                raise AblationError(
                    f"{name}: softmax(QK^T)V differs from what its attention put out by {farthest:.2g} x what rounding "
                    "explains; expected the same; what single tokens give to its heads cannot be taken away"
                )
            if others := sum(int(count) for count in self._others[layer]):
                raise AblationError(
                    f"{name}: {others} other elements entered it than its attention put out; expected the same; what "
                    "single tokens give to its heads cannot be taken away"
                )
        self._distances.clear()
        self._others.clear()


def _begin(module: nn.Module, args: object) -> None:
    """Hook before a layer's attention: from here on it is noted."""
    config: Any = module.config
    _noted[module] = _Call(config._attn_implementation)
    config._attn_implementation = NOTING


def _end(module: nn.Module, args: object, result: object) -> None:
    """Hook after it, whatever happened."""
    config: Any = module.config
    config._attn_implementation = _noted[module].usual


@dataclass(frozen=True, eq=False, slots=True)
class _Scores:
    """One head's scores, (rows, queries, keys), -inf where it does not attend, and its sink's, if it has one.

    `positions` are the keys' places in the prompt and after it.
    """

    scores: torch.Tensor
    sink: torch.Tensor | None
    positions: torch.Tensor

    def weights(self) -> torch.Tensor:
        """(rows, queries, keys): 0 where nothing is left to attend to."""
        total = self.scores.logsumexp(dim=-1, keepdim=True)
        if self.sink is not None:
            total = torch.logaddexp(total, self.sink)
        return torch.where(total.isneginf(), 0.0, (self.scores - total).exp())

    def attended(self, value: torch.Tensor) -> torch.Tensor:
        """Values (rows, keys, width) by these weights: (rows, queries, width)."""
        return self.weights() @ value.to(self.scores.dtype)

    def without(self, edges: Edges) -> "_Scores":
        """The same, without the edges."""
        removed = self._at(edges.tokens)
        scores = self.scores.masked_fill(removed, -torch.inf)
        if edges.instead:
            weights = self.weights()
            mass = torch.where(removed, weights, 0.0).sum(dim=-1, keepdim=True)
            scores = self.scores + left_of(torch.where(self._at(edges.instead), weights, 0.0), mass).log()
        return _Scores(scores, self.sink, self.positions)

    def _at(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.isin(self.positions, torch.tensor(tokens, dtype=torch.long, device=self.positions.device))


def left_of(weights: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """The part of each weight, (..., keys), that is left where `mass`, (..., 1), is taken from the largest on."""
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    taken = (mass - before).clamp(min=0).minimum(ordered)
    left = torch.where(taken > 0, 1 - taken / ordered, 1.0)
    return torch.zeros_like(left).scatter(-1, order, left)


def _scores(call: _Call, head: int, skipped: int, end: int, output: AttentionOutput) -> tuple[_Scores, torch.Tensor]:
    """One head's scores of the queries but the first `skipped`, and its values, (rows, keys, width).

    `end` is the position after the last query, which is the last key too.
    """
    assert call.query is not None
    assert call.key is not None
    assert call.value is not None
    assert call.others is not None
    copies = call.query.shape[1] // call.key.shape[1]
    query, key = call.query[:, head, skipped:], call.key[:, head // copies]
    exact = torch.promote_types(query.dtype, torch.float32)
    scaling = call.others.get("scaling")
    scores = query.to(exact) @ key.to(exact).transpose(1, 2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if (cap := call.others.get("softcap")) is not None:
        scores = (scores / cap).tanh() * cap
    positions = torch.arange(end - key.shape[1], end, device=key.device)
    queries = torch.arange(end - query.shape[1], end, device=key.device)
    if call.mask is None:
        unseen = positions > queries[:, None]
        if (window := call.others.get("sliding_window")) is not None:
            unseen = unseen | (positions <= queries[:, None] - window)
        scores = scores.masked_fill(unseen, -torch.inf)
    else:
        scores = _masked(scores, call.mask, head, skipped, output)
    sinks = call.others.get("s_aux")
    return _Scores(scores, None if sinks is None else sinks[head].to(exact), positions), call.value[:, head // copies]


def _masked(scores: torch.Tensor, mask: torch.Tensor, head: int, skipped: int, output: AttentionOutput) -> torch.Tensor:
    """The scores under a layer's own mask, (rows or 1, heads or 1, queries, keys): of truth values, or to be added."""
    if not isinstance(mask, torch.Tensor) or mask.dim() != 4 or mask.shape[-1] < scores.shape[-1]:
        raise AblationError(
            f"{output.name}: a mask of {tuple(getattr(mask, 'shape', ())) or type(mask).__name__}; expected one of "
            "(rows, heads, queries, keys); ask for the attention sdpa or eager"
        )
    mask = mask[:, head if mask.shape[1] > 1 else 0, skipped:, : scores.shape[-1]]
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -torch.inf)
    return (scores + mask).masked_fill(mask <= torch.finfo(mask.dtype).min, -torch.inf)


def _distance(computed: torch.Tensor, output: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The greatest difference, as a part of what rounding explains."""
    part: float = max(ROUNDING, torch.finfo(output.dtype).eps ** 0.5)
    allowed = value.abs().amax().to(computed.dtype).clamp(min=torch.finfo(torch.float32).tiny) * part
    return (computed - output).abs().amax() / allowed
