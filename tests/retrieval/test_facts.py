"""Questions that need no document: ours, and a user's own."""

from pathlib import Path

import pytest
from tiny_models import tiny_tokenizer

from harness.errors import DataError
from harness.retrieval.facts import FACTS, Fact, fact_rows, read_facts
from harness.retrieval.prompts import build_prompt
from harness.retrieval.scoring import matches_value


def test_ours_are_different_questions_with_answers_that_count() -> None:
    assert len({fact.question for fact in FACTS}) == len(FACTS) >= 40
    for fact in FACTS:
        assert matches_value(f"It is {fact.value}.", fact.value, fact.compare)
    sums = [fact for fact in FACTS if "+" in fact.question]
    assert len(sums) >= 10
    for fact in sums:
        first, _, second = fact.question.removeprefix("What is ").removesuffix("?").split()
        assert int(first) + int(second) == int(fact.value)


def test_a_fact_is_asked_without_a_document() -> None:
    tasks, rows = fact_rows(FACTS[:2])
    assert [row.id for row in rows] == ["fact001/fact001", "fact002/fact002"]
    for row, fact in zip(rows, FACTS, strict=False):
        prompt = build_prompt(row, tasks[row.task], tiny_tokenizer(), depth=0.5, kind="needle_absent")
        assert prompt.text == f"Question: {fact.question}\nAnswer:"
        assert (prompt.needle_start, prompt.needle_end) == (0, 0)


def test_own_facts(tmp_path: Path) -> None:
    file = tmp_path / "facts.toml"
    file.write_text(
        '[[fact]]\nquestion = "Who?"\nvalue = "Lee"\n[[fact]]\nquestion = "How many?"\nvalue = 7\ncompare = "number"\n'
    )
    assert read_facts(file) == (Fact("Who?", "Lee"), Fact("How many?", "7", "number"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"facts.toml: got no \[\[fact\]\]; expected \[\[fact\]\] tables only; begin each fact"),
        ("[[fact]\n", r"facts.toml: .*; expected TOML with \[\[fact\]\] tables; correct it there"),
        ('[[fact]]\nquestion = "Who?"\n', "fact 1: got question; expected question, value and perhaps compare"),
        ('[[fact]]\nquestion = "Who?"\nvalue = "a"\nother = 1\n', "fact 1: got question, value, other; expected"),
        ("fact = [1]\n", "fact 1: got 1; expected question, value"),
        ('[[fact]]\nquestion = "Who? "\nvalue = "a"\n', "fact 1: fact 'Who. ': question: got 'Who. '; expected text"),
        ('[[fact]]\nquestion = "Who?"\nvalue = ""\n', "fact 1: fact 'Who.': value: got ''; expected text"),
        ('[[fact]]\nquestion = "Who?"\nvalue = "a"\ncompare = "sound"\n', "compare: got 'sound'; expected text or num"),
        ('[[fact]]\nquestion = "Who?"\nvalue = "a"\ncompare = "number"\n', "value: got 'a'; expected a number"),
    ],
)
def test_facts_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "facts.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_facts(file)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.toml: No such file .*; expected a readable TOML file"):
        read_facts(tmp_path / "none.toml")
