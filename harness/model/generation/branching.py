"""One decoder layer for all nodes of the prefix tree at once, each with its own heads ablated.

A model's own forward pass is run with its stack of decoder layers taken out. Embedding, positions, masks and rotary
angles before the layers, final norm and logits after them, stay the model's. While a pass runs, each layer's `forward`
is, for the thread that runs it, a stand-in that notes its arguments; the last one puts all layers back and hands the
embedded tokens and the notes to a function of the caller, which runs the real layers as it likes. What it returns goes
on to the final norm: it may have more rows than went in.

A layer's input has one row for each node of the level before. Where nodes part, three things are done around
the layer's own forward: its input is repeated for each child; its attention, which children of one node have
in common up to the output projection's input, is given each parent once; and that input is repeated for each
child, with the child's ablated heads replaced. So norms, attention and feed-forward are the model's own
code, and what is computed is what `harness.model.intervention.ablation` defines, condition by condition.

Replacing is assignment. What every projection really read in ablated heads is counted after all other hooks,
and `check` raises unless it was exactly the replacement, at every layer that should have been ablated.

Knows nothing of tokens, and of caches only that attention sees parents.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import Cache

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import Level, PrefixTree
from harness.model.generation.attention import (
    BEHIND,
    IN_BUCKETS,
    IN_RUNS,
    attention,
    may_attend_in_buckets,
    sees_everything,
)
from harness.model.generation.fused import fused
from harness.model.generation.one_pass import HALVES
from harness.model.intervention.projection_input import ZERO, HookInput, Replacement, as_call, projection_input
from harness.model.intervention.thread_hooks import hooked, replaced
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.devices import uploaded
from harness.model.loading.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A decoder layer, and what its model hands to it beside the hidden states, which come first.

    `attends` opens the attention that the model was run with.
    """

    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attends: Callable[[], AbstractContextManager[None]] = nullcontext

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The layer's output for these hidden states: (rows, positions, width)."""
        with self.attends(), fused(self.layer):
            result = self.layer(hidden, *self.args, **self.kwargs)
        output: torch.Tensor = result[0] if isinstance(result, tuple) else result
        return output


Walk = Callable[[torch.Tensor, Sequence[LayerCall]], torch.Tensor]
"""From embedded tokens (prompts, positions, width) and the layers' calls to the last layer's output."""


def decoder_layers(loaded: LoadedModel) -> tuple[nn.Module, ...]:
    """The model's decoder layers, first to last."""
    layers = loaded.model.get_submodule(loaded.architecture.layers)
    return tuple(layers.children())


def attention_modules(loaded: LoadedModel) -> tuple[nn.Module, ...]:
    """What each layer attends with, of which the output projection is a part."""
    place, _, _ = loaded.architecture.projection.rpartition(".")
    return tuple(layer.get_submodule(place) for layer in decoder_layers(loaded))


def forward_with(
    loaded: LoadedModel,
    token_ids: Sequence[Sequence[int]],
    cache: Cache,
    walk: Walk,
    *,
    n_logits: int = 0,
    capacity: int = 0,
) -> torch.Tensor:
    """Run as many tokens of each prompt after what the cache holds, `walk` in place of the layers.

    Returns the logits of the last `n_logits` positions (0: all) of each row that `walk` returned:
    (rows, positions, vocabulary). The cache itself is what layers are handed; the model reads its length. What is fed
    may be a part of a prompt for which `capacity` positions are made room for.
    """
    layers = decoder_layers(loaded)
    calls: list[LayerCall] = []
    attends = _attention_of(loaded, len(token_ids[0]), cache.get_seq_length(), capacity)
    with attends(), ExitStack() as standing_in:

        def stand_in(layer: nn.Module, own: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            named = dict(kwargs)
            hidden, *rest = args if args else (named.pop("hidden_states"),)
            calls.append(LayerCall(layer, tuple(rest), named, attends))
            if len(calls) == len(layers):
                standing_in.close()
                hidden = walk(hidden, calls)
            return (hidden,) if loaded.architecture.returns_tuple else hidden

        for layer in layers:
            standing_in.enter_context(replaced(layer, partial(stand_in, layer)))
        ids = uploaded(torch.tensor(token_ids), loaded.device)
        output = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=n_logits)
    logits: torch.Tensor = output.logits
    return logits


def _attention_of(
    loaded: LoadedModel, n_tokens: int, n_held: int, capacity: int = 0
) -> Callable[[], AbstractContextManager[None]]:
    """What opens the attention of tokens that are fed after what is held: the model's own, or one that is as good."""
    if may_attend_in_buckets(loaded, n_tokens, n_held, capacity):
        return partial(attention, IN_BUCKETS)
    if loaded.waits_for_launches:
        # of a whole prompt in float32 the library asks for heads in groups, which no kernel but the slowest knows there
        behind = n_held > 0 or loaded.model.dtype not in HALVES
    else:
        behind = n_held > 0 or (n_tokens in IN_RUNS and loaded.model.dtype == torch.float32)
    return partial(attention, BEHIND) if n_tokens > 1 and behind and sees_everything(loaded) else nullcontext


