"""Reading logits: by hand."""

import math

import pytest
import torch

from harness.model.generation.greedy import Greedy, Reading

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
    assert reading.logprobs([1]) == [pytest.approx(1 - math.log(total))] * 2
    second = [2 - math.log(3 + math.e**2), 0 - math.log(3 + math.e**2)]
    assert reading.logprobs([1, 1]) == pytest.approx([1 - math.log(total) + each for each in second])
    assert reading.logprobs([]) == [0.0, 0.0]


def test_equal_logits_have_no_gap_and_the_first_is_chosen() -> None:
    greedy = Greedy(frozenset(), 1)
    Reading(torch.zeros(1, 1, 5)).take(0, 0, greedy)
    assert (greedy.token_ids, greedy.gaps) == ([0], [0.0])


def test_half_precision_is_read_in_single() -> None:
    logits = torch.tensor([[[4.0, 4.03125]]], dtype=torch.bfloat16)
    assert Reading(logits).logprobs([0]) == pytest.approx(Reading(logits.float()).logprobs([0]))
