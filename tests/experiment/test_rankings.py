"""Rankings against slow references and values worked out by hand."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import EVERY_TASK, HeadRanking, ScoredHead, SharedHead, rank

# 2 layers x 3 heads, two tasks
CITY = ((0.1, 0.6, 0.0), (0.5, 0.3, 0.2))
YEAR = ((0.2, 0.4, 0.9), (0.5, 0.1, 0.2))


def listed(*heads: tuple[int, int, float]) -> tuple[ScoredHead, ...]:
    return tuple(ScoredHead(Head(layer, head), score) for layer, head, score in heads)


def truncated() -> HeadRanking:
    tasks = {"city": listed((0, 1, 0.6), (1, 0, 0.5)), "year": listed((0, 2, 0.9), (1, 0, 0.5))}
    return HeadRanking(source="cut.json", tasks=tasks, top_k=2)


grids = st.integers(1, 4).flatmap(
    lambda n_heads: st.dictionaries(
        st.sampled_from("abcdefghi"),
        st.lists(
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=n_heads, max_size=n_heads),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
    )
)


def test_rank_lists_the_best_first_and_ties_by_place() -> None:
    ranking = rank({"city": CITY, "year": YEAR}, top_k=3)
    assert ranking.scored("city") == listed((0, 1, 0.6), (1, 0, 0.5), (1, 1, 0.3))
    assert ranking.candidates("year") == (Head(0, 2), Head(1, 0), Head(0, 1))
    assert rank({"flat": ((1.0, 1.0), (1.0, 1.0))}, top_k=3).candidates("flat") == (
        Head(0, 0),
        Head(0, 1),
        Head(1, 0),
    )
    assert ranking.model == ModelShape(2, 3)


def test_shared_heads_are_candidates_of_seven_in_nine_tasks() -> None:
    shared = rank({"city": CITY, "year": YEAR}, top_k=3).shared()  # of two tasks: both
    assert shared == (SharedHead(Head(0, 1), 2, 0.5), SharedHead(Head(1, 0), 2, 0.5))
    counts = {n: math.ceil(Fraction(7 * n, 9)) for n in range(1, 30)}
    assert counts[9] == 7
    for n, needed in counts.items():
        tasks = {f"t{i}": listed((0, int(i >= needed), 1.0)) for i in range(n)}
        assert [s.task_frequency for s in HeadRanking("x", tasks, 1).shared()] == [needed]
        if needed > (n + 1) // 2:
            tasks["t0"] = listed((5, 5, 1.0))
            assert HeadRanking("x", tasks, 1).shared() == ()


def test_global_heads_weigh_tasks_by_their_samples_and_others_do_not() -> None:
    ranking = rank({"city": CITY, "year": YEAR}, top_k=2, samples={"city": 3, "year": 1})
    best = ranking.global_heads()[0]
    assert best.head == Head(0, 1)
    assert best.score == pytest.approx((3 * 0.6 + 0.4) / 4)
    assert [s.score for s in ranking.others("year")] == sorted((s for row in CITY for s in row), reverse=True)


def test_a_head_missing_from_a_cut_list_counts_with_its_lowest_score() -> None:
    ranking = truncated()
    scores = {s.head: s.score for s in ranking.global_heads()}
    assert scores == {Head(0, 1): (0.6 + 0.5) / 2, Head(0, 2): (0.9 + 0.5) / 2, Head(1, 0): 0.5}


def test_cut_lists_trust_the_global_heads_of_their_file() -> None:
    ranking = replace(truncated(), listed_global=listed((1, 1, 0.4), (0, 1, 0.3)))
    assert ranking.global_heads() == ranking.listed_global


def test_the_bottom_needs_full_scores() -> None:
    lowest = rank({"city": CITY}, top_k=1).bottom()
    assert [s.head for s in lowest] == [
        Head(0, 2),
        Head(0, 0),
        Head(1, 2),
        Head(1, 1),
        Head(1, 0),
        Head(0, 1),
    ]
    with pytest.raises(HeadsError, match=r"^cut\.json: holds no full scores"):
        truncated().bottom()


def test_lists_that_hold_every_head_of_the_model_are_not_cut() -> None:
    """As trials of all heads do: their scores are the full ones, and serve every task."""
    shape = ModelShape(2, 2)
    scores = ((0.25, 1.0), (0.0, 0.5))
    whole = replace(rank({"a": scores}, top_k=4), mean_scores=None, model=None)
    for of_model in (shape, None):
        completed = whole.completed(of_model)
        assert completed.mean_scores == {"a": scores}
        assert [s.head for s in completed.bottom()] == [Head(1, 0), Head(0, 0), Head(1, 1), Head(0, 1)]
    for larger in (ModelShape(3, 2), ModelShape(2, 3)):
        assert whole.completed(larger).mean_scores is None
    cut = replace(whole, tasks={"a": whole.tasks["a"][:3]})
    assert cut.completed(shape) is cut
    assert cut.completed() is cut
    one_head = replace(whole, tasks={"a": (ScoredHead(Head(0, 0), 1.0),)})
    assert one_head.completed() is one_head, "no shape can be told by one head"
    everywhere = replace(whole, every_task=True).completed(shape).restrict(["b", "c"])
    assert everywhere.mean_scores == {"b": scores, "c": scores}
    assert everywhere.bottom()[0].head == Head(1, 0)


def test_equal_lowest_heads_come_in_the_order_of_their_places() -> None:
    assert [s.head for s in rank({"t": ((0.0, 0.0), (1.0, 0.0))}, top_k=1).bottom()] == [
        Head(0, 0),
        Head(0, 1),
        Head(1, 1),
        Head(1, 0),
    ]


@settings(derandomize=True, deadline=None)
@given(grids, st.integers(1, 12))
def test_what_follows_from_full_scores_equals_a_slow_reference(
    scores: dict[str, list[list[float]]], top_k: int
) -> None:
    n_heads = len(next(iter(scores.values()))[0])
    top_k = min(top_k, 3 * n_heads)
    ranking = rank(scores, top_k=top_k)
    shape = ModelShape(3, n_heads)
    everything = [Head(layer, head) for layer in range(3) for head in range(n_heads)]

    def mean(head: Head, tasks: list[str]) -> Fraction:
        return sum((Fraction(scores[t][head.layer][head.head]) for t in tasks), Fraction(0)) / len(tasks)

    def order(tasks: list[str]) -> list[Head]:
        return sorted(everything, key=lambda h: (-mean(h, tasks), h))

    names = list(scores)
    own = {task: order([task])[:top_k] for task in names}
    assert {task: list(ranking.candidates(task)) for task in names} == own
    assert [s.head for s in ranking.global_heads()] == order(names)
    counts = {head: sum(head in heads for heads in own.values()) for head in everything}
    shared = [head for head in everything if 9 * counts[head] >= 7 * len(names)]
    assert [s.head for s in ranking.shared()] == sorted(shared, key=lambda h: (-counts[h], -mean(h, names), h))
    pool = [h for h in everything if counts[h] == 0 and h not in order(names)[:top_k]]
    assert list(ranking.pool(shape)) == pool
    assert ranking.all_candidates() == set(everything) - set(pool)
    assert [s.head for s in ranking.global_candidates()] == order(names)[:top_k]
    if len(names) > 1:
        assert [s.head for s in ranking.others(names[0])] == order(names[1:])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=12, max_size=12), st.permutations("abcd"))
def test_the_order_of_tasks_changes_nothing(values: list[float], order: list[str]) -> None:
    scores = {task: [values[3 * i : 3 * i + 3]] for i, task in enumerate("abcd")}
    again = {task: scores[task] for task in order}
    assert rank(again, top_k=1).global_heads() == rank(scores, top_k=1).global_heads()
    assert rank(again, top_k=2).shared() == rank(scores, top_k=2).shared()


@pytest.mark.parametrize(
    ("scores", "top_k", "message"),
    [
        ({}, 1, "no tasks"),
        ({"t": []}, 1, "without heads"),
        ({"t": [[1.0], [1.0, 2.0]]}, 1, r"mean_scores\.t: missing or ragged"),
        ({"t": [[1.0]], "u": [[1.0, 2.0]]}, 1, r"mean_scores\.u: missing or ragged"),
        ({"t": [[1.0, math.nan]]}, 1, r"mean_scores\.t\[0\]\[1\]: nan; expected a finite number"),
        ({"t": [[1.0]]}, 0, "top_k 0; expected at least 1"),
        ({"t": [[1.0]]}, 2, "top_k 2; expected at most 1"),
    ],
)
def test_scores_that_cannot_be_ranked(scores: dict[str, list[list[float]]], top_k: int, message: str) -> None:
    with pytest.raises(HeadsError, match=message):
        rank(scores, top_k=top_k)


def test_every_ranked_task_has_samples() -> None:
    with pytest.raises(HeadsError, match=r"samples\.year: None; expected at least 1"):
        rank({"city": CITY, "year": YEAR}, top_k=1, samples={"city": 3})


def test_a_ranking_is_restricted_to_tasks() -> None:
    ranking = rank({"city": CITY, "year": YEAR}, top_k=3, samples={"city": 3, "year": 1})
    one = ranking.restrict(["year"])
    assert list(one.tasks) == ["year"]
    assert one.samples == {"year": 1}
    assert [s.head for s in one.global_heads()][:3] == list(one.candidates("year"))
    with pytest.raises(HeadsError, match=r"^cut\.json: no task ceo; expected one of city, year; rank its heads with "):
        truncated().restrict(["city", "ceo"])
    with pytest.raises(HeadsError, match="no task ceo"):
        truncated().candidates("ceo")


def test_what_a_file_says_of_all_tasks_does_not_outlive_a_restriction() -> None:
    ranking = replace(truncated(), listed_global=listed((1, 1, 0.4)))
    assert ranking.restrict(["city"]).listed_global is None
    assert ranking.restrict(["year", "city"]).listed_global == ranking.listed_global


def test_one_list_serves_every_task() -> None:
    heads = listed((1, 1, 2.0), (0, 0, 1.0))
    ranking = HeadRanking("flat.json", {EVERY_TASK: heads}, 2, every_task=True)
    assert ranking.scored("anything") == ranking.others("anything") == ranking.global_heads() == heads
    assert [s.head for s in ranking.shared()] == [Head(1, 1), Head(0, 0)]
    both = ranking.restrict(["city", "year"])
    assert both.candidates("city") == both.candidates("year") == ranking.candidates("x")
    assert [s.task_frequency for s in both.shared()] == [2, 2]
    assert both.restrict(["state"]).candidates("state") == ranking.candidates("x")


def test_the_other_tasks_of_an_only_task_are_an_error() -> None:
    with pytest.raises(HeadsError, match="holds the task city alone"):
        rank({"city": CITY}, top_k=1).others("city")


def test_a_head_that_the_model_lacks_is_named_with_its_entry() -> None:
    tasks = {"ceo_lastname": listed((1, 0, 0.9), (2, 0, 0.8), (3, 0, 0.7), (40, 2, 0.1))}
    ranking = HeadRanking("ranked_heads.json", tasks, 4)
    message = "ranked_heads.json: tasks.ceo_lastname[3]: layer 40, but the model has 32 layers (0-31)"
    with pytest.raises(HeadsError) as error:
        ranking.check_shape(ModelShape(32, 32))
    assert str(error.value) == message
    with pytest.raises(HeadsError, match=r"tasks\.ceo_lastname\[3\]: head 2, but the model has 2 heads \(0-1\)"):
        ranking.check_shape(ModelShape(64, 2))
    ranking.check_shape(ModelShape(41, 3))


def test_a_ranking_of_another_model_is_refused() -> None:
    ranking = rank({"city": CITY}, top_k=1)
    with pytest.raises(HeadsError, match="model: 2 layers of 3 heads, but the model has 32 of 32"):
        ranking.check_shape(ModelShape(32, 32))
    with pytest.raises(HeadsError, match="mean_scores: 2 layers of 3 heads"):
        replace(ranking, model=None).check_shape(ModelShape(32, 32))
    with pytest.raises(HeadsError, match="mean_scores: 2 layers of 3 heads, but the model has 4 of 3"):
        rank({"city": CITY}, top_k=1, model=ModelShape(4, 3))


def test_shared_and_global_entries_are_checked_too() -> None:
    with pytest.raises(HeadsError, match=r"global_heads\[0\]: layer 9"):
        replace(truncated(), listed_global=listed((9, 0, 1.0))).check_shape(ModelShape(2, 3))
    with pytest.raises(HeadsError, match=r"shared_heads\[0\]: layer 9"):
        replace(truncated(), listed_shared=(SharedHead(Head(9, 0), 2, 1.0),)).check_shape(ModelShape(2, 3))


def test_the_full_method_names_the_variant() -> None:
    ranking = rank({"city": CITY}, top_k=1, method="retrieval_score")
    assert ranking.full_method == "retrieval_score"
    assert replace(ranking, variant="authors").full_method == "retrieval_score, variant authors"
    assert truncated().full_method is None
