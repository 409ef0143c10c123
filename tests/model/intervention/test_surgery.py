"""Surgery equals cutting a copy's weights, and gives every bit back; so does a projection that forgets."""

from functools import partial

import pytest
import torch
from tiny_models import REPRESENTATIVES, cut_weights, random_ids, tiny_loaded

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.intervention.surgery import can_be_cut, heads_forgotten, weights_cut
from harness.model.loading.architectures import AttentionOutput

HEADS = frozenset({Head(0, 0), Head(2, 1), Head(2, 3)})
IDS = torch.tensor([random_ids(9)])


@torch.inference_mode()
def logits_of(model: torch.nn.Module, ids: torch.Tensor = IDS) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_it_is_a_cut_copy_for_a_while(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    before = logits_of(loaded.model)
    with weights_cut(loaded.outputs, HEADS):
        cut = logits_of(loaded.model)
    assert torch.equal(cut, logits_of(cut_weights(loaded.model, HEADS)))
    assert not torch.equal(cut, before)
    assert torch.equal(logits_of(loaded.model), before)


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_what_is_forgotten_is_as_good_as_cut(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    before = logits_of(loaded.model)
    with heads_forgotten(loaded.outputs, [HEADS]):
        forgotten = logits_of(loaded.model)
    assert torch.equal(forgotten, logits_of(cut_weights(loaded.model, HEADS)))
    assert torch.equal(logits_of(loaded.model), before)
    assert not any("forward" in vars(output.module) for output in loaded.outputs)


def test_each_row_forgets_its_own_heads() -> None:
    loaded, sets = tiny_loaded(), [HEADS, frozenset[Head](), frozenset({Head(1, 2)})]
    ids = IDS.expand(len(sets), -1)
    with heads_forgotten(loaded.outputs, sets):
        forgotten = logits_of(loaded.model, ids)
    for row, heads in enumerate(sets):
        with weights_cut(loaded.outputs, heads):
            assert torch.equal(forgotten[row], logits_of(loaded.model, ids)[row])


def test_a_forward_that_a_library_has_replaced_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As accelerate does where weights wait elsewhere."""
    loaded = tiny_loaded()
    module, before = loaded.outputs[2].module, logits_of(loaded.model)
    theirs = partial(type(module).forward, module)
    monkeypatch.setitem(vars(module), "forward", theirs)
    with heads_forgotten(loaded.outputs, [HEADS]):
        assert not torch.equal(logits_of(loaded.model), before)
    assert vars(module)["forward"] is theirs


def test_weights_come_back_after_an_exception() -> None:
    loaded = tiny_loaded()
    before = logits_of(loaded.model)
    with pytest.raises(KeyError), weights_cut(loaded.outputs, HEADS):
        raise KeyError
    assert torch.equal(logits_of(loaded.model), before)


def test_a_quantised_weight_is_refused_and_the_others_come_back() -> None:
    loaded = tiny_loaded()
    before = logits_of(loaded.model)
    quantised = torch.nn.Linear(32, 8)
    quantised.weight = torch.nn.Parameter(torch.zeros(8, 32, dtype=torch.int8), requires_grad=False)
    outputs = (*loaded.outputs[:2], AttentionOutput(2, "layers.2.o_proj", quantised, 4, 8))
    assert can_be_cut(loaded.outputs)
    assert not can_be_cut(outputs)
    with pytest.raises(AblationError, match=r"layers\.2\.o_proj: its weight is quantised"), weights_cut(outputs, HEADS):
        pass
    assert torch.equal(logits_of(loaded.model), before)
