"""Building: filings in, rows out, with a recipe for each and a list of what was rejected.

One haystack a filing, which all of its rows share: the sections in their order, without any sentence that states a
value of one of its rows, their needles among them. In place the needles stay where they are, and so does everything
else: values recur in nearly every filing, so that a prompt without its needle is no control there.

Filings of one CIK (the registrant's number at the SEC), of one accession number (a parent and its subsidiary may file
one report together) or of equal text are one cluster, and what is joined to either of two joins both. A company that
files under a new number is another cluster.

Rows to be judged by eye, so that it is known how many of all are right, are drawn: the same number a task as far as
there are rows, at most two a cluster (company) as long as that gives enough; then three, and so on. Which rows these
are is decided by a hash of seed and row.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from harness.retrieval.filings.candidates import Candidate, candidates_of, choose_needles
from harness.retrieval.filings.filing import Filing
from harness.retrieval.filings.sentences import Run, Sentence, Window, largest_part, sentences_of, text_of
from harness.retrieval.placement import value_stands
from harness.retrieval.rows import Placement, Row, occurrences
from harness.retrieval.tasks import Task
from harness.retrieval.traces import joined

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
    filing's start, or in place around as many of their needles as one part of it can hold.

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
    """Rows whose haystack is the filing as it stands, or a part of it: as few different parts as hold all needles."""
    numbered = tuple(enumerate(sentences))
    waiting = sorted(
        ((sentences.index(needle.sentence), _recipe(filing, needle, "in_place")) for needle in needles),
        key=lambda pair: pair[0],
    )
    made: dict[str, Recipe] = {}
    while waiting:
        for n_held in range(len(waiting), 0, -1):
            recipes = [recipe for _, recipe in waiting[:n_held]]
            window = Window(numbered, (waiting[0][0], waiting[n_held - 1][0] + 1))
            if runs := _cut(filing, window, recipes, length):
                made |= {recipe.task: replace(recipe, haystack=runs) for recipe in recipes}
                break
        # one that does not fit even alone finds no room
        waiting = waiting[n_held:]
    return [made[needle.task] for needle in needles if needle.task in made]


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


def clusters_of(filings: Sequence[Filing]) -> dict[str, str]:
    """Each filing's cluster, by the filing's name: the lowest CIK in the cluster, else its first filing's name."""
    marks = [
        {(kind, mark) for kind, mark in (("cik", each.cik), ("accession", each.accession)) if mark is not None}
        | {("text", each.text_hash())}
        for each in filings
    ]
    groups: dict[int, list[Filing]] = {}
    for filing, first in zip(filings, joined(marks), strict=True):
        groups.setdefault(first, []).append(filing)
    names: dict[str, str] = {}
    for group in groups.values():
        ciks = sorted(int(filing.cik) for filing in group if filing.cik is not None)
        names.update(dict.fromkeys((filing.name for filing in group), str(ciks[0]) if ciks else group[0].name))
    return names


def draw(recipes: Sequence[Recipe], n_rows: int, *, seed: int, most: int = 2) -> tuple[Recipe, ...]:
    """So many of the recipes (all, if there are fewer), in the order that they came in."""
    waiting: dict[str, list[Recipe]] = {}
    for recipe in sorted(recipes, key=lambda recipe: _place(recipe, seed)):
        waiting.setdefault(recipe.task, []).append(recipe)
    wanted = _shares({task: len(rows) for task, rows in waiting.items()}, n_rows)
    drawn: list[Recipe] = []
    of_cluster: Counter[str] = Counter()
    while sum(wanted.values()):
        before = len(drawn)
        # the task with the fewest rows chooses first: it must not find its companies taken
        for task in sorted(wanted, key=lambda task: (len(waiting[task]), task)):
            found = next((each for each in waiting[task] if of_cluster[each.cluster] < most), None)
            if wanted[task] and found is not None:
                waiting[task].remove(found)
                drawn.append(found)
                of_cluster[found.cluster] += 1
                wanted[task] -= 1
        if len(drawn) == before:
            most += 1
    return tuple(sorted(drawn, key=recipes.index))


def _shares(available: Mapping[str, int], n_rows: int) -> dict[str, int]:
    """How many rows of each task: as equal as can be, and where it cannot be, more of the tasks with more rows."""
    shares = dict.fromkeys(available, 0)
    for task in cycle(sorted(available, key=lambda task: (-available[task], task))):
        if sum(shares.values()) == min(n_rows, sum(available.values())):
            break
        shares[task] += shares[task] < available[task]
    return shares


def _place(recipe: Recipe, seed: int) -> str:
    return hashlib.sha256(f"draw\0{seed}\0{recipe.filing}\0{recipe.task}".encode()).hexdigest()
