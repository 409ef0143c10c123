"""Norms and rotations in few passes: for which models that is right, and that they say the same."""

import sys

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_loaded
from torch import nn

from harness.model.generation import fused as module_of_it
from harness.model.generation.fused import fused, norms_within


@pytest.fixture(autouse=True)
def _on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_of_it, "may_be_fused", lambda states: True)
    monkeypatch.setattr(module_of_it, "_norms", type(module_of_it._norms)())


@pytest.mark.parametrize(
    ("model_type", "of_a_layer", "others", "n_rotated"),
    [
        ("llama", 2, 1, 2 * N_LAYERS),
        ("qwen3", 4, 1, 2 * N_LAYERS),
        ("gpt_oss", 2, 1, 0),
        ("olmo2", 4, 1, 2 * N_LAYERS),
        ("gemma", 0, 0, 2 * N_LAYERS),
        ("cohere", 0, 0, 0),
        ("gpt_neox", 0, 0, 0),
        ("gpt2", 0, 0, 0),
    ],
)
@torch.inference_mode()
def test_a_model_says_the_same_with_them(
    model_type: str, of_a_layer: int, others: int, n_rotated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma's norms add one to the weight, GPT-2's subtract the mean, Cohere rotates neighbours, GPT-NeoX a part."""
    rotated: list[torch.Tensor] = []

    def noted(*args: torch.Tensor) -> torch.Tensor:
        rotated.append(own_rotated(*args))
        return rotated[-1]

    model = tiny_loaded(model_type).model
    found = [norm for norm, _ in norms_within(model)]
    assert len(found) == N_LAYERS * of_a_layer + others
    ids = torch.tensor([random_ids(9, seed=1)])
    own = model(input_ids=ids).logits
    own_rotated = module_of_it._rotated
    monkeypatch.setattr(module_of_it, "_rotated", noted)
    with fused(model):
        said = model(input_ids=ids).logits
    assert len(rotated) == n_rotated
    torch.testing.assert_close(said, own, rtol=1e-5, atol=1e-5)
    model(input_ids=ids)
    assert len(rotated) == n_rotated, "only where it is asked for"
    assert not [norm for norm in found if "forward" in vars(norm)]


class _Squares(nn.RMSNorm):
    """Not quite a norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) ** 2


@pytest.mark.parametrize("module", [_Squares(4, eps=1e-5), nn.LayerNorm(4), nn.Linear(4, 4)], ids=type)
def test_what_a_module_says_decides(module: nn.Module) -> None:
    assert not norms_within(module)


@pytest.mark.parametrize(("model_type", "rounds_twice"), [("llama", True), ("olmo2", False)])
@torch.inference_mode()
def test_norms_round_as_the_models_own(model_type: str, rounds_twice: bool) -> None:
    """Before the weight too, or not; of 12,800 numbers in bfloat16 a few at most are others, whose sums rounded."""
    norm = type(tiny_loaded(model_type).model.model.norm)(200, 1e-5).to(torch.bfloat16)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    hidden = torch.randn(64, 200, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    ((_, kind),) = norms_within(norm)
    assert kind.rounds_twice is rounds_twice
    expected = norm(hidden)
    with fused(norm):
        assert int((norm(hidden) != expected).sum()) <= 5


@torch.inference_mode()
def test_rotations_are_the_models_own_to_the_last_bit() -> None:
    module = sys.modules[type(tiny_loaded("llama").model).__module__]
    norms_within(tiny_loaded("llama").model)
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 5, heads, 8, generator=random).bfloat16().transpose(1, 2) for heads in (4, 2))
    cos, sin = (torch.randn(2, 5, 8, generator=random).bfloat16() for _ in range(2))
    expected = module.apply_rotary_pos_emb(query, key, cos, sin)
    with fused(nn.Identity()):
        said = module.apply_rotary_pos_emb(query, key, cos, sin)
    for one, other in zip(said, expected, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_somewhere_else_it_is_the_modules_own() -> None:
    """Whatever moves what is given to the weight is part of that."""
    norm = type(tiny_loaded("llama").model.model.norm)(4, 1e-5)
    assert norms_within(norm)
    vars(norm)["forward"] = lambda hidden: hidden.new_zeros(1, device="cpu")
    with fused(norm):
        assert norm(torch.empty(2, 4, device="meta")).shape == (1,)
        assert norm(torch.ones(2, 4)).shape == (2, 4)


def test_of_another_dtype_it_is_the_modules_own() -> None:
    norm = type(tiny_loaded("llama").model.model.norm)(4, 1e-5).to(torch.bfloat16)
    hidden = torch.randn(2, 4)
    expected = norm(hidden)
    with fused(norm):
        assert torch.equal(norm(hidden), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_a_gpu_nearly_every_bit_is_the_same(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum in another order may round another way."""
    monkeypatch.undo()
    own = type(tiny_loaded("llama").model.model.norm)(256, 1e-5).to("cuda", dtype)
    hidden = torch.randn(50, 256, device="cuda", dtype=dtype)
    nn.init.normal_(own.weight)
    with torch.no_grad():
        expected = own(hidden)
        with fused(own):
            assert norms_within(own)
            if dtype == torch.float32:
                torch.testing.assert_close(own(hidden), expected, rtol=1e-5, atol=1e-6)
            else:
                assert int((own(hidden) != expected).sum()) <= 5


def test_on_a_cpu_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not norms_within(nn.RMSNorm(4, eps=1e-5))
    assert not norms_within(tiny_loaded("llama").model)
