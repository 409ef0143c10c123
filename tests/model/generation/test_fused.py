"""Norms, rotations and feed-forwards in few passes: for which models that is right, and that they say the same."""

import copy
import sys
from types import ModuleType

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_loaded
from torch import nn

from harness.model.generation import fused as module_of_it
from harness.model.generation import one_pass
from harness.model.generation.fused import GATED, fused, norms_within


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in ("_norms", "_gated", "_tried_gates", "_kinds"):
        monkeypatch.setattr(module_of_it, known, type(getattr(module_of_it, known))())


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_of_it, "may_be_fused", lambda states: True)
    monkeypatch.setattr(module_of_it, "_is_exact_on_cpu", lambda states: False)


@pytest.mark.parametrize("way", ["GPU", "CPU"])
@pytest.mark.parametrize(
    ("model_type", "of_a_layer", "others", "n_rotated", "n_gated"),
    [
        ("llama", 2, 1, 2 * N_LAYERS, N_LAYERS),
        ("qwen3", 4, 1, 2 * N_LAYERS, N_LAYERS),
        ("phi3", 2, 1, 2 * N_LAYERS, 0),
        ("gpt_oss", 2, 1, 0, 0),
        ("olmo2", 4, 1, 2 * N_LAYERS, N_LAYERS),
        ("gemma", 0, 0, 2 * N_LAYERS, N_LAYERS),
        ("cohere", 0, 0, 0, N_LAYERS),
        ("gpt_neox", 0, 0, 0, 0),
        ("gpt2", 0, 0, 0, 0),
    ],
)
@torch.inference_mode()
def test_a_model_says_the_same_with_them(
    model_type: str,
    of_a_layer: int,
    others: int,
    n_rotated: int,
    n_gated: int,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Gemma's norms add one to the weight, GPT-2's subtract the mean, Cohere rotates neighbours, GPT-NeoX a part.

    Feed-forwards of GPT-OSS are bounded, those of GPT-2 and GPT-NeoX have no gate.
    """
    used: list[str] = []

    def noted(module: ModuleType, name: str) -> None:
        own = getattr(module, name)

        def counted(*args: object) -> object:
            used.append(name)
            return own(*args)

        monkeypatch.setattr(module, name, counted)

    if way == "GPU":
        request.getfixturevalue("as_on_a_gpu")
    rotates, rotation = (one_pass, "rotated") if way == "GPU" else (module_of_it, "_rotated_in_place")
    model = tiny_loaded(model_type).model
    found = [norm for norm, _ in norms_within(model)]
    assert len(found) == N_LAYERS * of_a_layer + others
    ids = torch.tensor([random_ids(9, seed=1)])
    own = model(input_ids=ids).logits
    noted(rotates, rotation)
    noted(module_of_it, "_over_the_gate")
    with fused(model):
        said = model(input_ids=ids).logits
    expected = [n_rotated, n_gated]
    assert [used.count(name) for name in (rotation, "_over_the_gate")] == expected
    torch.testing.assert_close(said, own, rtol=1e-5, atol=1e-5)
    model(input_ids=ids)
    assert len(used) == sum(expected), "only where it is asked for"
    assert not [norm for norm in found if "forward" in vars(norm)]


class _Squares(nn.RMSNorm):
    """Not quite a norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) ** 2


@pytest.mark.parametrize("module", [_Squares(4, eps=1e-5), nn.LayerNorm(4), nn.Linear(4, 4)], ids=type)
def test_what_a_module_says_decides(module: nn.Module) -> None:
    assert not norms_within(module)


@pytest.mark.parametrize(("model_type", "rounds_twice"), [("llama", True), ("olmo2", False)])
@pytest.mark.usefixtures("as_on_a_gpu")
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


@pytest.mark.parametrize("n_tokens", [1, 5])
@pytest.mark.usefixtures("as_on_a_gpu")
@torch.inference_mode()
def test_rotations_are_the_models_own_to_the_last_bit(n_tokens: int) -> None:
    module = sys.modules[type(tiny_loaded("llama").model).__module__]
    norms_within(tiny_loaded("llama").model)
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, n_tokens, heads, 8, generator=random).bfloat16().transpose(1, 2) for heads in (4, 2))
    cos, sin = (torch.randn(2, n_tokens, 8, generator=random).bfloat16() for _ in range(2))
    expected = module.apply_rotary_pos_emb(query, key, cos, sin)
    with fused(nn.Identity()):
        said = module.apply_rotary_pos_emb(query, key, cos, sin)
    for one, other in zip(said, expected, strict=True):
        assert torch.equal(one, other)
        assert n_tokens == 1 or one.stride() == other.stride()


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
def test_on_a_gpu_nearly_every_bit_is_the_same(dtype: torch.dtype) -> None:
    """A sum in another order may round another way."""
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


