"""Choosing: which sentence becomes the needle of which task, where one sentence serves one task only.

A filing keeps as many tasks as its sentences allow (a maximum matching, by augmenting paths: H. W. Kuhn (1955), The
Hungarian method for the assignment problem, Naval Research Logistics 2, 83-97), and each task the first sentence that
this leaves it. Knows nothing about haystacks.
"""

import hashlib
from collections.abc import Iterable

from harness.retrieval.filings.candidates import Candidate


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
