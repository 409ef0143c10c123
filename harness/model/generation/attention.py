"""Attention of what is fed after a front, causal without a mask.

Where several tokens are fed after what a cache holds, the library writes out a mask of fed x all positions, and asks
sdpa with it. Torch knows causal attention that is aligned at the last position by itself (`causal_lower_right`), and
its kernels need no mask for it. Where several query heads share a key head, the library asks torch for heads in groups,
which on GPUs only kernels of half precision know; in float32 torch then writes all scores out, so keys are copied here
instead. On CPUs torch needs the mask, and knows groups with it, where the library copies all keys for each head; run
after run of queries, each with the keys before its end, a prompt of moderate length takes less time than at once.

Long prompts are read by the fastest kernel of the card, from a committed table, in buckets. cuDNN's makes a plan for
every new shape, about 60 ms each, and nearly every prompt of a study has a length of its own. So each row is attended
to alone, with its queries, keys and values filled up behind the last token to a bucket's length: causal attention lets
no token see what is behind it, and what is filled is cut off again. A handful of plans serves all. What is fed after a
front, or is a piece of a prompt, attends to the full buckets of what is held in whole, and to itself and what is behind
them causally; the two are put together by the sums of their weights (as `node_attention` does, which says whose this
is).

Which attention stands in for the library's sdpa is a thread's own choice: several may run one model at once, whose
config they share.

Knows nothing of trees, heads or tokens.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from harness.model.generation.one_pass import HALVES, joined
from harness.model.loading.devices import LONG
from harness.model.loading.loaded_model import LoadedModel

BEHIND = "retrieval_heads_behind"
"""The name under which `transformers` knows this module's attention."""

IN_BUCKETS = "retrieval_heads_in_buckets"
"""The name of attention to long prompts."""

LONG_ON = ((9, 0),)
"""Compute capabilities of cards on which cuDNN's attention to long prompts is the fastest.

One H200, torch 2.11, bfloat16, a row of 7,040 tokens and 32 heads of width 128: 0.68 ms, flash 1.31 ms; of a row of an
8B shape and 17 conditions 5 % of all its time.
"""

BUCKET = 512
"""Tokens by which buckets differ."""

LEAST_BEHIND = 1024
"""Tokens, at least, that the faster kernel reads after a front that ends within a bucket: of fewer half of what it
computes may be filling."""

RUN = 64
"""Queries that are attended to at once on a CPU."""

IN_RUNS = range(2 * RUN, 1025)
"""Lengths of whole prompts that are so attended to on a CPU in float32.

Torch's kernel computes the scores of 512 keys at once, also where few of them are seen. One core, torch 2.13, three
prompts, 9 heads of width 64 on 3 key heads: 673 tokens 24.7 ms, in runs 21.7; 2,000 tokens 50 ms a prompt, in runs 58.
"""


def sees_everything(loaded: LoadedModel) -> bool:
    """Whether every layer attends, by sdpa, to every position before: architectures of which a test has shown it."""
    config = loaded.model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        loaded.architecture.static
        and loaded.attention == "sdpa"
        and kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and getattr(loaded.model, "hf_quantizer", None) is None
    )


def may_attend_in_buckets(loaded: LoadedModel, n_tokens: int, n_held: int = 0, capacity: int = 0) -> bool:
    """Whether tokens of a long prompt, fed after what is held, may be read by `attend_in_buckets`.

    More may follow: `capacity` positions are made room for.
    """
    return (
        max(n_held + n_tokens, capacity) >= LONG
        and n_tokens >= (LEAST_BEHIND if n_held % BUCKET else BUCKET)
        and loaded.device.type == "cuda"
        and torch.cuda.get_device_capability(loaded.device) in LONG_ON
        and sees_everything(loaded)
        and loaded.model.dtype in HALVES
        and (loaded.shape.head_dim or 0) in range(8, 129, 8)
    )


class _Chosen(threading.local):
    """The name of the attention that this thread puts in place of sdpa, if any."""

    name: str | None = None


_chosen = _Chosen()
_sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
_sdpa_mask = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]


@contextmanager
def attention(name: str) -> Iterator[None]:
    """In this thread attention of this name, which is written no mask, in place of sdpa while the context is open."""
    before, _chosen.name = _chosen.name, name
    try:
        yield
    finally:
        _chosen.name = before


def _attend(*args: Any, **kwargs: Any) -> Any:
    """The library's sdpa, or what this thread has chosen."""
    return (_sdpa if _chosen.name is None else ALL_ATTENTION_FUNCTIONS[_chosen.name])(*args, **kwargs)


def _mask(*args: Any, **kwargs: Any) -> Any:
    return _sdpa_mask(*args, **kwargs) if _chosen.name is None else None


