"""Rows decoded together, with known tokens of unequal number, against each alone; by both ways of decoding."""

from collections.abc import Sequence

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_loaded

from harness.experiment.heads import Head
from harness.model.generation.decoding import decode
from harness.model.generation.greedy import Greedy
from harness.model.generation.node_cache import NodeCache, NodeLayer

PROMPT = random_ids(15, seed=4)
SETS = [frozenset[Head](), frozenset({Head(0, 1), Head(2, 2)}), frozenset({Head(1, 3)})]
MOST = 7

ways = pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])


@torch.inference_mode()
def decoded(
    static: bool,
    head_sets: Sequence[frozenset[Head]],
    known: Sequence[Sequence[int]],
    ends: frozenset[int] = frozenset(),
) -> tuple[list[list[int]], list[int]]:
    """Each row's tokens and the calls of ablated projections it saw, after a prompt run without ablation."""
    loaded = tiny_loaded("qwen3")
    cache = NodeCache([NodeLayer(len(PROMPT) + MOST) for _ in range(N_LAYERS)])
    loaded.model(input_ids=torch.tensor([PROMPT[:-1]]), past_key_values=cache, use_cache=True)
    rows = cache.gather([[0] * len(head_sets)] * N_LAYERS)
    greedy = [Greedy(ends, MOST, [*each], [1.0] * len(each), [0.0] * len(each)) for each in known]
    fired = decode(loaded, rows, PROMPT[-1], head_sets, greedy, static=static)
    return [each.token_ids for each in greedy], [fired[heads] for heads in head_sets]


def alone(heads: frozenset[Head], known: Sequence[int], ends: frozenset[int] = frozenset()) -> list[int]:
    return decoded(False, [heads], [known], ends)[0][0]


@ways
def test_rows_do_not_see_each_other(static: bool) -> None:
    together, fired = decoded(static, SETS, [[], [], []])
    assert together == [alone(heads, []) for heads in SETS]
    assert fired == [0, 2 * MOST, MOST]
    assert len({tuple(tokens) for tokens in together}) == len(SETS)


@ways
def test_known_tokens_are_kept_and_carried_on(static: bool) -> None:
    known = [[5], [6, 7, 8], [9, 10]]
    together, fired = decoded(static, SETS, known)
    assert together == [alone(heads, tokens) for heads, tokens in zip(SETS, known, strict=True)]
    assert [tokens[: len(each)] for tokens, each in zip(together, known, strict=True)] == known
    # one pass for what all know, one for each token after it
    assert fired == [0, 2 * (MOST - 1), MOST - 1]


@ways
def test_each_row_ends_at_its_own_end(static: bool) -> None:
    """The batch shrinks, and the others go on as before."""
    endless, _ = decoded(static, SETS, [[], [], []])
    ends = frozenset({endless[0][1], endless[2][4]})
    together, _ = decoded(static, SETS, [[], [], []], ends)
    assert together == [alone(heads, [], ends) for heads in SETS]
    assert together[0] == endless[0][:2]
    assert len({len(tokens) for tokens in together}) > 1
