"""Weight surgery equals cutting a copy's weights, and gives every bit back."""

import pytest
import torch
from tiny_models import MODEL_TYPES, cut_weights, random_ids, tiny_loaded

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.architectures import AttentionOutput
from harness.model.surgery import weights_cut

HEADS = frozenset({Head(0, 0), Head(2, 1), Head(2, 3)})
IDS = torch.tensor([random_ids(9)])


@torch.inference_mode()
def logits_of(model: torch.nn.Module) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return logits


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_it_is_a_cut_copy_for_a_while(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    before = logits_of(loaded.model)
    with weights_cut(loaded.outputs, HEADS):
        cut = logits_of(loaded.model)
    assert torch.equal(cut, logits_of(cut_weights(loaded.model, HEADS)))
    assert not torch.equal(cut, before)
    assert torch.equal(logits_of(loaded.model), before)


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
    with pytest.raises(AblationError, match=r"layers\.2\.o_proj: its weight is quantised"), weights_cut(outputs, HEADS):
        pass
    assert torch.equal(logits_of(loaded.model), before)