AttentionInterface.register("sdpa", _attend)
AttentionMaskInterface.register("sdpa", _mask)


def attend_behind(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of the last positions, or of all.

    From query (rows, heads, fed, width), key and value (rows, key heads, all, width) to (rows, fed, heads, width).
    """
    if not query.is_cuda:
        return _attended_in_runs(query, key, value, scaling), None
    fed, held = query.shape[2], key.shape[2]
    grouped = query.dtype in HALVES
    if not grouped and (copies := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(copies, dim=1), value.repeat_interleave(copies, dim=1)
    attended = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=causal_lower_right(fed, held), scale=scaling, enable_gqa=grouped
    )
    return attended.transpose(1, 2).contiguous(), None


def _attended_in_runs(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """What `attend_behind` returns, with a mask, run after run of queries: each is given the keys that it may see."""
    fed, held = query.shape[2], key.shape[2]
    mask = _mask_at_end(RUN, held.bit_length(), query.dtype)
    runs = []
    for start in range(0, fed, RUN):
        stop = min(start + RUN, fed)
        known = held - fed + stop
        attended = nn.functional.scaled_dot_product_attention(
            query[:, :, start:stop],
            key[:, :, :known],
            value[:, :, :known],
            attn_mask=mask[start - stop :, -known:],
            scale=scaling,
            enable_gqa=True,
        )
        runs.append(attended.transpose(1, 2))
    return runs[0].contiguous() if len(runs) == 1 else torch.cat(runs, dim=1)


@cache
def _mask_at_end(n_queries: int, n_bits: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the scores of queries that are at the end of fewer than 2^`n_bits` keys.

    (queries, 2^`n_bits` keys); of fewer queries or keys it is the last rows and columns. All layers ask for the same.
    """
    n_keys = max(n_queries, 2**n_bits)
    with torch.inference_mode(False):  # it may outlive the context that it was first asked for in
        return torch.full((n_queries, n_keys), -torch.inf, dtype=dtype).triu(n_keys - n_queries + 1)


def attend_in_buckets(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of the last positions, row by row, each filled up behind, and before where no bucket ends.

    From query (rows, heads, fed, width), key and value (rows, key heads, all, width) to (rows, fed, heads, width).
    """
    rows = (slice(row, row + 1) for row in range(len(query)))
    attended = [_attended_in_buckets(query[row], key[row], value[row], scaling).transpose(1, 2) for row in rows]
    return attended[0].contiguous() if len(attended) == 1 else torch.cat(attended), None


def _attended_in_buckets(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """What `attend_in_buckets` returns of one row, heads before positions."""
    fed, held = query.shape[2], key.shape[2] - query.shape[2]
    # of what is held, what is behind the last full bucket is attended to with what is fed
    again = held % BUCKET
    whole = held - again
    filled = _filled(query, before=again)
    own_keys, own_values = (_filled(each[:, :, whole:]) for each in (key, value))
    found, weight = _by_cudnn(filled, own_keys, own_values, scaling, causal=True)
    found, weight = (each[:, :, again : again + fed] for each in (found, weight))
    if not whole:
        return found
    keys, values = (each[:, :, :whole].contiguous() for each in (key, value))
    # without the queries put before, if what remains is full buckets all the same
    needed = fed + -fed % BUCKET
    first = again if again + needed <= filled.shape[2] else 0
    asked = filled[:, :, first : first + needed] if first else filled
    other, other_weight = _by_cudnn(asked, keys, values, scaling, causal=False)
    other, other_weight = (each[:, :, again - first : again - first + fed] for each in (other, other_weight))
    return joined((found, weight), (other, other_weight))


def _filled(states: torch.Tensor, before: int = 0) -> torch.Tensor:
    """One row's, (1, heads, positions, width), with zeros `before`, and behind up to a bucket's length.

    Heads lie side by side in memory: a plan is of one order there too.
    """
    by_position = states.transpose(1, 2)
    _, n_positions, n_heads, width = by_position.shape
    end = before + n_positions
    missing = -end % BUCKET
    if before == missing == 0 and by_position.is_contiguous():
        return states
    filled = states.new_empty(1, end + missing, n_heads, width)
    filled[:, :before] = 0
    filled[:, before:end] = by_position
    filled[:, end:] = 0
    return filled.transpose(1, 2)


def _by_cudnn(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """By cuDNN's kernel, asked for by itself: which kernels others may use is the whole process' choice.

    Attention, and the log of the weights' sum, (rows, heads, positions, 1).
    """
    attended, weight, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        query, key, value, None, True, 0.0, causal, False, scale=scale
    )
    return attended, weight.reshape(*attended.shape[:3], 1)


AttentionInterface.register(BEHIND, attend_behind)
AttentionInterface.register(IN_BUCKETS, attend_in_buckets)
