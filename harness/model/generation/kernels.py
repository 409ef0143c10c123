"""Steps of a layer that read and write all hidden states of a long prompt, each as one kernel of a GPU.

Of what torch does by itself between two products, each step is a pass through memory, or two, of several tensors. Here
a step reads what it needs once and writes its result once. Whatever torch would round in between is rounded here,
exponentials are those of the library that torch's are of, and quotients are rounded correctly, as torch's are: every
bit is the same. Short runs of tokens take as long as a kernel's start, and are left to torch.

Written in Triton (P. Tillet, H. T. Kung and D. Cox 2019, https://doi.org/10.1145/3315508.3329973), which torch brings
along for GPUs, and which compiles a kernel where it is first asked for. Importing this module needs it.

Knows nothing of models; who asks knows which of their steps these are.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

BLOCK = 2048
"""Numbers that one program of `gate` reads."""

HEADS = 16
"""Heads that one program of `rotate` turns, at one position."""

POSITIONS = 16
"""Positions of one head that one program of `join` puts together."""


@triton.jit
def _gate(gate, up, n, block: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    there = at < n
    said = tl.load(gate + at, mask=there).to(tl.float32)
    opened = tl.math.div_rn(said, 1.0 + libdevice.exp(-said)).to(gate.dtype.element_ty)
    came_up = tl.load(up + at, mask=there)
    tl.store(gate + at, (opened.to(tl.float32) * came_up.to(tl.float32)).to(gate.dtype.element_ty), mask=there)


def gate(opens: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(opens) * up, written over what opens; both contiguous, of one shape, in half precision."""
    n = opens.numel()
    with torch.cuda.device(opens.device):
        _gate[(triton.cdiv(n, BLOCK),)](opens, up, n, block=BLOCK)
    return opens


@triton.jit
def _scale(states, weight, width, block: tl.constexpr):
    column = tl.arange(0, block)
    there = column < width
    at = tl.program_id(0).to(tl.int64) * width + column
    scaled = tl.load(states + at, mask=there).to(tl.float32) * tl.load(weight + column, mask=there).to(tl.float32)
    tl.store(states + at, scaled.to(states.dtype.element_ty), mask=there)


def scale(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """states * weight, written over them; contiguous, (..., width) and (width), in half precision."""
    width = len(weight)
    with torch.cuda.device(states.device):
        _scale[(states.numel() // width,)](states, weight, width, block=triton.next_power_of_2(width), num_warps=8)
    return states


@triton.jit(do_not_specialize=["n_positions"])
def _rotate(
    states,
    rotated,
    cos,
    sin,
    n_positions,
    n_heads,
    row_stride,
    head_stride,
    position_stride,
    to_row_stride,
    to_head_stride,
    to_position_stride,
    angle_row_stride,
    angle_position_stride,
    heads_at_once: tl.constexpr,
    half_width: tl.constexpr,
):
    row = (tl.program_id(0) // n_positions).to(tl.int64)
    position = (tl.program_id(0) % n_positions).to(tl.int64)
    heads = (tl.program_id(1).to(tl.int64) * heads_at_once + tl.arange(0, heads_at_once))[:, None]
    half = tl.arange(0, half_width)[None, :]
    there = heads < n_heads
    at = row * row_stride + position * position_stride + heads * head_stride + half
    to = row * to_row_stride + position * to_position_stride + heads * to_head_stride + half
    of_angle = row * angle_row_stride + position * angle_position_stride + half
    kind = states.dtype.element_ty
    first = tl.load(states + at, mask=there).to(tl.float32)
    second = tl.load(states + at + half_width, mask=there).to(tl.float32)
    kept = (first * tl.load(cos + of_angle).to(tl.float32)).to(kind).to(tl.float32)
    taken = (second * tl.load(sin + of_angle).to(tl.float32)).to(kind).to(tl.float32)
    tl.store(rotated + to, (kept - taken).to(kind), mask=there)
    kept = (second * tl.load(cos + of_angle + half_width).to(tl.float32)).to(kind).to(tl.float32)
    added = (first * tl.load(sin + of_angle + half_width).to(tl.float32)).to(kind).to(tl.float32)
    tl.store(rotated + to + half_width, (kept + added).to(kind), mask=there)


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Halves of (rows, heads, positions, width), turned by angles of (rows or 1, 1, positions, width).

    In half precision; numbers of one head lie side by side, half the width is a power of two, and both angles are of
    one shape and lie alike.
    """
    n_rows, n_heads, n_positions, width = states.shape
    rotated = torch.empty_like(states)
    cos, sin = (each.expand(n_rows, -1, -1, -1) for each in (cos, sin))
    with torch.cuda.device(states.device):
        _rotate[(n_rows * n_positions, triton.cdiv(n_heads, HEADS))](
            states,
            rotated,
            cos,
            sin,
            n_positions,
            n_heads,
            *states.stride()[:3],
            *rotated.stride()[:3],
            cos.stride(0),
            cos.stride(2),
            heads_at_once=HEADS,
            half_width=width // 2,
            # a product that is not rounded before it is added is another number
            enable_fp_fusion=False,
        )
    return rotated


@triton.jit(do_not_specialize=["n_positions", "one_weight_stride", "other_weight_stride"])
def _join(
    one,
    one_weight,
    other,
    other_weight,
    n_positions,
    head_stride,
    position_stride,
    one_weight_stride,
    other_weight_stride,
    at_once: tl.constexpr,
    width: tl.constexpr,
):
    head = tl.program_id(1).to(tl.int64)
    position = (tl.program_id(0).to(tl.int64) * at_once + tl.arange(0, at_once))[:, None]
    there = position < n_positions
    at = head * head_stride + position * position_stride + tl.arange(0, width)[None, :]
    mine = tl.load(one_weight + head * one_weight_stride + position, mask=there)
    theirs = tl.load(other_weight + head * other_weight_stride + position, mask=there)
    share = tl.math.div_rn(1.0, 1.0 + libdevice.exp(theirs - mine))
    part = tl.load(one + at, mask=there).to(tl.float32) * share
    joined = tl.fma(tl.load(other + at, mask=there).to(tl.float32), 1.0 - share, part)
    tl.store(one + at, joined.to(one.dtype.element_ty), mask=there)


def join(one: torch.Tensor, one_weight: torch.Tensor, other: torch.Tensor, other_weight: torch.Tensor) -> torch.Tensor:
    """Attention to two parts of the keys as `one_pass.joined` puts it together, written over the first.

    Of one row each: (1, heads, positions, width) in one order in memory, and the logs of the weights' sums in float32,
    (1, heads, positions, 1), positions side by side. The width is a power of two.
    """
    _, n_heads, n_positions, width = one.shape
    with torch.cuda.device(one.device):
        _join[(triton.cdiv(n_positions, POSITIONS), n_heads)](
            one,
            one_weight,
            other,
            other_weight,
            n_positions,
            *one.stride()[1:3],
            one_weight.stride(1),
            other_weight.stride(1),
            at_once=POSITIONS,
            width=width,
        )
    return one


KERNELS: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {"gate": gate, "scale": scale, "rotate": rotate, "join": join}
)
"""All of them, by the names of the steps that they do."""
