"""Which kernels are asked for, and what they say: what torch says step by step, to the last bit."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.model.generation import one_pass

KERNELS = "harness.model.generation.kernels"
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    one_pass._tried_kernels.cache_clear()
    monkeypatch.setattr(one_pass._Seen, "numbers", 0)


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


def step_by_step(**others: Any) -> SimpleNamespace:
    """Kernels as they should be, unless others are given."""
    kernels = {
        "gate": one_pass.gated_step_by_step,
        "scale": lambda states, weight: states.mul_(weight),
        "rotate": one_pass.rotated_step_by_step,
        "join": lambda one, one_weight, other, other_weight: one_pass.joined_step_by_step(
            (one, one_weight), (other, other_weight)
        ),
    }
    return SimpleNamespace(**kernels | others)


def asked(monkeypatch: pytest.MonkeyPatch, kernels: object) -> object:
    """What is asked for numbers of a CPU where these are the kernels."""
    monkeypatch.setitem(sys.modules, KERNELS, kernels)
    monkeypatch.setattr(sys.modules["harness.model.generation"], "kernels", kernels, raising=False)
    return one_pass._tried_kernels(torch.device("cpu"), torch.bfloat16)


def test_kernels_that_say_the_same_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = step_by_step()
    assert asked(monkeypatch, kernels) is kernels


def _fails(*_: object) -> None:
    raise RuntimeError("no compiler")


@pytest.mark.parametrize(
    "other",
    [
        {"gate": lambda gate, up: nn.functional.silu(gate) * up * 1.01},
        {"scale": lambda states, weight: states + weight},
        {"rotate": lambda states, cos, sin: one_pass.rotated_step_by_step(states, sin, cos)},
        {"join": lambda one, one_weight, other, other_weight: one},
        {"gate": _fails},
    ],
    ids=["gate", "scale", "rotate", "join", "not compiled"],
)
def test_kernels_that_say_something_else_or_nothing_are_not(
    other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(monkeypatch, step_by_step(**other)) is None


def test_without_a_compiler_of_kernels_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, KERNELS, None)
    monkeypatch.delattr(sys.modules["harness.model.generation"], "kernels", raising=False)
    assert one_pass._tried_kernels(torch.device("cpu"), torch.bfloat16) is None


def of_a_gpu(n: int, dtype: torch.dtype = torch.bfloat16) -> Any:
    return SimpleNamespace(is_cuda=True, dtype=dtype, numel=lambda: n, device=torch.device("cpu"))


def test_they_are_made_ready_once_there_is_much_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors, other dtypes and a CPU's never ask; while a graph is captured nobody does."""
    monkeypatch.setattr(one_pass, "_tried_kernels", lambda *_: "kernels")
    captured = [False]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captured[0])
    large = one_pass.MANY // 4
    for never in (of_a_gpu(one_pass.WORTH_A_KERNEL - 1), of_a_gpu(large, torch.float32), torch.zeros(3)):
        assert one_pass._kernels(never) is None
    assert one_pass._Seen.numbers == 0
    assert [one_pass._kernels(of_a_gpu(large)) for _ in range(5)] == [None, None, None, "kernels", "kernels"]
    captured[0] = True
    assert one_pass._kernels(of_a_gpu(large)) is None


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_pass, "MANY", 0)
    monkeypatch.setattr(one_pass, "WORTH_A_KERNEL", 0)


HALVES = pytest.mark.parametrize("dtype", one_pass.HALVES)


@ON_A_GPU
@HALVES
@pytest.mark.usefixtures("_at_once")
def test_a_gpu_has_them(dtype: torch.dtype) -> None:
    assert one_pass._kernels(numbers(3, dtype=dtype, device="cuda")) is not None


@ON_A_GPU
@HALVES
@pytest.mark.parametrize("up", [1.0, 0.37, -3.3])
@pytest.mark.usefixtures("_at_once")
def test_every_number_there_is_goes_through_the_gate(dtype: torch.dtype, up: float) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16, device="cuda").view(dtype)
    others = torch.full_like(every, up)
    expected = one_pass.gated_step_by_step(every.clone(), others)
    torch.testing.assert_close(one_pass.gated(every.clone(), others), expected, rtol=0, atol=0, equal_nan=True)


@ON_A_GPU
@HALVES
@pytest.mark.parametrize(
    ("rows", "heads", "positions", "width"), [(1, 64, 2560, 128), (3, 9, 700, 64), (2, 8, 513, 128)]
)
@pytest.mark.usefixtures("_at_once")
def test_rotations_to_the_last_bit(dtype: torch.dtype, rows: int, heads: int, positions: int, width: int) -> None:
    """Of heads side by side, as projections make them, and one behind the other; angles of each row, and of all."""
    lying = numbers(rows, positions, heads, width, dtype=dtype, device="cuda").transpose(1, 2)
    for states in (lying, lying.contiguous()):
        for n_angles in (1, rows):
            cos, sin = (numbers(n_angles, 1, positions, width, seed=i, dtype=dtype, device="cuda") for i in (1, 2))
            said, expected = one_pass.rotated(states, cos, sin), one_pass.rotated_step_by_step(states, cos, sin)
            assert torch.equal(said, expected)
            assert said.stride() == expected.stride()


@ON_A_GPU
@HALVES
@pytest.mark.parametrize(("heads", "positions"), [(64, 2560), (3, 77)])
@pytest.mark.usefixtures("_at_once")
def test_attentions_put_together_to_the_last_bit(dtype: torch.dtype, heads: int, positions: int) -> None:
    parts = [
        (
            numbers(1, positions, heads, 128, seed=seed, dtype=dtype, device="cuda").transpose(1, 2),
            3 * numbers(1, heads, positions, 1, seed=seed + 2, device="cuda"),
        )
        for seed in (0, 1)
    ]
    some = slice(7, positions - 7)
    (one, weight), (other, other_weight) = parts
    longer = torch.cat([other_weight, other_weight], dim=2)
    for mine, theirs in ((*parts,), ((one[:, :, some], weight[:, :, some]), (other[:, :, some], longer[:, :, some]))):
        expected = one_pass.joined_step_by_step(mine, theirs)
        assert torch.equal(one_pass.joined(mine, theirs), expected)


@ON_A_GPU
@HALVES
@pytest.mark.parametrize("width", [8192, 576, 7])
@pytest.mark.usefixtures("_at_once")
def test_weights_to_the_last_bit(dtype: torch.dtype, width: int) -> None:
    states, weight = (numbers(*shape, dtype=dtype, device="cuda") for shape in ((2, 33, width), (width,)))
    assert torch.equal(one_pass.scaled(states.clone(), weight), states * weight)


@ON_A_GPU
@pytest.mark.usefixtures("_at_once")
def test_what_lies_otherwise_in_memory_is_left_to_torch() -> None:
    """No kernel knows a width that is no power of two, nor numbers that do not lie side by side."""
    states, cos, sin = (numbers(1, heads, 5, 96, device="cuda", dtype=torch.bfloat16) for heads in (3, 1, 1))
    assert torch.equal(one_pass.rotated(states, cos, sin), one_pass.rotated_step_by_step(states, cos, sin))
    gate, up = (numbers(8, 6, device="cuda", dtype=torch.bfloat16).t() for _ in range(2))
    assert torch.equal(one_pass.gated(gate.clone(), up), nn.functional.silu(gate) * up)