class _Parting:
    """Where the nodes of a level part, as index tensors on each device that they are asked for on: one copy serves all.

    `parents` repeats rows for each child, `first` are each parent's first children, and `rows` and `heads` are pairs: a
    row and a head that it loses.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        parents = level.parents
        self._lists = (
            parents,
            [node for node, parent in enumerate(parents) if node == 0 or parent != parents[node - 1]],
            [node for node, heads in enumerate(level.heads) for _ in heads],
            [head for heads in level.heads for head in sorted(heads)],
        )
        self._on: dict[torch.device, tuple[torch.Tensor, ...]] = {}

    @property
    def ablates(self) -> bool:
        """Whether any row loses a head."""
        return bool(self._lists[3])

    def on(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """`parents`, `first`, `rows` and `heads`."""
        if device not in self._on:
            line = uploaded(torch.tensor([number for numbers in self._lists for number in numbers]), device)
            self._on[device] = torch.split(line, [len(numbers) for numbers in self._lists])
        return self._on[device]


class Branching:
    """Runs a model's layers on nodes of a tree, and keeps account of what was ablated.

    `replacement` says what ablated heads put out. `fired` counts, for each leaf, named by its prompt and its head set,
    the calls of projections in which it lost a head.
    """

    def __init__(self, loaded: LoadedModel, replacement: Replacement = ZERO) -> None:
        self._attention = attention_modules(loaded)
        self._outputs = loaded.outputs
        self.replacement = replacement
        self._others: dict[int, list[torch.Tensor]] = {}
        self._partings: dict[int, _Parting] = {}
        self.fired: Counter[tuple[int, frozenset[Head]]] = Counter()

    def run(self, call: LayerCall, layer: int, tree: PrefixTree, hidden: torch.Tensor, start: int) -> torch.Tensor:
        """The layer's output for each of its nodes.

        From (parents, positions, width) to (nodes, positions, width); `start` is the first position's distance from
        the prompt's first token.

        Raises:
            AblationError: the projection was not called, or with something else than one tensor of its width.
        """
        level = tree.levels[layer]
        parting = self._partings.get(id(level))
        if parting is None:
            # it keeps the level, whose number is no other's then
            parting = self._partings[id(level)] = _Parting(level)
        parted = len(level.parents) > hidden.shape[0]
        if not parting.ablates:
            return call(hidden)
        projection = _Projection(self._outputs[layer], parting, parted, self.replacement, start)
        with ExitStack() as hooks:
            if parted:
                parents, *_ = parting.on(hidden.device)
                hidden = hidden.index_select(0, parents)
                hooks.enter_context(hooked(self._attention[layer], partial(_once_per_parent, parting)))
            hooks.enter_context(self.replacement.watching([layer]))
            hooks.enter_context(hooked(self._outputs[layer].module, projection.replace, projection.check))
            output = call(hidden)
        if projection.others is None:
            raise AblationError(
                f"{self._outputs[layer].name}: its hook never fired; expected a forward call in its layer; is "
                "its projection called past its module?"
            )
        leaves = zip(tree.prompts, tree.leaves, level.node_of_leaf, strict=True)
        self.fired.update((prompt, heads) for prompt, heads, node in leaves if level.heads[node])
        self._others.setdefault(layer, []).append(projection.others)
        return output

    def fired_in(self, prompt: int) -> Counter[frozenset[Head]]:
        """Those calls of one prompt's leaves, by head set."""
        return Counter({heads: n for (number, heads), n in self.fired.items() if number == prompt})

    def check(self) -> None:
        """Raise an AblationError unless all that should have been replaced was; waits for the devices."""
        for layer, counts in self._others.items():
            others = int(torch.stack(counts).sum())
            if others:
                raise AblationError(
                    f"{self._outputs[layer].name}: {others} other elements entered it in ablated heads over "
                    f"{len(counts)} calls; expected exactly {self.replacement.name}; does another hook write to the "
                    "same input?"
                )
        self._others.clear()
        self.replacement.check()


def _once_per_parent(parting: _Parting, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HookInput:
    """Hook before attention: of rows repeated for each child, the first of each parent."""
    hidden = args[0] if args else kwargs["hidden_states"]
    _, first, _, _ = parting.on(hidden.device)
    hidden = hidden.index_select(0, first)
    return ((hidden, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": hidden})


class _Projection:
    """Hooks before and after one output projection, for one call.

    Its rows are repeated for each child where they have `parted`; `start` is the position of the call's first. `others`
    is, after the call, the number of elements that were read in ablated heads and were not the replacement; nan counts
    as one.
    """

    def __init__(
        self, output: AttentionOutput, parting: _Parting, parted: bool, replacement: Replacement, start: int
    ) -> None:
        self._output = output
        self._parting = parting
        self._parted = parted
        self._replacement = replacement
        self._start = start
        self._values: torch.Tensor | None = None
        self.others: torch.Tensor | None = None

    def replace(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HookInput:
        hidden, keyword = projection_input(self._output, args, kwargs)
        parents, _, rows, heads = self._parting.on(hidden.device)
        if self._parted:
            replaced = hidden.index_select(0, parents)
        else:
            replaced = hidden.clone(memory_format=torch.contiguous_format)
        values = self._replacement.values(self._output, self._start, hidden)
        # of each pair's row before rows were repeated, (pairs, positions or 1, width of a head)
        of = parents[rows] if self._parted else rows
        self._values = self._by_head(values.expand(len(hidden), -1, -1))[of, :, heads]
        self._by_head(replaced)[rows, :, heads] = self._values
        return as_call(replaced, keyword)

    def check(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        hidden, _ = projection_input(self._output, args, kwargs)
        _, _, rows, heads = self._parting.on(hidden.device)
        assert self._values is not None
        self.others = torch.count_nonzero(self._by_head(hidden)[rows, :, heads] != self._values.to(hidden.device))
        self._values = None

    def _by_head(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, positions, heads, width of a head), the same memory."""
        # splitting the last dimension never copies
        return hidden.reshape(*hidden.shape[:2], self._output.n_heads, self._output.head_dim)
