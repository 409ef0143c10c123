"""How long prompts are and where needles stand, by hand, and what is plainly another length or depth."""

import pytest

from harness.retrieval.extents import Extent, apart, extent_of
from harness.retrieval.prompts import Prompt

MIDDLE = Extent(700.0, (0.25, 0.5, 0.75))


def prompt(n_tokens: int, depth: float) -> Prompt:
    return Prompt("f/ceo", "full", "", (1,) * n_tokens, 0, 0, 0, 0, depth, (2,))


def test_medians_and_quartiles_by_hand() -> None:
    found = extent_of(prompt(n, depth) for n, depth in ((300, 0.0), (100, 1.0), (200, 0.5), (900, 0.25), (201, 0.75)))
    assert found == Extent(201.0, (0.25, 0.5, 0.75))
    assert extent_of([prompt(7, 0.1)]) == Extent(7.0, (0.1, 0.1, 0.1))
    assert extent_of([]) is None


@pytest.mark.parametrize(
    ("evaluated", "said"),
    [
        (MIDDLE, []),
        (None, []),
        (Extent(1_040.0, (0.25, 0.5, 0.75)), []),
        (Extent(470.0, (0.5, 0.5, 0.5)), []),  # all in the middle, where the ranking's are too
        (
            Extent(2_500.0, (0.25, 0.5, 0.75)),
            [
                "the ranking was made on prompts of 700 tokens (median), and those evaluated have 2,500: other heads "
                "may be the best at this length"
            ],
        ),
        (
            Extent(700.0, (1.0, 1.0, 1.0)),
            [
                "the ranking was made with needles at depths of 0.25, 0.50 and 0.75 (quartiles), and those evaluated "
                "stand at 1.00: other heads may be the best there"
            ],
        ),
    ],
)
def test_what_is_plainly_different_is_said(evaluated: Extent | None, said: list[str]) -> None:
    assert list(apart(MIDDLE, evaluated)) == said
    assert list(apart(None, evaluated)) == [], "a file that does not say"


def test_both_differences_are_said_whichever_is_longer() -> None:
    assert len(list(apart(Extent(7_000.0, (0.0, 0.0, 0.1)), MIDDLE))) == 2
