"""Candidates of whole filings, and which of them become needles."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_filing import FACTS, filing

from harness.retrieval.filings.candidates import Candidate, candidates_of, choose_needles
from harness.retrieval.filings.sentences import Sentence, sentences_of
from harness.retrieval.tasks import EDGAR_TASKS, select_tasks


def candidates(*, facts: Mapping[str, str] = FACTS, **sections: str) -> tuple[Candidate, ...]:
    made = filing(facts=facts, **sections)
    return candidates_of(made, sentences_of(made), EDGAR_TASKS)


def reasons(task: str, *, facts: Mapping[str, str] = FACTS, **sections: str) -> list[str | None]:
    return [each.reason for each in candidates(facts=facts, **sections) if each.task == task]


def test_all_that_the_made_up_filing_states() -> None:
    sound = {(each.task, each.value, each.sentence.section) for each in candidates() if each.reason is None}
    assert sound == {
        ("registrant_name", "Acme Widgets, Inc.", "1"),
        ("headquarters_city", "Dayton", "2"),
        ("headquarters_state", "Ohio", "2"),
        ("incorporation_state", "Ohio", "1"),
        ("incorporation_year", "1985", "1"),
        ("employees_count_total", "1,234", "1"),
        ("employees_count_full_time", "1,100", "1"),
        ("holder_record_amount", "345", "5"),
        ("ceo_lastname", "Doe", "1"),
    }
    rejected = [(each.task, each.reason) for each in candidates() if each.reason is not None]
    assert rejected == [("employees_count_total", "not said of the registrant as having or employing that many")]


def test_only_the_tasks_asked_for() -> None:
    made = filing()
    found = candidates_of(made, sentences_of(made), select_tasks(EDGAR_TASKS, ["ceo_lastname"]))
    assert {each.task for each in found} == {"ceo_lastname"}


def test_two_values_are_believed_of_neither() -> None:
    text = "We had 12 employees. The Company employs 15 people."
    assert reasons("employees_count_total", item_1=text) == ["the filing states 12, 15"] * 2


def test_one_value_in_two_forms_is_one() -> None:
    text = "We had 1,200 employees. The Company employs 1200 people."
    assert reasons("employees_count_total", item_1=text) == [None, None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("as of today we had 12 employees.", "no whole sentence"),
        ("We had 12 employees", "no whole sentence"),
        (f"We had 12 employees, {'and many more things ' * 40}.", "longer than 600 characters"),
        ("We had 12 employees, including Sales ..... 7.", "part of a table"),
        ("As of June 30, 1999, we had 12 employees.", "of 1999, in a filing of 2001"),
    ],
)
def test_a_sentence_that_cannot_be_a_needle(text: str, reason: str) -> None:
    assert reasons("employees_count_total", item_1=text) == [reason]


def test_a_year_is_of_no_matter_where_the_answer_stays_or_the_filings_own_is_unknown() -> None:
    assert reasons("incorporation_year", item_1="We were incorporated in 1985.") == [None]
    assert reasons("employees_count_total", facts={}, item_1="In 1999 we had 12 employees.") == [None]


def test_who_moved_to_another_state_began_elsewhere() -> None:
    began = "We were incorporated in Texas in 1984."
    text = f"{began} We were reincorporated in Delaware in 1995. We are a Delaware corporation."
    moved = "the filing says that the registrant moved to another state"
    said = "more than one corporation or state may be meant: reincorporat"
    assert reasons("incorporation_state", item_1=text) == [
        moved,
        said,
        None,
    ]
    assert reasons("incorporation_year", item_1=text)[0] == moved


def test_statements_of_another_company_are_not_the_registrants() -> None:
    text = 'Zeta Corp. ("Zeta" or the "Company") sells. The Company was incorporated in Ohio in 1985.'
    doubt = "its section calls another company the Company"
    assert reasons("incorporation_year", item_1="Text.", item_8=text) == [doubt]


def test_a_field_that_disagrees_is_noted_and_not_believed() -> None:
    facts = {**FACTS, "state_of_inc": "DE", "state_location": "WI"}
    notes = {each.task: (each.note, each.reason) for each in candidates(facts=facts) if each.note}
    assert notes == {
        "incorporation_state": ("state_of_inc is DE", None),
        "headquarters_state": ("state_location is WI", None),
    }
    assert not any(each.note for each in candidates())


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
