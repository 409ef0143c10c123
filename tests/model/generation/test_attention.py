"""Attention behind a front, against a mask written out, and in the models that use it."""

import copy
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import N_LAYERS, doubled, random_ids, random_prompt, tiny_loaded, wrap
from torch import nn
from transformers import AttentionInterface

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention
from harness.experiment.record import Ask
from harness.model.generation import attention, branching, engine, reference
from harness.model.generation.attention import (
    BEHIND,
    IN_RUNS,
    LONG_ON,
    attend_behind,
    attend_in_buckets,
    may_attend_in_buckets,
    sees_everything,
)
from harness.model.loading.architectures import ARCHITECTURES
from harness.model.loading.devices import LONG
from harness.model.loading.loaded_model import LoadedModel

WINDOWED = {"mistral", "phi3"}
"""Whose tiny models here attend to a window."""
EQUAL = Edges((4, 5, 6), (8, 9, 10, 11))
STATIC = sorted(name for name, each in ARCHITECTURES.items() if each.static and name not in WINDOWED)


@pytest.mark.parametrize("run", [1, 2, 64])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_causal_from_the_last_position_backwards(key_heads: int, run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tokens fed after five: each sees the five, itself and those fed before it, whatever runs they come in."""
    monkeypatch.setattr(attention, "RUN", run)
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
    """The library writes no mask for what is fed after a front, also where its attention is looked into."""
    loaded = doubled(model_type)
    used = []

    def noted(*args: object, **kwargs: object) -> object:
        used.append(args[4])
        return attend_behind(*args, **kwargs)  # type: ignore[arg-type]  # as it is called

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


@torch.inference_mode()
def test_a_whole_prompt_in_runs_is_what_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, own, lengths = tiny_loaded("llama"), attention._attended_in_runs, []

    def noted(query: torch.Tensor, *args: Any) -> torch.Tensor:
        lengths.append(query.shape[2])
        return own(query, *args)

    monkeypatch.setattr(attention, "_attended_in_runs", noted)
    ids = torch.tensor([random_ids(IN_RUNS.start + 5, seed=row) for row in range(2)])
    expected = loaded.model(input_ids=ids).logits
    with branching._attention_of(loaded, ids.shape[1], 0)():
        said = loaded.model(input_ids=ids).logits
    assert lengths == [ids.shape[1]] * N_LAYERS
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("halved", [False, True])
def test_whole_prompts_in_float32_are_read_by_a_kernel_too(halved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where heads in groups are known to kernels of half precision alone."""
    model = copy.deepcopy(tiny_loaded("llama").model)
    loaded = wrap(model.bfloat16() if halved else model)
    assert branching._attention_of(loaded, 9, 0) is nullcontext, "on CPUs they are known to a kernel"
    assert (branching._attention_of(loaded, 200, 0) is nullcontext) is halved
    assert branching._attention_of(loaded, 2000, 0) is nullcontext, "which is the faster one for long prompts"
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    assert (branching._attention_of(loaded, 9, 0) is nullcontext) is halved
    assert branching._attention_of(loaded, 9, 3) is not nullcontext
    assert branching._attention_of(loaded, 1, 0) is nullcontext


def test_where_windows_are_the_library_attends() -> None:
    assert sees_everything(tiny_loaded("llama"))
    assert not sees_everything(tiny_loaded("gemma3_text"))


def by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What cuDNN's kernel computes, on any device; of some of a few lengths alone."""
    assert not [each.shape[2] for each in (query, key, value) if each.shape[2] % attention.BUCKET]
    copies = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(copies, 1).transpose(2, 3) * (scale or query.shape[-1] ** -0.5)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
    return scores.softmax(-1) @ value.repeat_interleave(copies, 1), scores.logsumexp(-1, keepdim=True)


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize(
    ("held", "fed"), [(0, 1), (0, 5), (0, 9), (8, 8), (16, 9), (3, 4), (5, 11), (13, 20), (11, 13), (11, 16)]
)
def test_what_is_filled_up_behind_changes_nothing(
    n_rows: int, held: int, fed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole prompts, pieces that follow on full buckets, and what follows on a front of any length."""
    monkeypatch.setattr(attention, "BUCKET", 8)
    monkeypatch.setattr(attention, "_by_cudnn", by_definition)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(n_rows, fed, 4, 8, generator=generator, dtype=torch.float64).transpose(1, 2)
    key, value = (torch.randn(n_rows, 2, held + fed, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    got, _ = attend_in_buckets(nn.Identity(), query, key, value, None, scaling=0.3)
    expected, _ = attend_behind(nn.Identity(), query, key, value, None, scaling=0.3)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    assert got.is_contiguous()


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() not in LONG_ON, reason="no such GPU"
)
@pytest.mark.parametrize(
    ("held", "fed"), [(0, 4097), (2048, 2048), (5120, 1907), (3500, 3528), (3500, 3600), (200, 4000)]
)
def test_the_fastest_kernel_says_what_flash_says(held: int, fed: int) -> None:
    query = torch.randn(2, fed, 8, 128, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
    key, value = (torch.randn(2, 2, held + fed, 128, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    got, _ = attend_in_buckets(nn.Identity(), query, key, value, None)
    expected, _ = attend_behind(nn.Identity(), query, key, value, None)
    torch.testing.assert_close(got, expected, atol=2e-2, rtol=2e-2)


def test_parts_of_a_long_prompt_are_read_as_the_whole_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece too, which knows of nothing held, and what follows on a front, unless it is short."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: LONG_ON[0])
    loaded = replace(wrap(copy.deepcopy(tiny_loaded("llama").model).bfloat16()), device=torch.device("cuda"))
    assert not may_attend_in_buckets(loaded, LONG - 1)
    assert may_attend_in_buckets(loaded, attention.BUCKET, 0, LONG)
    assert may_attend_in_buckets(loaded, attention.BUCKET, LONG)
    assert may_attend_in_buckets(loaded, attention.LEAST_BEHIND, LONG + 1)
    assert not may_attend_in_buckets(loaded, attention.LEAST_BEHIND - 1, LONG + 1)
    assert not may_attend_in_buckets(loaded, attention.BUCKET - 1, LONG)


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
