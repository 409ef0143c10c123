"""Candidates: the sentences of a filing that state a value, and those that only seem to, each with the reason.

Which of them becomes the needle of which task is chosen here too: one sentence serves one task only. A filing keeps as
many tasks as its sentences allow (a maximum matching, by augmenting paths: H. W. Kuhn (1955), The Hungarian method for
the assignment problem, Naval Research Logistics 2, 83-97), and each task the first sentence that this leaves it. Knows
nothing about haystacks or rows.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from harness.errors import DataError
from harness.retrieval.filings.filing import Filing
from harness.retrieval.filings.people import find_executives, find_headcounts, find_holders
from harness.retrieval.filings.places import STATES, find_headquarters, find_incorporation
from harness.retrieval.filings.registrant import Doubt, Finder, Registrant, Statement, find_names, registrant_of
from harness.retrieval.filings.sentences import Sentence
from harness.retrieval.scoring import matches_value, normalise
from harness.retrieval.tasks import EDGAR_TASKS, Task

FINDERS: tuple[Finder, ...] = (
    find_names,
    find_headquarters,
    find_incorporation,
    find_headcounts,
    find_holders,
    find_executives,
)
_STATE_FACTS = {"incorporation_state": "state_of_inc", "headquarters_state": "state_location"}
_DATED = frozenset({"employees_count_total", "employees_count_full_time", "holder_record_amount"})
"""Tasks whose answer changes from year to year."""
_LONGEST = 600
"""Characters of a needle: a longer "sentence" is a table or a list."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence and the value that it states for a task; or (`reason`) why it is no needle, with `value` empty
    where none was read.

    `note` says where a field of the source disagrees: fields are listed, not believed.
    """

    filing: str
    task: str
    value: str
    sentence: Sentence
    reason: str | None = None
    note: str | None = None


def candidates_of(filing: Filing, sentences: tuple[Sentence, ...], tasks: Mapping[str, Task]) -> tuple[Candidate, ...]:
    """All candidates of these tasks in a filing's sentences, in its order.

    A value that two sound sentences state differently is believed of neither.
    """
    registrant = registrant_of(filing)
    found: list[tuple[Sentence, Statement | Doubt]] = []
    for sentence in sentences:
        if len(sentence.text) > 3 * _LONGEST:
            continue
        for finder in FINDERS:
            for each in finder(sentence.text, sentence.section, registrant):
                if each.task in tasks:
                    found.append((sentence, each))
    moved = any(isinstance(each, Doubt) and each.moved for _, each in found)
    return _agreeing([_candidate(filing, registrant, sentence, each, moved) for sentence, each in found])


def _candidate(
    filing: Filing, registrant: Registrant, sentence: Sentence, found: Statement | Doubt, moved: bool
) -> Candidate:
    if isinstance(found, Doubt):
        return Candidate(filing.name, found.task, "", sentence, found.reason)
    reason = _fault(filing, sentence, found)
    if reason is None and sentence.section in registrant.doubtful_sections:
        reason = "its section calls another company the Company"
    if reason is None and moved and found.past:
        reason = "the filing says that the registrant moved to another state"
    note = _disagreement(filing, found) if reason is None else None
    return Candidate(filing.name, found.task, found.value, sentence, reason, note)


def _fault(filing: Filing, sentence: Sentence, found: Statement) -> str | None:
    """Why a statement cannot be a needle, whatever it says."""
    if not sentence.is_whole:
        return "no whole sentence"
    if len(sentence.text) > _LONGEST:
        return f"longer than {_LONGEST} characters"
    if "[" in sentence.text or sentence.text.count("\t") or re.search(r"\.{4}|_{3}| {3}|-{3}", sentence.text):
        return "part of a table"
    if not _reads(sentence.text, found):
        return "its value is not read as one there"
    if found.task in _DATED and (year := _year(filing)) is not None:
        said = [int(each) for each in re.findall(r"\b(?:19|20)\d\d\b", sentence.text)]
        if said and max(said) < year - 1:
            return f"of {max(said)}, in a filing of {year}"
    return None


def _reads(text: str, found: Statement) -> bool:
    """Whether rule `value` finds the value where it was found."""
    try:
        return matches_value(text, found.value, EDGAR_TASKS[found.task].compare)
    except DataError:
        return False


def _year(filing: Filing) -> int | None:
    """The year in which the filing was made, or (EDGAR-CORPUS) which it is of."""
    for field in ("filing_date", "period_of_report", "year"):
        if found := re.match(r"(?:19|20)\d\d", filing.facts.get(field, "")):
            return int(found[0])
    return None


def _disagreement(filing: Filing, found: Statement) -> str | None:
    field = _STATE_FACTS.get(found.task)
    if field is not None and (given := filing.facts.get(field)):
        name = STATES.get(given.upper(), given)
        if name.casefold() != found.value.casefold():
            return f"{field} is {given}"
    return None


def _agreeing(found: list[Candidate]) -> tuple[Candidate, ...]:
    """The same candidates; sound ones of a task that do not agree are rejected together."""
    values: dict[str, set[tuple[str, ...]]] = {}
    shown: dict[str, dict[str, None]] = {}
    for each in found:
        if each.reason is None:
            values.setdefault(each.task, set()).add(normalise(each.value, EDGAR_TASKS[each.task].compare))
            shown.setdefault(each.task, {})[each.value] = None
    return tuple(
        replace(each, reason=f"the filing states {', '.join(shown[each.task])}")
        if each.reason is None and len(values[each.task]) > 1
        else each
        for each in found
    )


def choose_needles(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """One sound candidate a task, by task, of one filing's; tasks without any are left out."""
    by_task: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.reason is None:
            by_task.setdefault(candidate.task, []).append(candidate)
    taken: dict[tuple[str, int], Candidate] = {}

    def place(task: str) -> tuple[int, str]:
        # equals fall by a hash, so that of two tasks that share a sentence in many filings each gets some
        return len(by_task[task]), hashlib.sha256(f"{by_task[task][0].filing}\0{task}".encode()).hexdigest()

    # those with the least choice first: they then keep their first sentence
    for task in sorted(by_task, key=place):
        _place(task, by_task, taken, set())
    return {candidate.task: candidate for candidate in taken.values()}


def _place(
    task: str,
    by_task: dict[str, list[Candidate]],
    taken: dict[tuple[str, int], Candidate],
    seen: set[tuple[str, int]],
) -> bool:
    """Give the task a sentence, moving other tasks to other sentences where that is the only way."""
    for free_only in (True, False):
        for candidate in by_task[task]:
            at = (candidate.sentence.section, candidate.sentence.start)
            if at in seen or (free_only and at in taken):
                continue
            if not free_only:
                seen.add(at)
                if not _place(taken[at].task, by_task, taken, seen):
                    continue
            taken[at] = candidate
            return True
    return False
