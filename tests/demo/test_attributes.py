"""What can be asked of a demo filing: the nine tasks and many others, each sentence telling one of them."""

from collections import Counter

from harness.demo.attributes import OTHER_ATTRIBUTES, TASK_ATTRIBUTES
from harness.demo.values import COMPOSERS
from harness.retrieval.tasks import EDGAR_TASKS, Task

ALL = (*TASK_ATTRIBUTES, *OTHER_ATTRIBUTES)


def test_the_tasks_are_the_nine_with_their_own_questions() -> None:
    assert [(each.id, each.question) for each in TASK_ATTRIBUTES] == [
        (task.id, task.question) for task in EDGAR_TASKS.values()
    ]


def test_number_tasks_have_numbers() -> None:
    for attribute in TASK_ATTRIBUTES:
        is_number = EDGAR_TASKS[attribute.id].compare == "number"
        assert is_number == (attribute.kind in ("year", "count"))


def test_dozens_of_others_of_every_kind() -> None:
    assert len(OTHER_ATTRIBUTES) >= 100
    assert {each.kind for each in OTHER_ATTRIBUTES} == set(COMPOSERS)


def test_every_attribute_is_a_task_of_its_own() -> None:
    assert len({each.id for each in ALL}) == len(ALL)
    assert len({each.question for each in ALL}) == len(ALL)
    for attribute in ALL:
        Task(attribute.id, attribute.question)


def test_every_phrasing_states_the_value_once() -> None:
    for attribute in ALL:
        assert len(attribute.phrasings) >= (4 if attribute in TASK_ATTRIBUTES else 3)
        for phrasing in attribute.phrasings:
            assert phrasing.count("{v}") == 1, phrasing
            assert phrasing.format(v="VALUE", first="FIRST").count("VALUE") == 1
            assert phrasing.endswith(".")
            assert phrasing.count(".") == 1, "one sentence"


def test_no_sentence_tells_two_attributes() -> None:
    counts = Counter(phrasing for attribute in ALL for phrasing in attribute.phrasings)
    assert max(counts.values()) == 1