@torch.inference_mode()
def test_rotations_on_a_cpu_are_the_models_own() -> None:
    """The last bit may be another; and nothing is written over."""
    module = sys.modules[type(tiny_loaded("llama").model).__module__]
    norms_within(tiny_loaded("llama").model)
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 5, heads, 8, generator=random).transpose(1, 2) for heads in (4, 2))
    cos, sin = (torch.randn(2, 5, 8, generator=random) for _ in range(2))
    before = query.clone(), key.clone()
    expected = module.apply_rotary_pos_emb(query, key, cos, sin)
    with fused(nn.Identity()):
        said = module.apply_rotary_pos_emb(query, key, cos, sin)
    for one, other in zip(said, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
        assert one.stride() == other.stride()
    assert torch.equal(query, before[0])
    assert torch.equal(key, before[1])


class _Gated(nn.Module):
    """Down(act(gate(x)) * up(x)), which may be bounded."""

    def __init__(self, activation: nn.Module, bound: float | None = None, inner: int = 9) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(6, inner), nn.Linear(6, inner), nn.Linear(inner, 6)
        self.act_fn = activation
        self._bound = bound

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        gate = self.gate_proj(hidden)
        inner: torch.Tensor = self.act_fn(gate if self._bound is None else gate.clamp(max=self._bound))
        down: torch.Tensor = self.down_proj(inner * self.up_proj(hidden))
        return down


@pytest.mark.parametrize(("activation", "is_silu"), [(nn.SiLU(), True), (nn.GELU(), False), (nn.Identity(), False)])
@torch.inference_mode()
def test_a_feed_forward_is_written_over_its_gate(activation: nn.Module, is_silu: bool) -> None:
    gated, hidden = _Gated(activation), torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    assert module_of_it._gated_within(gated) == ((gated, is_silu),)
    expected, before = gated(hidden), hidden.clone()
    with fused(gated):
        assert torch.equal(gated(hidden), expected)
    assert torch.equal(hidden, before)


@torch.inference_mode()
def test_feed_forwards_of_another_kind_are_their_own() -> None:
    """A bound far from usual numbers; a part that is no plain linear layer, whose output may be somebody's; halves."""
    other = _Gated(nn.SiLU())
    other.up_proj = nn.Sequential(nn.Linear(6, 9))  # type: ignore[assignment]
    for gated in (_Gated(nn.SiLU(), bound=100.0), other, _Gated(nn.SiLU()).bfloat16(), _Gated(nn.SiLU()).double()):
        assert module_of_it._gated_within(gated) == ()


@pytest.mark.parametrize("part", ["gate_proj", "up_proj", "down_proj", "act_fn"])
@torch.inference_mode()
def test_what_is_hooked_is_written_over_nothing(part: str) -> None:
    """Who keeps what a part says finds it as it was; and is not shown what feed-forwards are tried on."""
    gated, hidden, kept = _Gated(nn.SiLU()), torch.randn(2, 3, 6), []
    gated.register_forward_hook(lambda *_: kept.append(torch.zeros(1)))
    assert module_of_it._gated_within(gated)
    assert not kept
    expected = getattr(gated, part)(hidden) if part in GATED[:2] else None
    gated.get_submodule(part).register_forward_hook(lambda module, args, said: kept.append(said))
    with fused(gated):
        gated(hidden)
    assert len(kept) == 2
    if expected is not None:
        assert torch.equal(kept[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bound", [None, 7.0, 50.0, 1000.0])
@pytest.mark.usefixtures("as_on_a_gpu")
@torch.inference_mode()
def test_a_bound_shows_in_every_dtype(bound: float | None, dtype: torch.dtype) -> None:
    """Also where numbers that exceed a large one are too large for a product in half precision."""
    gated = _Gated(nn.SiLU(), bound, inner=500)
    for seed, linear in enumerate((gated.gate_proj, gated.up_proj, gated.down_proj)):
        nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(seed))
    assert bool(module_of_it._gated_within(gated.to(dtype))) is (bound is None)


@pytest.mark.usefixtures("as_on_a_gpu")
@torch.inference_mode()
def test_an_activation_is_asked_in_its_own_dtype() -> None:
    """One with parameters knows no other; and it is not SwiGLU's."""
    gated = _Gated(nn.PReLU()).bfloat16()
    assert module_of_it._gated_within(gated) == ((gated, False),)


def test_on_a_cpu_nothing_is_changed_but_in_float32() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert not norms_within(nn.RMSNorm(4, eps=1e-5, dtype=dtype))
    assert norms_within(nn.RMSNorm(4, eps=1e-5))
    assert not norms_within(copy.deepcopy(tiny_loaded("llama").model).double())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@torch.inference_mode()
def test_on_a_gpu_kernels_change_no_bit_of_what_a_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Module.to(copy.deepcopy(tiny_loaded("llama").model), "cuda", torch.bfloat16)
    ids = torch.tensor([random_ids(50, seed=1)], device="cuda")
    with fused(model):
        expected = model(input_ids=ids).logits
        monkeypatch.setattr(one_pass, "MANY", 0)
        monkeypatch.setattr(one_pass, "WORTH_A_KERNEL", 0)
        assert one_pass._ready.kernels_for(expected.bfloat16()) is not None
        assert torch.equal(model(input_ids=ids).logits, expected)
