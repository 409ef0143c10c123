"""Attention behind a front, against a mask written out, and in the models that use it."""

import copy
import threading
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from tiny_models import doubled, random_ids, random_prompt, tiny_loaded, wrap
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention
from harness.experiment.record import Ask
from harness.model.generation import attention, branching, engine, reference
from harness.model.generation.attention import (
    BEHIND,
    LONG_ON,
    attend_behind,
    attend_in_buckets,
    may_attend_behind,
    may_attend_in_buckets,
    sees_everything,
)
from harness.model.loading.architectures import ARCHITECTURES
from harness.model.loading.devices import LONG

WINDOWED = {"mistral", "phi3"}
"""Whose tiny models here attend to a window."""
EQUAL = Edges((4, 5, 6), (8, 9, 10, 11))
STATIC = sorted(name for name, each in ARCHITECTURES.items() if each.static and name not in WINDOWED)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_causal_from_the_last_position_backwards(key_heads: int) -> None:
    """Three tokens fed after five: each sees the five, itself and those fed before it."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 3, 8, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(2, key_heads, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    got, _ = attend_behind(nn.Identity(), query, key, value, None, scaling=0.3)
    assert got.shape == (2, 3, 4, 8)
    for head in range(4):
        of = head * key_heads // 4
        for fed in range(3):
            scores = 0.3 * (key[:, of, : 6 + fed] @ query[:, head, fed, :, None])[..., 0]
            expected = (scores.softmax(dim=-1)[:, None] @ value[:, of, : 6 + fed])[:, 0]
            torch.testing.assert_close(got[:, fed, head], expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("model_type", "intervention"),
    [*((each, ZEROED) for each in STATIC), ("llama", Intervention(Edges((4, 5, 6)))), ("qwen3", Intervention(EQUAL))],
)
def test_rows_behind_a_front_are_what_the_plain_loop_says(
    model_type: str, intervention: Intervention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: no mask is written for what is fed after a front, also where its attention is looked into."""
    loaded = doubled(model_type)
    used = []

    def noted(*args: object, **kwargs: object) -> object:
        used.append(args[4])
        return attend_behind(*args, **kwargs)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(branching, "may_attend_behind", sees_everything)
    monkeypatch.setitem(AttentionInterface._global_mapping, BEHIND, noted)
    front, sets = random_ids(20, seed=1), (frozenset[Head](), frozenset({Head(0, 1), Head(2, 0)}))
    asks = [
        Ask(
            replace(random_prompt(1), token_ids=(*front, *random_ids(6, seed=row))),
            sets,
            None,
            intervention,
            max_new_tokens=4,
        )
        for row in range(2)
    ]
    answers = dict(engine.run_rows(loaded, asks, least=8))
    assert used
    assert set(used) == {None}
    for number, ask in enumerate(asks):
        expected = reference.run_row(loaded, ask.prompt, sets, None, intervention, max_new_tokens=4)
        assert [each.all_ids for each in answers[number]] == [each.all_ids for each in expected]
        for one, other in zip(answers[number], expected, strict=True):
            assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=1e-10)


@pytest.mark.parametrize("halved", [False, True])
def test_whole_prompts_in_float32_are_read_by_a_kernel_too(halved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where heads in groups are known to kernels of half precision alone."""
    model = copy.deepcopy(tiny_loaded("llama").model)
    loaded = wrap(model.bfloat16() if halved else model)
    monkeypatch.setattr(branching, "may_attend_behind", sees_everything)
    assert (branching._attention_of(loaded, 9, 0) is nullcontext) is halved
    assert branching._attention_of(loaded, 9, 3) is not nullcontext
    assert branching._attention_of(loaded, 1, 0) is nullcontext


def test_on_a_cpu_the_library_attends() -> None:
    assert not may_attend_behind(tiny_loaded("llama"))
    assert sees_everything(tiny_loaded("llama"))
    assert not sees_everything(tiny_loaded("gemma3_text"))


def causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
    """What cuDNN's kernel computes, on any device; of one of a few lengths alone."""
    assert query.shape[2] == key.shape[2] == value.shape[2]
    assert query.shape[2] % attention.BUCKET == 0
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=True)


@pytest.mark.parametrize("n_tokens", [1, 5, 8, 9])
def test_what_is_filled_up_behind_changes_nothing(n_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BUCKET", 8)
    monkeypatch.setattr(attention, "_causal", causal)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, n_tokens, 4, 8, generator=generator, dtype=torch.float64).transpose(1, 2)
    key, value = (torch.randn(3, 2, n_tokens, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    got, _ = attend_in_buckets(nn.Identity(), query, key, value, None, scaling=0.3)
    expected = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(got, expected.transpose(1, 2), atol=1e-12, rtol=1e-12)


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() not in LONG_ON, reason="no such GPU"
)
@pytest.mark.parametrize("n_tokens", [4096, 4097, 5000])
def test_the_fastest_kernel_says_what_flash_says(n_tokens: int) -> None:
    query, key, value = (
        torch.randn(2, heads, n_tokens, 128, device="cuda", dtype=torch.bfloat16) for heads in (8, 2, 2)
    )
    got, _ = attend_in_buckets(nn.Identity(), query, key, value, None)
    expected = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(got, expected.transpose(1, 2), atol=2e-2, rtol=2e-2)


def test_long_prompts_of_some_cards_alone() -> None:
    assert not may_attend_in_buckets(tiny_loaded("llama"), LONG), "no fill on a CPU"


def test_what_a_thread_has_chosen_no_other_attends_by(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, found = tiny_loaded("llama"), []

    def asked(*args: object, **kwargs: object) -> object:
        found.append(threading.current_thread().name)
        return attend_behind(*args, **kwargs)  # type: ignore[arg-type]  # as it is called

    def run() -> None:
        loaded.model(input_ids=torch.tensor([random_ids(5)]))

    monkeypatch.setitem(AttentionInterface._global_mapping, BEHIND, asked)
    with attention.attention(BEHIND):
        other = threading.Thread(target=run)
        other.start()
        other.join()
        assert not found
        run()
    run()
    assert len(found) == len(loaded.outputs)
