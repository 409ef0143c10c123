"""Which part of a model lies where, when it is loaded over several GPUs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tiny_models import MODEL_TYPES, N_LAYERS, tiny_config, tiny_loaded

from harness.experiment.cost import ModelSize
from harness.model.loading.spread import device_map_of_layers, spread, stages_in_words

PLACES = ["cuda:0", "cuda:0", "cuda:1"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_part_has_a_place(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    model, layers = loaded.model, loaded.architecture.layers
    found = device_map_of_layers(model, layers, PLACES)
    assert found is not None
    assert [found[f"{layers}.{number}"] for number in range(N_LAYERS)] == PLACES
    for name, _ in model.named_parameters():
        assert any(name.startswith(f"{part}.") for part in found)
    place_of = {module: found.get(name) for name, module in model.named_modules()}
    assert place_of[model.get_input_embeddings()] == "cuda:0"
    tied = model.config.get_text_config().tie_word_embeddings
    assert place_of[model.get_output_embeddings()] == ("cuda:0" if tied else "cuda:1")  # type: ignore[no-untyped-call]  # the library's


def test_what_comes_after_the_layers_lies_with_the_last() -> None:
    loaded = tiny_loaded("llama")
    found = device_map_of_layers(loaded.model, "model.layers", PLACES)
    assert found == {
        "model.embed_tokens": "cuda:0",
        **{f"model.layers.{number}": place for number, place in enumerate(PLACES)},
        "model.norm": "cuda:1",
        "model.rotary_emb": "cuda:0",
        "lm_head": "cuda:1",
    }


def sized(gib: float) -> ModelSize:
    """A tiny llama's parts, each so many times larger that all take this much."""
    size = tiny_loaded("llama").size
    return replace(size, bytes_per_number=gib * 2**30 / size.n_weights)


def alike(gpus: Sequence[int]) -> dict[int, float]:
    return dict.fromkeys(gpus, 1.0)


def test_what_fits_on_one_is_put_on_the_roomiest() -> None:
    found = spread(tiny_config("llama"), "model.layers", sized(8), {0: 9 * 2**30, 2: 10 * 2**30}, speeds=alike)
    assert found == {"": "cuda:2"}


def test_what_does_not_is_dealt_out_by_layers() -> None:
    found = spread(tiny_config("llama"), "model.layers", sized(8), {1: 7 * 2**30, 3: 7 * 2**30}, speeds=alike)
    assert found is not None
    places = [found[f"model.layers.{number}"] for number in range(N_LAYERS)]
    assert set(places) == {"cuda:1", "cuda:3"}
    assert (found["model.embed_tokens"], found["lm_head"]) == (places[0], places[-1])


@pytest.mark.parametrize(("slower", "layers"), [(1.0, {1: 2, 3: 1}), (0.4, {1: 1, 3: 2})])
def test_the_faster_gpu_has_more_layers(slower: float, layers: dict[int, int]) -> None:
    """Which of two alike has two of three is all the same; of unlike ones the faster, where memory allows."""
    free = {1: 9 * 2**30, 3: 8.9 * 2**30}
    found = spread(
        tiny_config("llama"), "model.layers", sized(8.2), free, speeds=lambda gpus: {1: slower, 3: 1.0}, work=(1, 1, 1)
    )
    assert found is not None
    assert Counter(found[f"model.layers.{number}"] for number in range(N_LAYERS)) == {
        f"cuda:{gpu}": n for gpu, n in layers.items()
    }


def test_what_fits_on_all_together_no_more_is_left_to_the_library() -> None:
    assert spread(tiny_config("llama"), "model.layers", sized(8), {0: 2 * 2**30, 1: 2 * 2**30}, speeds=alike) is None


def test_a_weight_outside_of_parts_is_left_to_the_library() -> None:
    model = torch.nn.Module()
    model.config = tiny_config("llama")  # type: ignore[assignment]  # as a model has it
    model.get_output_embeddings = lambda: None  # type: ignore[assignment]  # it has none
    model.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
    model.own = torch.nn.Parameter(torch.zeros(1))
    assert device_map_of_layers(model, "layers", ["cuda:0"]) is None  # type: ignore[arg-type]  # a fake


def test_in_words() -> None:
    assert stages_in_words(["a", "a", "b", "a"]) == "layers 0-1 on a, 2 on b, 3 on a"
