"""One sentence serves one task, and as many tasks as can have one do."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from harness.retrieval.filings.candidates import Candidate
from harness.retrieval.filings.choosing import choose_needles
from harness.retrieval.filings.sentences import Sentence


def candidate(task: str, at: int, reason: str | None = None) -> Candidate:
    return Candidate("a.txt", task, "v", Sentence("1", at, at + 1, "x", 0), reason)


def chosen(*pairs: tuple[str, int]) -> dict[str, int]:
    return {task: each.sentence.start for task, each in choose_needles(candidate(*pair) for pair in pairs).items()}


def test_the_first_sentence_where_nothing_else_wants_it() -> None:
    assert chosen(("city", 3), ("city", 9), ("year", 5)) == {"city": 3, "year": 5}


def test_a_task_with_more_choice_makes_room() -> None:
    assert chosen(("city", 1), ("city", 2), ("state", 1)) == {"city": 2, "state": 1}
    assert chosen(("a", 1), ("a", 2), ("b", 2), ("b", 3), ("c", 3), ("c", 1), ("d", 1)).keys() != {"a", "b", "c", "d"}


def test_rejected_candidates_are_no_needles() -> None:
    assert choose_needles([candidate("city", 1, "no"), candidate("state", 1)]).keys() == {"state"}


def test_of_two_that_share_their_only_sentence_a_hash_decides() -> None:
    taken = {
        next(iter(choose_needles([Candidate(f"{n}.txt", task, "v", Sentence("1", 0, 1, "x", 0)) for task in "ab"])))
        for n in range(20)
    }
    assert taken == {"a", "b"}


@given(st.sets(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=9))
def test_no_other_choice_serves_more_tasks(pairs: set[tuple[str, int]]) -> None:
    """Beside every assignment there is, tried one by one."""
    found = chosen(*sorted(pairs))
    assert len(set(found.values())) == len(found)
    assert all((task, at) in pairs for task, at in found.items())
    tasks = sorted({task for task, _ in pairs})
    options = [[None, *(at for other, at in pairs if other == task)] for task in tasks]
    most = 0
    for assignment in itertools.product(*options):
        given_out = [at for at in assignment if at is not None]
        if len(set(given_out)) == len(given_out):
            most = max(most, len(given_out))
    assert len(found) == most
