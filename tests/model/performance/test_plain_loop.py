"""The plain loops say what the reference says."""

import pytest
from tiny_models import REPRESENTATIVES, random_prompt, tiny_loaded

from harness.experiment.heads import Head
from harness.model.generation import reference
from harness.model.performance.plain_loop import run_plain, run_published

PROMPT = random_prompt(20)
SETS = (frozenset[Head](), frozenset({Head(0, 1), Head(2, 2)}))


@pytest.mark.parametrize("model_type", REPRESENTATIVES)
def test_tokens_are_the_references(model_type: str) -> None:
    loaded = tiny_loaded(model_type)
    expected = [each.all_ids for each in reference.run_row(loaded, PROMPT, SETS, None, max_new_tokens=6)]
    assert [each.all_ids for each in run_plain(loaded, PROMPT, SETS, max_new_tokens=6)] == expected
    assert [each.all_ids for each in run_plain(loaded, PROMPT, SETS, max_new_tokens=6, copies=2)] == expected
    assert [each.all_ids for each in run_published(loaded, PROMPT, SETS, max_new_tokens=6)] == expected


def test_the_published_loop_is_eager_and_puts_the_models_attention_back() -> None:
    loaded = tiny_loaded("llama")
    seen = []
    hook = loaded.model.register_forward_pre_hook(
        lambda module, args: seen.append(loaded.model.config._attn_implementation)
    )
    try:
        run_published(loaded, PROMPT, SETS[:1], max_new_tokens=2)
    finally:
        hook.remove()
    assert set(seen) == {"eager"}
    assert loaded.model.config._attn_implementation == loaded.attention == "sdpa"
