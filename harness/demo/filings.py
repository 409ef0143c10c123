"""Filings of the embedded world: filler, distractors and needles, composed from a seed.

A filing states one value for every attribute. The row of a task holds its needle apart and, in the haystack, filler
sentences and the needles of other attributes, often of other tasks: several sentences fit the question's kind of
value, and only the question says which is meant. Knows nothing about tokens or models.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.demo.attributes import OTHER_ATTRIBUTES, TASK_ATTRIBUTES, Attribute
from harness.demo.values import FIRST_NAMES, compose_value
from harness.retrieval.rows import Row

DEMO_SEED = 2026
DEMO_FILINGS = 120
DEMO_SENTENCES = 20
"""Haystack sentences of a demo row: about 240 tokens."""

NEEDLE_SHARE = 0.45
"""Share of a haystack's sentences that are needles of other attributes."""

SUBJECTS = (
    "Management|The registrant|The board|Our staff|The audit committee|Each division|The finance team|A consultant|"
    "The annual meeting|Local counsel|The pension plan|The sales force|Every subsidiary|The research group|Competition"
).split("|")
VERBS = (
    "reviews|expects|plans|describes|supports|measures|considers|reports|limits|protects|adjusts|records|discusses|"
    "estimates|monitors|improves|finances|evaluates"
).split("|")
ADJECTIVES = (
    "ordinary|significant|seasonal|foreign|domestic|general|future|current|additional|certain|adequate|regular|"
    "operating|material|strategic|environmental"
).split("|")
OBJECTS = (
    "expenses|obligations|risks|markets|contracts|suppliers|regulations|prices|interest rates|inventories|policies|"
    "customers|dividends|credit lines|taxes|shipments|investments|product lines|working capital|legal proceedings"
).split("|")
TAILS = (
    "during the year|in the ordinary course of business|at reasonable cost|without notice|as required by law|"
    "in most regions|from time to time|under existing agreements|with great care|on a quarterly basis|"
    "because of competition|in accordance with policy|for the foreseeable future|to a limited extent"
).split("|")
ASIDES = (
    ("year", "In {v} the market was weak and demand was slow."),
    ("year", "Accounting rules have not changed since {v}."),
    ("city", "A trade fair was held in {v} last spring."),
    ("city", "The road to {v} was closed by snow."),
    ("state", "A new tax law was passed in {v}."),
    ("state", "Wages in {v} are higher than before."),
    ("count", "About {v} visitors came to the open house."),
    ("count", "The index rose by {v} points."),
    ("surname", "Professor {v} wrote a study of the industry."),
    ("surname", "A lawsuit brought by a certain {first} {v} was dismissed."),
    ("company", "A competitor, {v}, cut its prices."),
    ("company", "The press reported that {v} has closed its doors."),
    ("phrase", "The market for {v} is small."),
    ("phrase", "Imports of {v} declined."),
    ("code", "Form {v} is out of print."),
    ("code", "The case was filed under docket {v}."),
)
"""Distractors that answer no question: a kind of value and a sentence."""
ASIDE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Filing:
    """A filing's facts: every value and phrasing follows from the seed, the name and the attribute."""

    name: str
    seed: int
    held_out: bool

    def fact(self, attribute: Attribute) -> tuple[str, str]:
        """The value that this filing states for an attribute, and the sentence that states it."""
        rng = random.Random(f"{self.seed}/{self.name}/{attribute.id}")
        value = compose_value(attribute.kind, rng, held_out=self.held_out)
        return value, _state(rng.choice(attribute.phrasings), value, rng)

    def row(self, attribute: Attribute, *, n_sentences: int) -> Row:
        """The row that asks for one attribute; the value stands nowhere in the haystack."""
        return self.document(attribute, n_sentences=n_sentences).row

    def document(self, attribute: Attribute, *, n_sentences: int) -> "Document":
        """The row of one attribute, and what its haystack states besides."""
        value, needle = self.fact(attribute)
        rng = random.Random(f"{self.seed}/{self.name}/{attribute.id}/haystack")
        sentences = _haystack(self, attribute, rng)
        kept: list[str] = []
        stated: list[Attribute] = []
        while len(kept) < n_sentences:
            other, sentence = next(sentences)
            if value.casefold() not in sentence.casefold():
                kept.append(sentence)
                stated += [other] if other else []
        rng.shuffle(kept)
        return Document(Row(self.name, attribute.id, needle, value, " ".join(kept)), tuple(stated))


@dataclass(frozen=True, slots=True)
class Document:
    """A row, and the attributes whose needles stand in its haystack."""

    row: Row
    stated: tuple[Attribute, ...]


def _state(phrasing: str, value: str, rng: random.Random) -> str:
    sentence = phrasing.format(v=value, first=rng.choice(FIRST_NAMES))
    return sentence[0].upper() + sentence[1:]


def _haystack(filing: Filing, asked: Attribute, rng: random.Random) -> Iterator[tuple[Attribute | None, str]]:
    """Endless sentences: other attributes' needles, each at most once and half of them tasks', and filler."""
    tasks = [attribute for attribute in TASK_ATTRIBUTES if attribute is not asked]
    others = [attribute for attribute in OTHER_ATTRIBUTES if attribute is not asked]
    rng.shuffle(tasks)
    rng.shuffle(others)
    while True:
        if rng.random() >= NEEDLE_SHARE:
            yield None, _filler(filing, rng)
        elif tasks and rng.random() < 0.5:
            other = tasks.pop()
            yield other, filing.fact(other)[1]
        elif others:
            other = others.pop()
            yield other, filing.fact(other)[1]


def _filler(filing: Filing, rng: random.Random) -> str:
    if rng.random() < ASIDE_SHARE:
        kind, phrasing = rng.choice(ASIDES)
        return _state(phrasing, compose_value(kind, rng, held_out=filing.held_out), rng)
    parts = (rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(ADJECTIVES), rng.choice(OBJECTS), rng.choice(TAILS))
    return " ".join(parts) + "."


def demo_filings(n_filings: int = DEMO_FILINGS, *, seed: int = DEMO_SEED) -> tuple[Filing, ...]:
    """The demo's filings, whose values never occurred in training."""
    return tuple(Filing(f"demo-{seed}-{index:04d}.txt", seed, held_out=True) for index in range(n_filings))


def demo_rows(
    n_filings: int = DEMO_FILINGS,
    *,
    seed: int = DEMO_SEED,
    n_sentences: int = DEMO_SENTENCES,
    only: Callable[[str], bool] = lambda name: True,
) -> tuple[Row, ...]:
    """The rows of the demo's filings, or of those `only` whose names are wanted, nine each; equal seeds give equal
    rows."""
    return tuple(
        filing.row(attribute, n_sentences=n_sentences)
        for filing in demo_filings(n_filings, seed=seed)
        if only(filing.name)
        for attribute in TASK_ATTRIBUTES
    )


def demo_values() -> dict[str, tuple[str, ...]]:
    """The different values that all rows of the demo ask for, by task; without the rows, which take longer."""
    return {
        attribute.id: tuple(dict.fromkeys(filing.fact(attribute)[0] for filing in demo_filings()))
        for attribute in TASK_ATTRIBUTES
    }
