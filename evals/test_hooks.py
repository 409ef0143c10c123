"""Hooks: zeroing heads does exactly what it says, on whichever model is configured.

Drawn head sets are ablated on short random prompts. The logits equal, to the last bit, those of the same model whose
projections forget the heads, without any hook, and of one with the heads' weights cut out, where they are neither
quantised nor offloaded; what enters the projections outside the zeroed slices is untouched; and after the context is
left the model answers as before. Seconds on a CPU; a good first test of a model nobody has ablated yet.

torch and hypothesis are imported where they are needed: other tests of this folder need neither to begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import harness
from harness import Head, ModelShape

if TYPE_CHECKING:
    import torch
    from hypothesis import strategies as st

    from harness import LoadedModel

    Inputs = dict[int, torch.Tensor]

MOST_TOKENS = 64


def head_sets(shape: ModelShape) -> st.SearchStrategy[frozenset[Head]]:
    """None, one, many of a layer, a whole layer, the first, the last, or any heads."""
    from hypothesis import strategies as st

    layers = st.integers(0, shape.n_layers - 1)
    heads = st.sampled_from(shape.heads())
    whole = layers.map(lambda layer: frozenset(Head(layer, head) for head in range(shape.n_heads)))
    in_a_layer = layers.flatmap(
        lambda layer: st.frozensets(st.integers(0, shape.n_heads - 1).map(lambda head: Head(layer, head)), min_size=2)
    )
    ends = st.sampled_from([frozenset({shape.heads()[0]}), frozenset({shape.heads()[-1]})])
    return st.one_of(
        st.just(frozenset()), heads.map(lambda head: frozenset({head})), in_a_layer, whole, ends, st.frozensets(heads)
    )


def logits_of(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """Logits of a forward pass: (rows, tokens, vocabulary)."""
    import torch

    with torch.inference_mode():
        logits: torch.Tensor = loaded.model(input_ids=ids.to(loaded.device), use_cache=False).logits
    return logits


@contextmanager
def watched(loaded: LoadedModel) -> Iterator[tuple[Inputs, Inputs]]:
    """What reaches each projection's hooks, and what the projection itself reads, by layer."""
    before: Inputs = {}
    after: Inputs = {}
    handles = []
    for output in loaded.outputs:

        def note_before(module: torch.nn.Module, args: tuple[torch.Tensor, ...], layer: int = output.layer) -> None:
            before[layer] = args[0].clone()

        def note_after(
            module: torch.nn.Module, args: tuple[torch.Tensor, ...], result: object, layer: int = output.layer
        ) -> None:
            after[layer] = args[0].clone()

        handles.append(output.module.register_forward_pre_hook(note_before, prepend=True))
        handles.append(output.module.register_forward_hook(note_after))
    try:
        yield before, after
    finally:
        for handle in handles:
            handle.remove()


def test_hooks(ablation_model: LoadedModel) -> None:
    """An ablation of one head set for each row of a batch is exact, and leaves nothing behind."""
    from hypothesis import given, settings
    from hypothesis import strategies as st

    @settings(max_examples=25, derandomize=True, deadline=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        check_hooks(ablation_model, data)

    check()


def check_hooks(loaded: LoadedModel, data: st.DataObject) -> None:
    """The same for head sets, tokens and a seed that are drawn from `data`."""
    import torch
    from hypothesis import strategies as st

    sets = data.draw(st.lists(head_sets(loaded.shape), min_size=1, max_size=3), label="head sets")
    n_tokens = data.draw(st.integers(1, MOST_TOKENS), label="tokens")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32), label="seed"))
    vocabulary = loaded.model.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (len(sets), n_tokens), generator=generator)

    untouched = logits_of(loaded, ids)
    with watched(loaded) as (before, after), harness.Ablation(loaded.outputs, sets):
        ablated = logits_of(loaded, ids)
    assert torch.equal(logits_of(loaded, ids), untouched)

    for output in loaded.outputs:
        kept = torch.ones_like(before[output.layer], dtype=torch.bool)
        for row, heads in enumerate(sets):
            for head in heads:
                if head.layer == output.layer:
                    kept[row, :, head.head * output.head_dim : (head.head + 1) * output.head_dim] = False
        assert torch.equal(after[output.layer][kept], before[output.layer][kept])
        assert not after[output.layer][~kept].any()

    with harness.heads_forgotten(loaded.outputs, sets):
        assert torch.equal(ablated, logits_of(loaded, ids))
    if harness.can_be_cut(loaded.outputs):
        for heads in sets:
            # in all rows: how experts and 8-bit products round depends on what is computed together
            with harness.Ablation(loaded.outputs, [heads]):
                ablated = logits_of(loaded, ids)
            with harness.weights_cut(loaded.outputs, heads):
                assert torch.equal(ablated, logits_of(loaded, ids))
