"""The draw is even over tasks, spread over companies, and the same for the same seed."""

from collections import Counter

from harness.retrieval.filings.building import Recipe
from harness.retrieval.filings.drawing import draw
from harness.retrieval.filings.haystack import Run


def recipe(task: str, filing: int, cluster: int) -> Recipe:
    return Recipe(f"{filing:03}.txt", task, "v", Run("1", 0, 1), (), "insert", str(cluster))


MANY = [recipe(task, filing, filing // 2) for filing in range(80) for task in "abcdef"]
"""Six tasks, 40 companies of two filings each."""


def test_even_over_tasks_and_at_most_two_a_company() -> None:
    drawn = draw(MANY, 60, seed=1)
    assert Counter(each.task for each in drawn) == dict.fromkeys("abcdef", 10)
    assert max(Counter(each.cluster for each in drawn).values()) == 2
    assert list(drawn) == sorted(drawn, key=MANY.index)


def test_the_seed_decides() -> None:
    assert draw(MANY, 60, seed=1) == draw(MANY, 60, seed=1) != draw(MANY, 60, seed=2)


def test_a_task_with_few_rows_gives_them_all_and_others_more() -> None:
    few = [each for each in MANY if each.task in "ab"] + [recipe("c", 1, 0), recipe("c", 9, 4)]
    drawn = draw(few, 12, seed=1)
    assert Counter(each.task for each in drawn) == {"a": 5, "b": 5, "c": 2}


def test_too_few_companies_give_more_each_and_too_few_rows_all() -> None:
    of_three = [recipe(task, filing, filing % 3) for filing in range(9) for task in "ab"]
    drawn = draw(of_three, 9, seed=1)
    assert sorted(Counter(each.cluster for each in drawn).values()) == [3, 3, 3]
    assert draw(of_three, 99, seed=1) == tuple(of_three)
    assert draw([], 5, seed=1) == ()
