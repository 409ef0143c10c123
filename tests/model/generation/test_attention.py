"""Attention behind a front, against a mask written out, and in the models that use it."""

from dataclasses import replace

import pytest
import torch
from tiny_models import doubled, random_ids, random_prompt, tiny_loaded
from torch import nn
from transformers import AttentionInterface

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention
from harness.experiment.record import Ask
from harness.model.generation import branching, engine, reference
from harness.model.generation.attention import BEHIND, attend_behind, may_attend_behind, sees_everything
from harness.model.loading.architectures import ARCHITECTURES

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


def test_on_a_cpu_the_library_attends() -> None:
    assert not may_attend_behind(tiny_loaded("llama"))
    assert sees_everything(tiny_loaded("llama"))
    assert not sees_everything(tiny_loaded("gemma3_text"))
