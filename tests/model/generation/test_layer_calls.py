"""A model with its layers taken out and run from outside is the model."""

from collections.abc import Sequence

import pytest
import torch
from tiny_models import MODEL_TYPES, N_LAYERS, random_ids, tiny_loaded

from harness.model.generation.layer_calls import LayerCall, decoder_layers, forward_with
from harness.model.generation.node_cache import NodeCache, NodeLayer

IDS = random_ids(14, seed=2)


def as_ever(hidden: torch.Tensor, calls: Sequence[LayerCall]) -> torch.Tensor:
    for call in calls:
        hidden = call(hidden)
    return hidden


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@torch.inference_mode()
def test_running_every_layer_gives_the_models_logits(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    cache = NodeCache([NodeLayer(len(IDS)) for _ in range(N_LAYERS)])
    first = forward_with(loaded, IDS[:9], cache, as_ever)
    second = forward_with(loaded, IDS[9:], cache, as_ever, n_logits=2)
    expected = loaded.model(input_ids=torch.tensor([IDS])).logits
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected[:, [*range(9), 12, 13]])


@torch.inference_mode()
def test_more_rows_may_come_back_than_went_in() -> None:
    loaded = tiny_loaded("llama")
    cache = NodeCache([NodeLayer(3) for _ in range(N_LAYERS)])
    logits = forward_with(loaded, IDS[:3], cache, lambda hidden, calls: as_ever(hidden, calls).expand(4, -1, -1))
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
        forward_with(loaded, ids, NodeCache([NodeLayer(3) for _ in range(N_LAYERS)]), fail)
    assert decoder_layers(loaded)[0].__dict__.pop("forward") is placed
    assert not any("forward" in vars(layer) for layer in decoder_layers(loaded))
