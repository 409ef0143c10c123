"""Which kernels are asked for, and what they say: what torch says step by step, to the last bit."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.model.generation import one_pass
from harness.model.generation.attention import LONG_ON, attend_in_buckets

KERNELS = "harness.model.generation.kernels"
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_pass, "_ready", one_pass._Ready())


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def test_a_gate_by_hand() -> None:
    gate = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    said = one_pass.gated(gate, torch.tensor([5.0, 3.0, 0.5], dtype=torch.float64))
    expected = [0.0, 3 / (1 + torch.e**-1), -1 / (1 + torch.e**2)]
    torch.testing.assert_close(said, torch.tensor(expected, dtype=torch.float64))
    assert said is gate


def test_a_rotation_by_hand() -> None:
    """(1, 2) by a quarter turn is (-2, 1), and stays where it is by none."""
    states = torch.tensor([1.0, 2.0]).expand(1, 1, 2, 2)
    cos, sin = (torch.tensor([[each, each], [1 - each, 1 - each]])[None, None] for each in (0.0, 1.0))
    assert one_pass.rotated(states, cos, sin).tolist() == [[[[-2.0, 1.0], [1.0, 2.0]]]]


def test_two_attentions_by_hand() -> None:
    """To a key of three times the weight three quarters; to one that weighs nothing, nothing."""
    one, other = torch.full((1, 1, 2, 2), 8.0), torch.full((1, 1, 2, 2), 4.0)
    weight = torch.tensor([3.0, 1.0]).log()[None, None, :, None]
    nothing = torch.tensor([0.0, -torch.inf])[None, None, :, None]
    assert one_pass.joined((one, weight), (other, nothing))[0, 0].tolist() == [[7.0, 7.0], [8.0, 8.0]]


def test_a_weight_by_hand() -> None:
    states = torch.ones(2, 3)
    assert one_pass.scaled(states, torch.tensor([1.0, 2.0, 3.0])).tolist() == [[1.0, 2.0, 3.0]] * 2
    assert states[0, 2] == 3.0


def tried(monkeypatch: pytest.MonkeyPatch, kernels: one_pass.Steps) -> one_pass.Steps | None:
    """What there is for a CPU where these are the kernels."""
    monkeypatch.setitem(sys.modules, KERNELS, SimpleNamespace(KERNELS=kernels))
    return one_pass._tried_kernels(torch.device("cpu"), torch.bfloat16)


def test_kernels_that_say_the_same_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = dict(one_pass.STEPS)
    assert tried(monkeypatch, kernels) is kernels


def _fails(*_: object) -> torch.Tensor:
    raise RuntimeError("no compiler")


def _as_if_dense(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Reads states as if nothing lay between them."""
    steps = [states.shape[1] * states.shape[2] * states.shape[3], states.shape[3], states.shape[1] * states.shape[3], 1]
    return one_pass.rotate_in_steps(states.as_strided(states.shape, steps), cos, sin)


@pytest.mark.parametrize(
    "other",
    [
        {"gate": lambda gate, up: nn.functional.silu(gate) * up * 1.01},
        {"scale": lambda states, weight: states + weight},
        {"rotate": lambda states, cos, sin: one_pass.rotate_in_steps(states, sin, cos)},
        {"rotate": _as_if_dense},
        {"join": lambda one, one_weight, other, other_weight: one},
        {"gate": _fails},
    ],
    ids=["gate", "scale", "rotate", "views", "join", "not compiled"],
)
def test_kernels_that_say_something_else_or_nothing_are_not(
    other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tried(monkeypatch, {**one_pass.STEPS, **other}) is None


def test_without_a_compiler_of_kernels_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, KERNELS, None)
    assert one_pass._tried_kernels(torch.device("cpu"), torch.bfloat16) is None


def test_where_memory_is_short_they_are_tried_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(one_pass, "MANY", 0)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    states = of_a_gpu(one_pass.WORTH_A_KERNEL)
    monkeypatch.setitem(sys.modules, KERNELS, SimpleNamespace(KERNELS=dict.fromkeys(one_pass.STEPS, no_memory)))
    assert one_pass._ready.kernels_for(states) is None
    monkeypatch.setitem(sys.modules, KERNELS, SimpleNamespace(KERNELS=one_pass.STEPS))
    assert one_pass._ready.kernels_for(states) is one_pass.STEPS


