"""A model with its layers taken out and run from outside is the model.

A layer for several branches: against the layer run for each alone, and its own checks.
"""

import copy
from collections.abc import Sequence

import pytest
import torch
from tiny_models import HEAD_DIM, MODEL_TYPES, N_LAYERS, REPRESENTATIVES, cut_weights, random_ids, tiny_loaded, wrap

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import PrefixTree, prefix_tree
from harness.model.generation.branching import Branching, LayerCall, decoder_layers, forward_with
from harness.model.generation.node_cache import NodeCache, NodeLayer
from harness.model.loading.loaded_model import LoadedModel

IDS = random_ids(14, seed=2)


def as_ever(hidden: torch.Tensor, calls: Sequence[LayerCall]) -> torch.Tensor:
    for call in calls:
        hidden = call(hidden)
    return hidden


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@torch.inference_mode()
def test_what_a_layer_returns_is_known(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    returned: list[object] = []
    for layer in decoder_layers(loaded):
        handle = layer.register_forward_hook(lambda module, args, result: returned.append(result))
        loaded.model(input_ids=torch.tensor([IDS]))
        handle.remove()
    assert [isinstance(each, tuple) for each in returned] == [loaded.architecture.returns_tuple] * N_LAYERS


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
@torch.inference_mode()
def test_running_every_layer_gives_the_models_logits(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    cache = NodeCache([NodeLayer(len(IDS)) for _ in range(N_LAYERS)])
    first = forward_with(loaded, [IDS[:9]], cache, as_ever)
    second = forward_with(loaded, [IDS[9:]], cache, as_ever, n_logits=2)
    expected = loaded.model(input_ids=torch.tensor([IDS])).logits
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected[:, [*range(9), 12, 13]])


@torch.inference_mode()
def test_more_rows_may_come_back_than_went_in() -> None:
    loaded = tiny_loaded("llama")
    cache = NodeCache([NodeLayer(3) for _ in range(N_LAYERS)])
    logits = forward_with(loaded, [IDS[:3]], cache, lambda hidden, calls: as_ever(hidden, calls).expand(4, -1, -1))
    assert logits.shape[:2] == (4, 3)


@pytest.mark.parametrize("fails_at", ["embedding", "walk"])
def test_layers_are_put_back_on_every_way_out(fails_at: str) -> None:
    loaded = tiny_loaded("llama")
    own = decoder_layers(loaded)[0].forward

    def placed(hidden: torch.Tensor, **kwargs: object) -> object:
        return own(hidden, **kwargs)

    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError("fails")

    decoder_layers(loaded)[0].__dict__["forward"] = placed
    ids = [10**6] if fails_at == "embedding" else IDS[:3]
    with pytest.raises((RuntimeError, IndexError)):
        forward_with(loaded, [ids], NodeCache([NodeLayer(3) for _ in range(N_LAYERS)]), fail)
    assert decoder_layers(loaded)[0].__dict__.pop("forward") is placed
    assert not any("forward" in vars(layer) for layer in decoder_layers(loaded))


SETS = [frozenset[Head](), frozenset({Head(0, 1)}), frozenset({Head(0, 1), Head(2, 0)}), frozenset({Head(1, 3)})]
BRANCHING_IDS = random_ids(9, seed=3)


def run_tree(loaded: LoadedModel, branching: Branching, tree: PrefixTree) -> torch.Tensor:
    """Logits of all leaves at all positions: (leaves, positions, vocabulary)."""

    def walk(hidden: torch.Tensor, calls: Sequence[LayerCall]) -> torch.Tensor:
        for layer, call in enumerate(calls):
            hidden = branching.run(call, layer, tree, hidden, 0)
        return hidden

    with torch.inference_mode():
        return forward_with(
            loaded, [BRANCHING_IDS], NodeCache([NodeLayer(len(BRANCHING_IDS)) for _ in tree.levels]), walk
        )


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_layers_may_be_branched_unless_the_architecture_says_why_not(model_type: str) -> None:
    """Each leaf is the model with its weights cut; a bias that is made for each row of the batch fits no branches."""
    loaded = tiny_loaded(model_type)
    branching, tree = Branching(loaded), prefix_tree(SETS, N_LAYERS)
    if loaded.one_by_one is not None:
        with pytest.raises(RuntimeError, match="must match the existing size"):
            run_tree(loaded, branching, tree)
        return
    logits = run_tree(loaded, branching, tree)
    branching.check()
    for leaf, heads in enumerate(tree.leaves):
        with torch.inference_mode():
            expected = cut_weights(loaded.model, heads)(input_ids=torch.tensor([BRANCHING_IDS])).logits[0]
        torch.testing.assert_close(logits[leaf], expected, atol=1e-4, rtol=1e-4)
        assert branching.fired[0, heads] == len({head.layer for head in heads})


def test_attention_runs_once_for_children_of_one_node() -> None:
    loaded = tiny_loaded("llama")
    seen: list[tuple[int, int]] = []
    modules = [loaded.model.get_submodule(f"model.layers.{layer}") for layer in range(N_LAYERS)]
    handles = [
        handle
        for module in modules
        for handle in (
            module.get_submodule("self_attn.q_proj").register_forward_hook(
                lambda _, args, __: seen.append((args[0].shape[0], 0))
            ),
            module.get_submodule("mlp.up_proj").register_forward_hook(
                lambda _, args, __: seen.append((0, args[0].shape[0]))
            ),
        )
    ]
    run_tree(loaded, Branching(loaded), prefix_tree(SETS, N_LAYERS))
    for handle in handles:
        handle.remove()
    # nodes of the level before, then the level's own
    assert seen == [(1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (0, 4)]


@pytest.mark.parametrize("written", [float("nan"), 7.0])
def test_what_is_written_behind_the_zeroing_is_found(written: float) -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded("llama").model))
    projection, layer = loaded.outputs[1].module, loaded.model.get_submodule("model.layers.1")

    def late_hook(*_: object) -> None:
        """A hook that comes behind those of the branching, and fills what they zeroed."""
        layer._forward_pre_hooks.clear()
        projection.register_forward_pre_hook(lambda _, args: (torch.full_like(args[0], written),))

    layer.get_submodule("self_attn").register_forward_pre_hook(late_hook)
    branching = Branching(loaded)
    run_tree(loaded, branching, prefix_tree(SETS, N_LAYERS))
    with pytest.raises(
        AblationError, match=rf"o_proj: {HEAD_DIM * len(BRANCHING_IDS)} other elements .* expected exactly 0"
    ):
        branching.check()


