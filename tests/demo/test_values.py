"""Values: two worlds that never meet, the shape of every kind, and numbers in words against text2num."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_to_num import alpha2digit  # type: ignore[import-untyped]  # it ships no types

from harness.demo.values import COMPOSERS, compose_value, is_held_out, number_in_words
from harness.retrieval.scoring import normalise

WORD = "[A-Z][a-z]+"
SHAPES = {
    "surname": WORD,
    "city": f"{WORD}(ton|ville|burg|field|port|mouth|dale|haven)",
    "state": f"((North|South|East|West|New) )?{WORD}(ia|ota|ana|ica|ora)",
    "company": f"{WORD} {WORD} {WORD}",
    "year": r"(18[5-9]|19\d|20[01])\d",
    "count": r"[1-9]\d|[1-9]\d\d|[1-9]\d{0,2},\d{3}|[a-z -]+",
    "phrase": "[a-z]+ [a-z]+",
    "code": r"\d{3}-\d{5}",
}


def compose(kind: str, n: int = 400, *, held_out: bool = True) -> list[str]:
    return [compose_value(kind, random.Random(f"{kind} {i}"), held_out=held_out) for i in range(n)]


@settings(derandomize=True, deadline=None)
@given(kind=st.sampled_from(sorted(COMPOSERS)), seed=st.integers(0), held_out=st.booleans())
def test_a_value_is_of_the_world_asked_for(kind: str, seed: int, held_out: bool) -> None:
    value = compose_value(kind, random.Random(seed), held_out=held_out)
    assert is_held_out(value) == held_out
    assert value == compose_value(kind, random.Random(seed), held_out=held_out), "equal seeds, equal values"


@pytest.mark.parametrize("kind", COMPOSERS)
def test_the_worlds_are_disjoint(kind: str) -> None:
    assert not set(compose(kind)) & set(compose(kind, held_out=False))


@pytest.mark.parametrize("kind", COMPOSERS)
def test_every_kind_has_its_shape(kind: str) -> None:
    for value in (*compose(kind), *compose(kind, held_out=False)):
        assert re.fullmatch(SHAPES[kind], value), value


def test_a_fifth_is_held_out() -> None:
    share = sum(is_held_out(f"{i:03d}-{j:05d}") for i in range(100) for j in range(100)) / 10_000
    assert share == pytest.approx(0.2, abs=0.02)


def test_no_held_out_state_stands_inside_another() -> None:
    """`Caldria` would be found in the wrong answer `North Caldria`; of two words it cannot."""
    assert all(" " in value for value in compose("state"))
    assert any(" " not in value for value in compose("state", held_out=False))


def test_counts_have_two_to_six_digits_and_some_are_words() -> None:
    numbers = {value: normalise(value, "number") for value in compose("count", 1000)}
    assert all(len(found) == 1 for found in numbers.values())
    assert {len(number) for (number,) in numbers.values()} == {2, 3, 4, 5, 6}
    assert 0.02 < sum(value[0].isalpha() for value in numbers) / len(numbers) < 0.2


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (21, "twenty-one"),
        (100, "one hundred"),
        (342, "three hundred forty-two"),
        (911, "nine hundred eleven"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert number_in_words(number) == words


def test_all_numbers_in_words_are_read_back() -> None:
    for number in range(1000):
        assert alpha2digit(number_in_words(number), "en", 0) == str(number)


@pytest.mark.parametrize("number", [-1, 1000])
def test_numbers_that_have_no_words_here(number: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 999"):
        number_in_words(number)
