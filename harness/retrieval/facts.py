"""Facts: questions that need no document, to tell lost retrieval from lost knowledge.

A small set of our own, things that nearly every model has read many times and sums of small numbers; a user's own come
from a TOML file of `[[fact]]` tables. Asked as the study's rows are, in the same template, without a document. What
counts is what the untouched model answers. Knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.retrieval.rows import Row
from harness.retrieval.scoring import Compare, matches_value
from harness.retrieval.tasks import Task, read_tables

TEMPLATE = "{context}Question: {question}\nAnswer:"
"""The rows' own, without a document."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A question and what is right, compared as words or as a number.

    Raises:
        DataError: no question, no value, or a value that is no number where numbers are compared.
    """

    question: str
    value: str
    compare: Compare = "text"

    def __post_init__(self) -> None:
        where = f"fact {self.question!r}"
        for name, text in (("question", self.question), ("value", self.value)):
            if not isinstance(text, str) or not text.strip() or text != text.strip():
                raise DataError(f"{where}: {name}: got {text!r}; expected text without spaces around it; write it")
        if self.compare not in ("text", "number"):
            raise DataError(f"{where}: compare: got {self.compare!r}; expected text or number; choose one")
        if not matches_value(self.value, self.value, self.compare):
            raise DataError(f"{where}: value: got {self.value!r}; expected a number, as compare says; correct it")


def _capital(country: str, city: str) -> Fact:
    return Fact(f"What is the capital of {country}?", city)


def _sum(first: int, second: int) -> Fact:
    return Fact(f"What is {first} + {second}?", str(first + second), "number")


FACTS = (
    _capital("France", "Paris"),
    _capital("Italy", "Rome"),
    _capital("Germany", "Berlin"),
    _capital("Spain", "Madrid"),
    _capital("Japan", "Tokyo"),
    _capital("Russia", "Moscow"),
    _capital("England", "London"),
    _capital("Egypt", "Cairo"),
    _capital("Greece", "Athens"),
    _capital("Portugal", "Lisbon"),
    _capital("Ireland", "Dublin"),
    _capital("Austria", "Vienna"),
    Fact("What color is the sky on a clear day?", "blue"),
    Fact("What color is grass?", "green"),
    Fact("What color is snow?", "white"),
    Fact("What is the opposite of hot?", "cold"),
    Fact("What is the opposite of up?", "down"),
    Fact("Which planet do people live on?", "Earth"),
    Fact("Which star does the Earth go around?", "Sun"),
    Fact("What is frozen water called?", "ice"),
    Fact("Which animal barks?", "dog"),
    Fact("Which month comes after January?", "February"),
    Fact("Which day comes after Monday?", "Tuesday"),
    Fact("Who wrote Romeo and Juliet?", "Shakespeare"),
    Fact("Who was the first president of the United States?", "Washington"),
    Fact("In which country is the Eiffel Tower?", "France"),
    Fact("Which gas do people need to breathe?", "oxygen"),
    Fact("What do bees make?", "honey"),
    Fact("What is the largest ocean?", "Pacific"),
    Fact("Which language is spoken in Brazil?", "Portuguese"),
    Fact("How many days are in a week?", "7", "number"),
    Fact("How many months are in a year?", "12", "number"),
    Fact("How many legs does a spider have?", "8", "number"),
    Fact("How many minutes are in an hour?", "60", "number"),
    Fact("How many sides does a triangle have?", "3", "number"),
    Fact("How many hours are in a day?", "24", "number"),
    _sum(1, 1),
    _sum(2, 3),
    _sum(4, 4),
    _sum(5, 2),
    _sum(6, 3),
    _sum(7, 8),
    _sum(9, 5),
    _sum(10, 10),
    _sum(12, 7),
    _sum(20, 30),
    _sum(15, 15),
    _sum(8, 11),
)
"""Ours."""


def read_facts(path: Path) -> tuple[Fact, ...]:
    """The facts of a TOML file, `[[fact]]` tables of `question`, `value` and, where it is a number, `compare`.

    Raises:
        DataError: the first fault, with file and number of the fact.
    """
    facts = []
    for number, table in enumerate(read_tables(path, "fact"), start=1):
        where = f"{path}: fact {number}"
        if not isinstance(table, dict) or not {"question", "value"} <= table.keys() <= {"question", "value", "compare"}:
            got = (", ".join(table) or "nothing") if isinstance(table, dict) else repr(table)
            raise DataError(f"{where}: got {got}; expected question, value and perhaps compare; correct it")
        try:
            facts.append(Fact(**{name: str(value) for name, value in table.items()}))  # type: ignore[arg-type]
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return tuple(facts)


def fact_rows(facts: Sequence[Fact]) -> tuple[dict[str, Task], tuple[Row, ...]]:
    """A task and a row for each fact, its document empty: to be asked without a needle."""
    ids = [f"fact{number:03d}" for number in range(1, len(facts) + 1)]
    tasks = {id_: Task(id_, fact.question, fact.compare, TEMPLATE) for id_, fact in zip(ids, facts, strict=True)}
    rows = tuple(Row(id_, id_, fact.value, fact.value, "") for id_, fact in zip(ids, facts, strict=True))
    return tasks, rows