def test_what_cannot_be_compiled_for_some_sizes_is_done_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never asked again; but memory that runs out is for others to deal with."""
    asked: list[str] = []

    def kernel(*_: object) -> torch.Tensor:
        asked.append("kernel")
        raise error

    key = torch.device("cpu"), torch.float32
    monkeypatch.setattr(one_pass._Ready, "kernels_for", lambda self, states: self.known[key])
    one_pass._ready.known[key] = {"scale": kernel}
    error: Exception = torch.OutOfMemoryError()
    with pytest.raises(torch.OutOfMemoryError):
        one_pass.scaled(torch.ones(3), torch.ones(3))
    error = RuntimeError("no space left on device")
    for _ in range(2):
        assert one_pass.scaled(torch.ones(3), torch.full((3,), 2.0)).tolist() == [2.0] * 3
    assert asked == ["kernel"] * 2
    assert one_pass._ready.known == {key: None}


def of_a_gpu(n: int, dtype: torch.dtype = torch.bfloat16, *, requires_grad: bool = False) -> Any:
    return SimpleNamespace(
        is_cuda=True, dtype=dtype, numel=lambda: n, device=torch.device("cpu"), requires_grad=requires_grad
    )


def test_they_are_made_ready_once_there_is_much_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors, other dtypes and a CPU's never ask; while a graph is captured, or gradients are, nobody does."""
    monkeypatch.setattr(one_pass, "_tried_kernels", lambda *_: one_pass.STEPS)
    captured = [False]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captured[0])
    large = one_pass.MANY // 4
    for never in (of_a_gpu(one_pass.WORTH_A_KERNEL - 1), of_a_gpu(large, torch.float32), torch.zeros(3)):
        assert one_pass._ready.kernels_for(never) is None
    assert one_pass._ready.n_met == 0
    assert [one_pass._ready.kernels_for(of_a_gpu(large)) for _ in range(5)] == [
        None,
        None,
        None,
        one_pass.STEPS,
        one_pass.STEPS,
    ]
    assert one_pass._ready.kernels_for(of_a_gpu(large, requires_grad=True)) is None
    captured[0] = True
    assert one_pass._ready.kernels_for(of_a_gpu(large)) is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels of a GPU, at once and of any size, as they are asked."""
    names: list[str] = []
    own: one_pass.Steps = {}

    def noted(name: str) -> Any:
        def kernel(*tensors: torch.Tensor) -> torch.Tensor:
            names.append(name)
            return own[name](*tensors)

        return kernel

    monkeypatch.setattr(one_pass, "MANY", 0)
    monkeypatch.setattr(one_pass, "WORTH_A_KERNEL", 0)
    for dtype in one_pass.HALVES:
        states = numbers(3, dtype=dtype, device="cuda")
        found = one_pass._ready.kernels_for(states)
        assert found is not None
        own = found
        one_pass._ready.known[states.device, dtype] = {name: noted(name) for name in own}
    return names


HALVES = pytest.mark.parametrize("dtype", one_pass.HALVES)


@ON_A_GPU
@HALVES
@pytest.mark.parametrize("up", [1.0, 0.37, -3.3])
def test_every_number_there_is_goes_through_the_gate(dtype: torch.dtype, up: float, asked: list[str]) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16, device="cuda").view(dtype)
    others = torch.full_like(every, up)
    expected = one_pass.gate_in_steps(every.clone(), others)
    torch.testing.assert_close(one_pass.gated(every.clone(), others), expected, rtol=0, atol=0, equal_nan=True)
    assert asked == ["gate"]


@ON_A_GPU
@HALVES
@pytest.mark.parametrize(
    ("rows", "heads", "positions", "width"), [(1, 64, 2560, 128), (3, 9, 700, 64), (2, 8, 513, 128)]
)
def test_rotations_to_the_last_bit(
    dtype: torch.dtype, rows: int, heads: int, positions: int, width: int, asked: list[str]
) -> None:
    """Of heads side by side, as projections make them, one behind the other, and as a part of a larger product; angles
    of each row, and of all."""
    product = numbers(rows, positions, 2 * heads, width, dtype=dtype, device="cuda")
    lying = product[:, :, heads:].transpose(1, 2)
    for states in (lying, lying.contiguous(), lying.transpose(1, 2).contiguous().transpose(1, 2)):
        for n_angles in (1, rows):
            cos, sin = (numbers(n_angles, 1, positions, width, seed=i, dtype=dtype, device="cuda") for i in (1, 2))
            said, expected = one_pass.rotated(states, cos, sin), one_pass.rotate_in_steps(states, cos, sin)
            assert torch.equal(said, expected)
            assert said.stride() == expected.stride()
    assert torch.equal(product, numbers(rows, positions, 2 * heads, width, dtype=dtype, device="cuda"))
    assert asked == ["rotate"] * 6


@ON_A_GPU
@HALVES
@pytest.mark.parametrize(("heads", "positions"), [(64, 2560), (3, 77)])
def test_attentions_put_together_to_the_last_bit(
    dtype: torch.dtype, heads: int, positions: int, asked: list[str]
) -> None:
    (one, weight), (other, other_weight) = (
        (
            numbers(1, positions, heads, 128, seed=seed, dtype=dtype, device="cuda").transpose(1, 2),
            3 * numbers(1, heads, positions, 1, seed=seed + 2, device="cuda"),
        )
        for seed in (0, 1)
    )
    some = slice(7, positions - 7)
    longer = torch.cat([other_weight, other_weight], dim=2)
    both = [
        ((one, weight), (other, other_weight)),
        ((one[:, :, some], weight[:, :, some]), (other[:, :, some], longer[:, :, some])),
    ]
    for mine, theirs in both:
        expected = one_pass.join_in_steps(*mine, *theirs)
        assert torch.equal(one_pass.joined(mine, theirs), expected)
    assert asked == ["join"] * 2


@ON_A_GPU
@HALVES
@pytest.mark.parametrize("width", [8192, 576, 7])
def test_weights_to_the_last_bit(dtype: torch.dtype, width: int, asked: list[str]) -> None:
    states, weight = (numbers(*shape, dtype=dtype, device="cuda") for shape in ((2, 33, width), (width,)))
    assert torch.equal(one_pass.scaled(states.clone(), weight), states * weight)
    assert asked == ["scale"]


@ON_A_GPU
def test_what_lies_otherwise_in_memory_is_left_to_torch(asked: list[str]) -> None:
    """No kernel knows a width that is no power of two, nor numbers that do not lie side by side, or not alike."""
    states, cos, sin = (numbers(1, heads, 5, 96, device="cuda", dtype=torch.bfloat16) for heads in (3, 1, 1))
    assert torch.equal(one_pass.rotated(states, cos, sin), one_pass.rotate_in_steps(states, cos, sin))
    states, cos, sin = (each[..., :64].contiguous() for each in (states, cos, sin))
    lying = torch.cat([sin, sin], dim=-1)[..., :64]
    assert torch.equal(one_pass.rotated(states, cos, lying), one_pass.rotate_in_steps(states, cos, sin))
    gate, up = (numbers(8, 8, seed=seed, device="cuda", dtype=torch.bfloat16) for seed in (0, 1))
    assert torch.equal(one_pass.gated(gate.clone(), up.t()), nn.functional.silu(gate) * up.t())
    assert not asked


@ON_A_GPU
@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() not in LONG_ON, reason="no such attention"
)
def test_two_parts_of_an_attention_are_put_together_by_the_kernel(asked: list[str]) -> None:
    query, key, value = (
        numbers(2, n, 4, 64, device="cuda", dtype=torch.bfloat16).transpose(1, 2) for n in (1100, 2300, 2300)
    )
    attend_in_buckets(nn.Identity(), query, key, value, None)
    assert asked == ["join"] * 2
