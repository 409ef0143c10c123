"""What logits say, and greedy decoding as one batch."""

import math
from collections.abc import Sequence

import pytest
import torch
from tiny_models import N_LAYERS, random_ids, tiny_loaded

from harness.experiment.heads import Head
from harness.model.generation import decoding
from harness.model.generation.decoding import Feeding, Greedy, GrowingRows, Leaf, Reading, decode
from harness.model.generation.leaf_step import Held, LeafStep
from harness.model.generation.node_cache import NodeCache, NodeLayer
from harness.model.intervention.ablation import Ablation
from harness.model.loading.loaded_model import LoadedModel

# two rows, three positions, four tokens; row 0 says 2, 1, 3 and row 1 says 2, 0, 3
LOGITS = torch.tensor(
    [
        [[0.0, 1.0, 3.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[0.0, 1.0, 3.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
    ]
)


def said(row: int, draft: list[int], *, ends: frozenset[int] = frozenset(), most: int = 9) -> list[int]:
    greedy = Greedy(ends, most)
    Reading(LOGITS).follow(row, draft, greedy)
    return greedy.token_ids


def test_a_draft_is_followed_up_to_the_first_departure() -> None:
    assert said(0, [2, 1]) == [2, 1, 3]
    assert said(1, [2, 1]) == [2, 0]
    assert said(0, [3, 1]) == [2]
    assert said(0, [2, 1], most=2) == [2, 1]
    assert said(0, [2, 1], ends=frozenset({1})) == [2, 1]


def test_what_is_known_is_not_said_again_and_a_second_draft_carries_on() -> None:
    greedy = Greedy(frozenset({3}), 9, [2], [0.5], [-0.25])
    reading = Reading(LOGITS)
    reading.follow(0, [3, 1], greedy)
    assert greedy.token_ids == [2]
    assert not greedy.done
    reading.follow(0, [2, 1], greedy)
    assert greedy.token_ids == [2, 1, 3]
    assert greedy.gaps[0] == 0.5
    assert greedy.ended
    assert greedy.done


def test_gaps_and_logprobs() -> None:
    greedy = Greedy(frozenset(), 1)
    reading = Reading(LOGITS)
    reading.take(0, 0, greedy)
    total = 1 + math.e + math.e**3 + 1
    assert greedy.gaps == [pytest.approx(2 / math.sqrt(2.0))]  # standard deviation of 0, 1, 3, 0 is sqrt(2)
    assert greedy.logprobs == [pytest.approx(3 - math.log(total))]
    first = pytest.approx(1 - math.log(total))
    assert reading.logprobs([1], range(2)) == [[first]] * 2
    second = [2 - math.log(3 + math.e**2), 0 - math.log(3 + math.e**2)]
    assert reading.logprobs([1, 1], range(2)) == [[first, pytest.approx(each)] for each in second]
    assert reading.logprobs([1, 1], range(1, 2)) == [[first, pytest.approx(second[1])]]
    assert reading.logprobs([], range(2)) == [[], []]


def test_rows_are_read_in_runs_that_caches_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Reading(LOGITS)
    monkeypatch.setattr(decoding, "IN_CACHE", LOGITS[0].numel())
    for reading in (whole, Reading(LOGITS)):
        assert reading.best.tolist() == [[2, 1, 3], [2, 0, 3]]
        assert reading.logprobs([1, 1], range(2)) == whole.logprobs([1, 1], range(2))


def test_equal_logits_have_no_gap_and_the_first_is_chosen() -> None:
    greedy = Greedy(frozenset(), 1)
    Reading(torch.zeros(1, 1, 5)).take(0, 0, greedy)
    assert (greedy.token_ids, greedy.gaps) == ([0], [0.0])


def test_half_precision_is_read_in_single() -> None:
    logits = torch.tensor([[[4.0, 4.03125]]], dtype=torch.bfloat16)
    assert Reading(logits).logprobs([0], range(1)) == Reading(logits.float()).logprobs([0], range(1))


PROMPT = random_ids(15, seed=4)
SETS = [frozenset[Head](), frozenset({Head(0, 1), Head(2, 2)}), frozenset({Head(1, 3)})]
MOST = 7

ways = pytest.mark.parametrize("way", ["growing", "by leaf", "in one shape"])


def leaf_that_said(heads: frozenset[Head], known: Sequence[int], ends: frozenset[int] = frozenset()) -> Leaf:
    return Leaf(heads, PROMPT[-1], Greedy(ends, MOST, [*known], [1.0] * len(known), [0.0] * len(known)))


@torch.inference_mode()
def decoded(
    way: str,
    head_sets: Sequence[frozenset[Head]],
    known: Sequence[Sequence[int]],
    ends: frozenset[int] = frozenset(),
) -> tuple[list[list[int]], list[int]]:
    """Each row's tokens and the calls of ablated projections it saw, after a prompt run without ablation."""
    loaded = tiny_loaded("qwen3")
    cache = NodeCache([NodeLayer(len(PROMPT) + MOST) for _ in range(N_LAYERS)])
    loaded.model(input_ids=torch.tensor([PROMPT[:-1]]), past_key_values=cache, use_cache=True)
    leaves = [leaf_that_said(heads, each, ends) for heads, each in zip(head_sets, known, strict=True)]
    nodes = [[0] * len(head_sets)] * N_LAYERS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadedModel, "waits_for_launches", way == "in one shape")
        feeding: Feeding = (
            GrowingRows(loaded, cache.gather(nodes))
            if way == "growing"
            else LeafStep(loaded, [[Held(cache.node_layers, nodes, len(PROMPT) - 1)]], MOST)
        )
        decode(loaded, feeding, leaves)
    return [each.greedy.token_ids for each in leaves], [each.hooks_fired for each in leaves]


def alone(heads: frozenset[Head], known: Sequence[int], ends: frozenset[int] = frozenset()) -> list[int]:
    return decoded("growing", [heads], [known], ends)[0][0]


@ways
def test_rows_do_not_see_each_other(way: str) -> None:
    together, fired = decoded(way, SETS, [[], [], []])
    assert together == [alone(heads, []) for heads in SETS]
    assert fired == [0, 2 * MOST, MOST]
    assert len({tuple(tokens) for tokens in together}) == len(SETS)


@ways
def test_known_tokens_are_kept_and_carried_on(way: str) -> None:
    known = [[5], [6, 7, 8], [9, 10]]
    together, fired = decoded(way, SETS, known)
    assert together == [alone(heads, tokens) for heads, tokens in zip(SETS, known, strict=True)]
    assert [tokens[: len(each)] for tokens, each in zip(together, known, strict=True)] == known
    # one pass for what all know, one for each token after it
    assert fired == [0, 2 * (MOST - 1), MOST - 1]


@ways
def test_each_row_ends_at_its_own_end(way: str) -> None:
    """The batch shrinks, and the others go on as before."""
    endless, _ = decoded(way, SETS, [[], [], []])
    ends = frozenset({endless[0][1], endless[2][4]})
    together, _ = decoded(way, SETS, [[], [], []], ends)
    assert together == [alone(heads, [], ends) for heads in SETS]
    assert together[0] == endless[0][:2]
    assert len({len(tokens) for tokens in together}) > 1


@torch.inference_mode()
def test_a_row_goes_on_from_as_much_of_a_draft_as_it_says() -> None:
    """The nodes hold a draft whose first token all rows say; two know more of their answer than that, one as much."""
    loaded = tiny_loaded("qwen3")
    heads = SETS[2]
    answer = alone(heads, [])
    draft = (answer[0], *(token for token in (5, 6, 7) if token != answer[1]))
    cache = NodeCache([NodeLayer(len(PROMPT) + MOST) for _ in range(N_LAYERS)])
    loaded.model(input_ids=torch.tensor([PROMPT[:-1]]), past_key_values=cache, use_cache=True)
    with Ablation(loaded.outputs, [heads]):
        loaded.model(input_ids=torch.tensor([[PROMPT[-1], *draft]]), past_key_values=cache, use_cache=True)
    known = [answer[:4], answer[:2], answer[:1]]
    leaves = [leaf_that_said(heads, each) for each in known]
    for leaf in leaves:
        leaf.draft = draft
    fed: list[list[int]] = []
    nodes = [[0] * len(known)] * N_LAYERS
    step = LeafStep(loaded, [[Held(cache.node_layers, nodes, len(PROMPT) - 1)]], MOST)
    feed = step.feed

    def noted(token_ids: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        fed.append([*starts])
        return feed(token_ids, starts)

    step.feed = noted  # type: ignore[method-assign, assignment]  # to see what is fed
    decode(loaded, step, leaves)
    assert [each.greedy.token_ids for each in leaves] == [answer] * len(known)
    assert fed[0] == [2, 2, 1], "the prompt's last token and the draft's first are held, what is said last never is"