def test_a_projection_that_is_not_called_is_found() -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded("llama").model))
    attention = loaded.model.get_submodule("model.layers.1.self_attn")
    attention.__dict__["forward"] = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(AblationError, match=r"layers.1.self_attn.o_proj: its hook never fired"):
        run_tree(loaded, Branching(loaded), prefix_tree([{Head(1, 3)}], N_LAYERS))
    assert not loaded.outputs[1].module._forward_pre_hooks


def test_an_input_of_another_width_is_refused() -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded("llama").model))
    loaded.outputs[1].module.register_forward_pre_hook(lambda _, args: (args[0][:, :, 1:],))
    with pytest.raises(AblationError, match=r"called with \[\(1, 9, 31\)\]; expected one tensor"):
        run_tree(loaded, Branching(loaded), prefix_tree([{Head(1, 3)}], N_LAYERS))


def test_infinite_values_become_zero() -> None:
    loaded = wrap(copy.deepcopy(tiny_loaded("llama").model))
    loaded.outputs[1].module.register_forward_pre_hook(
        lambda _, args: (args[0].index_fill(2, torch.arange(3 * HEAD_DIM, 4 * HEAD_DIM), float("inf")),)
    )
    branching = Branching(loaded)
    logits = run_tree(loaded, branching, prefix_tree([{Head(1, 3)}], N_LAYERS))
    branching.check()
    assert logits.isfinite().all()
