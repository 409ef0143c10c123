"""RMS norms by one kernel: which modules they are, and that they say the same."""

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_loaded
from torch import nn

from harness.model.generation import norms
from harness.model.generation.norms import fused_norms, norms_within


@pytest.fixture(autouse=True)
def _on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "may_be_fused", lambda weight: weight.dim() == 1)
    monkeypatch.setattr(norms, "_norms", type(norms._norms)())


@pytest.mark.parametrize(
    ("model_type", "of_a_layer", "others"),
    [("llama", 2, 1), ("qwen3", 4, 1), ("gpt_oss", 2, 1), ("olmo2", 4, 1), ("gemma", 0, 0), ("gpt2", 0, 0)],
)
@torch.inference_mode()
def test_a_model_says_the_same_with_them(model_type: str, of_a_layer: int, others: int) -> None:
    """Gemma's norms add one to the weight, GPT-2's subtract the mean: these are left as they are."""
    model = tiny_loaded(model_type).model
    found = [norm for norm, _ in norms_within(model)]
    assert len(found) == N_LAYERS * of_a_layer + others
    ids = torch.tensor([random_ids(9, seed=1)])
    own = model(input_ids=ids).logits
    with fused_norms(model):
        fused = model(input_ids=ids).logits
    torch.testing.assert_close(fused, own, rtol=1e-5, atol=1e-5)
    assert not [norm for norm in found if "forward" in vars(norm)]


class _Squares(nn.RMSNorm):
    """Not quite a norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) ** 2


@pytest.mark.parametrize(
    ("module", "expected"),
    [(nn.RMSNorm(4, eps=1e-5), 1e-5), (_Squares(4, eps=1e-5), None), (nn.LayerNorm(4), None), (nn.Linear(4, 4), None)],
    ids=lambda each: type(each).__name__,
)
def test_what_a_module_says_decides(module: nn.Module, expected: float | None) -> None:
    assert norms_within(module) == (() if expected is None else ((module, expected),))


def test_of_another_dtype_it_is_the_modules_own() -> None:
    norm = type(tiny_loaded("llama").model.model.norm)(4, 1e-5).to(torch.bfloat16)
    hidden = torch.randn(2, 4)
    expected = norm(hidden)
    with fused_norms(norm):
        assert torch.equal(norm(hidden), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_kernel_rounds_once(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As exact as the module in float64, up to half a step of the dtype; the library rounds twice."""
    monkeypatch.undo()
    own = type(tiny_loaded("llama").model.model.norm)(256, 1e-5).to("cuda", dtype)
    hidden = torch.randn(50, 256, device="cuda", dtype=dtype)
    nn.init.normal_(own.weight)
    exact = nn.functional.rms_norm(hidden.double(), (256,), own.weight.double(), 1e-5)
    with torch.no_grad(), fused_norms(own):
        assert norms_within(own)
        torch.testing.assert_close(own(hidden).double(), exact, rtol=torch.finfo(dtype).eps / 2, atol=1e-6)


def test_wide_numbers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not norms_within(nn.RMSNorm(4, eps=1e-5))
    assert not norms_within(tiny_loaded("llama").model)
