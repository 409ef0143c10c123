"""Building: filings in, rows out, with a recipe for each and a list of what was rejected.

One haystack a filing, which all of its rows share: the sections in their order, without any sentence that states a
value of one of its rows, their needles among them. In place the needles stay where they are, and so does everything
else: values recur in nearly every filing, so that a prompt without its needle is no control there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.retrieval.filings.candidates import Candidate, candidates_of
from harness.retrieval.filings.choosing import choose_needles
from harness.retrieval.filings.clusters import clusters_of
from harness.retrieval.filings.filing import Filing
from harness.retrieval.filings.haystack import Run, Window, largest_part, text_of
from harness.retrieval.filings.sentences import Sentence, sentences_of
from harness.retrieval.recurrence import value_stands
from harness.retrieval.rows import Placement, Row, occurrences
from harness.retrieval.tasks import Task

_FIRST = 64
"""Sentences looked at first: of a long filing most are cut off anyway."""
_NO_ROOM = "no room for the needle and one more sentence of the filing that states none of its values"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a row is made of: the filing, its haystack's runs, and the needle's half-open place in a section."""

    filing: str
    task: str
    value: str
    needle: Run
    haystack: tuple[Run, ...]
    placement: Placement
    cluster: str

    def row(self, filing: Filing) -> Row:
        """The row, from its filing. Raises DataError where the filing has no such text."""
        return Row(
            filename=self.filing,
            task=self.task,
            needle_sentence=text_of(filing, (self.needle,)),
            needle_value=self.value,
            haystack_text=text_of(filing, self.haystack),
            placement=self.placement,
            cluster=self.cluster,
        )


@dataclass(frozen=True, slots=True)
class Built:
    """Rows beside their recipes, and every candidate: those without a reason are needles, or could have been."""

    recipes: tuple[Recipe, ...]
    rows: tuple[Row, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Length:
    """At most this many tokens a prompt, needle, question and template included, by `count`."""

    n_tokens: int
    count: Callable[[Row], int]


def build_rows(
    filings: Sequence[Filing], tasks: Mapping[str, Task], *, in_place: bool = False, length: Length | None = None
) -> Built:
    """The rows of these tasks, at most one a filing and task, in the order of filings and tasks.

    With a length, the haystack keeps as many whole sentences as the longest prompt of the filing's rows takes: from the
    filing's start, or in place on both sides of each needle.

    What finds no room is rejected, like all else: `candidates` say why.
    """
    clusters = clusters_of(filings)
    recipes: list[Recipe] = []
    rows: list[Row] = []
    candidates: list[Candidate] = []
    for filing in filings:
        sentences = sentences_of(filing)
        found = candidates_of(filing, sentences, tasks)
        if in_place:
            found = _standing_once(found, sentences)
        chosen = choose_needles(found)
        needles = [chosen[task] for task in tasks if task in chosen]
        made = (
            _in_place(filing, sentences, needles, length)
            if in_place
            else _insert(filing, sentences, needles, tasks, length)
        )
        for recipe in made:
            named = replace(recipe, cluster=clusters[filing.name])
            recipes.append(named)
            rows.append(named.row(filing))
        crowded = {needle for needle in needles if needle.task not in {recipe.task for recipe in made}}
        candidates += [replace(each, reason=_NO_ROOM) if each in crowded else each for each in found]
    return Built(tuple(recipes), tuple(rows), tuple(candidates))


def _insert(
    filing: Filing,
    sentences: Sequence[Sentence],
    needles: Sequence[Candidate],
    tasks: Mapping[str, Task],
    length: Length | None,
) -> list[Recipe]:
    """Rows around one haystack that none of their values stands in; none where there is no room for any of it."""
    recipes = [_recipe(filing, needle, "insert") for needle in needles]
    first = len(sentences) if length is None else _FIRST
    while recipes:
        window = Window(_free(sentences[:first], needles, tasks))
        runs = _cut(filing, window, recipes, length)
        # as long as all of them fit, there is room for more
        if first < len(sentences) and runs == window.part(window.size):
            first *= 4
        else:
            return [replace(recipe, haystack=runs) for recipe in recipes if runs]
    return []


def _in_place(
    filing: Filing, sentences: Sequence[Sentence], needles: Sequence[Candidate], length: Length | None
) -> list[Recipe]:
    """Rows whose haystack is the filing as it stands, cut around each needle."""
    numbered = tuple(enumerate(sentences))
    recipes = []
    for needle in needles:
        recipe = _recipe(filing, needle, "in_place")
        centre = next(number for number, sentence in numbered if sentence == needle.sentence)
        if runs := _cut(filing, Window(numbered, centre), [recipe], length):
            recipes.append(replace(recipe, haystack=runs))
    return recipes


def _recipe(filing: Filing, needle: Candidate, placement: Placement) -> Recipe:
    """A row's recipe, but for its haystack and cluster."""
    place = Run(needle.sentence.section, needle.sentence.start, needle.sentence.end)
    return Recipe(filing.name, needle.task, needle.value, place, (), placement, "")


def _cut(filing: Filing, window: Window, recipes: Sequence[Recipe], length: Length | None) -> tuple[Run, ...]:
    """The largest part of the window with which every recipe's prompt is short enough; nothing where none is."""
    if length is None or not window.sentences:
        return window.part(window.size)

    def fits(runs: tuple[Run, ...]) -> bool:
        return all(length.count(replace(recipe, haystack=runs).row(filing)) <= length.n_tokens for recipe in recipes)

    return largest_part(window, fits) or ()


def _free(
    sentences: Sequence[Sentence], needles: Sequence[Candidate], tasks: Mapping[str, Task]
) -> tuple[tuple[int, Sentence], ...]:
    """The sentences, numbered, in which none of the needles' values stands."""
    sought = {(needle.value, tasks[needle.task].compare) for needle in needles}
    return tuple(
        (number, sentence)
        for number, sentence in enumerate(sentences)
        if not any(value_stands(value, sentence.text, compare) for value, compare in sought)
    )


def _standing_once(candidates: Sequence[Candidate], sentences: Sequence[Sentence]) -> tuple[Candidate, ...]:
    """The candidates; those whose sentence stands more than once in the filing are no needles in place."""
    text = " ".join(" ".join(sentence.text.split()) for sentence in sentences)
    return tuple(
        replace(each, reason="its sentence stands in the filing more than once")
        if each.reason is None and occurrences(" ".join(each.sentence.text.split()), text) > 1
        else each
        for each in candidates
    )
