import itertools
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.heads import Head
from harness.experiment.intervention import Manner
from harness.experiment.plan import Job, RowWork, by_filing, jobs_of, make_plan, rounds, share_out, untouched
from harness.retrieval.rows import Row


def row(filename: str, task: str) -> Row:
    return Row(filename, task, "The CEO is Ann Lee.", "Lee", "Some text. More text.")


ROWS = (row("f1", "ceo"), row("f1", "city"), row("f2", "ceo"))
A, B = Head(1, 0), Head(2, 3)


def nothing(_jobs: Sequence[Job]) -> tuple[Job, ...]:
    return ()


def test_a_conditions_jobs_are_those_of_its_tasks_rows() -> None:
    assert jobs_of(Condition("x", heads=(A, B), tasks=("ceo",)), ROWS) == (
        Job("f1/ceo", frozenset({B, A})),
        Job("f2/ceo", frozenset({A, B})),
    )
    assert [job.row_id for job in jobs_of(BASELINE, ROWS)] == ["f1/ceo", "f1/city", "f2/ceo"]
    assert jobs_of(Condition("x", tasks=("year",)), ROWS) == ()


def test_the_manner_is_that_of_ablated_jobs_alone() -> None:
    manner = Manner("mean", "decode")
    plan = make_plan([Condition("x", heads=(A,)), NEEDLE_ABSENT], ROWS[:1], manner, stored=nothing)
    assert plan.work[0].jobs == (
        Job("f1/ceo", frozenset()),
        Job("f1/ceo", frozenset({A}), "full", "mean", "decode"),
        Job("f1/ceo", frozenset(), "needle_absent"),
    )
    assert jobs_of(BASELINE, ROWS, manner) == jobs_of(BASELINE, ROWS)


def test_equal_heads_on_equal_rows_are_one_job_and_the_baseline_is_first() -> None:
    conditions = [
        Condition("within", heads=(A, B), tasks=("ceo",)),
        Condition("general", heads=(B, A)),
        Condition("empty", heads=()),
    ]
    plan = make_plan(conditions, ROWS, stored=nothing)
    assert [work.row.id for work in plan.work] == ["f1/ceo", "f1/city", "f2/ceo"]
    for work in plan.work:
        assert work.jobs == (Job(work.row.id, frozenset()), Job(work.row.id, frozenset({A, B})))
    # within 2 + general 3 + empty 3 + baseline 3
    assert (plan.requested, plan.distinct, plan.stored) == (11, 6, 0)


def test_the_baseline_is_added_only_where_a_full_prompt_is_asked_for() -> None:
    plan = make_plan([NEEDLE_ABSENT], ROWS[:1], stored=nothing)
    assert plan.work[0].jobs == (Job("f1/ceo", frozenset(), "needle_absent"),)
    assert plan.requested == 1
    plan = make_plan([NEEDLE_ABSENT, Condition("x", heads=(A,), tasks=("ceo",))], ROWS[:2], stored=nothing)
    assert [[(job.prompt, len(job.heads)) for job in work.jobs] for work in plan.work] == [
        [("full", 0), ("needle_absent", 0), ("full", 1)],
        [("needle_absent", 0)],
    ]


def test_rows_that_no_condition_covers_are_not_in_the_plan() -> None:
    plan = make_plan([Condition("x", heads=(A,), tasks=("city",))], ROWS, stored=nothing)
    assert [work.row.id for work in plan.work] == ["f1/city"]
    assert make_plan([], ROWS, stored=nothing).work == ()


def test_a_baseline_that_is_asked_for_is_not_requested_twice() -> None:
    plan = make_plan([Condition("x", heads=(A,)), BASELINE], ROWS, stored=nothing)
    assert (plan.requested, plan.distinct) == (6, 6)
    assert all(work.jobs[0].heads == frozenset() for work in plan.work)


def test_stored_jobs_are_left_out_and_finished_rows_with_them() -> None:
    done = {Job("f1/ceo", frozenset()), Job("f1/city", frozenset()), Job("f1/city", frozenset({A}))}
    plan = make_plan([Condition("x", heads=(A,))], ROWS, stored=lambda _jobs: done)
    assert [(work.row.id, len(work.jobs)) for work in plan.work] == [("f1/ceo", 1), ("f2/ceo", 2)]
    assert (plan.requested, plan.distinct, plan.stored) == (6, 6, 3)


conditions = st.lists(
    st.builds(
        Condition,
        experiment=st.just("x"),
        heads=st.lists(st.sampled_from([A, B, Head(0, 1)]), unique=True).map(tuple),
        tasks=st.sampled_from([None, ("ceo",), ("city", "ceo"), ("year",)]),
        prompt=st.sampled_from(["full", "needle_absent"]),
    ),
    max_size=6,
)


@settings(derandomize=True, deadline=None)
@given(conditions, st.sampled_from([lambda job: False, lambda job: len(job.heads) == 1, lambda job: True]))
def test_a_plan_is_everything_asked_for_less_what_is_stored(
    asked: list[Condition], stored: Callable[[Job], bool]
) -> None:
    plan = make_plan(asked, ROWS, stored=lambda jobs: set(filter(stored, jobs)))
    wanted = {job for condition in asked for job in jobs_of(condition, ROWS)}
    wanted |= {Job(job.row_id, frozenset()) for job in wanted if job.prompt == "full"}
    planned = [job for work in plan.work for job in work.jobs]
    assert sorted(map(repr, planned)) == sorted(repr(job) for job in wanted if not stored(job))
    assert plan.distinct == len(wanted)
    assert plan.stored == sum(map(stored, wanted))
    assert all(job.row_id == work.row.id for work in plan.work for job in work.jobs)


PERMUTED = Condition("permutation", heads=(B,), only_right=True)


def test_what_hangs_on_an_answer_that_is_not_known_stands_apart_and_is_asked_in_a_second_round() -> None:
    """Equal heads that another condition asks anyway hang on nothing."""
    plan = make_plan([Condition("x", heads=(A,), tasks=("ceo",)), PERMUTED], ROWS[:2], stored=nothing)
    before, a, b = (frozenset[Head](), frozenset({A}), frozenset({B}))
    assert [([job.heads for job in work.jobs], [job.heads for job in work.if_right]) for work in plan.work] == [
        ([before, a], [b]),
        ([before], [b]),
    ]
    assert (plan.requested, plan.distinct, plan.stored, plan.if_right) == (5, 5, 0, 2)
    first, rest = rounds(plan.work)
    assert [[job.heads for job in work.jobs] for work in first] == [[before], [before]]
    assert [[job.heads for job in work.jobs] for work in rest] == [[a, b], [b]]
    plan = make_plan([Condition("x", heads=(B,)), PERMUTED], ROWS[:1], stored=nothing)
    assert (plan.distinct, plan.if_right, rounds(plan.work)) == (2, 0, ((), plan.work))


def test_where_the_answer_is_known_nothing_hangs_on_it() -> None:
    """The first row is answered wrongly, the second rightly, the third not yet."""
    done = {untouched("f1/ceo"), untouched("f1/city")}
    plan = make_plan([PERMUTED], ROWS, stored=lambda _jobs: done, wrong={"f1/ceo"})
    assert [(work.row.id, len(work.jobs), len(work.if_right)) for work in plan.work] == [
        ("f1/city", 1, 0),
        ("f2/ceo", 1, 1),
    ]
    # the wrong row is asked under no condition, so not the baseline either
    assert (plan.requested, plan.distinct, plan.stored) == (4, 4, 1)
    assert [job.row_id for job in jobs_of(PERMUTED, ROWS, wrong={"f1/ceo"})] == ["f1/city", "f2/ceo"]
    assert len(jobs_of(BASELINE, ROWS, wrong={"f1/ceo"})) == 3


def test_jobs_of_one_content_are_done_once() -> None:
    """Plain text of one document, asked of two of its rows."""
    text = Condition("plain_text", prompt="plain_text")

    def content(job: Job) -> object:
        return job if job.prompt == "full" else (job.row_id.split("/")[0], job.heads)

    plan = make_plan([BASELINE, text], ROWS, stored=nothing, content=content)
    assert [[job.prompt for job in work.jobs] for work in plan.work] == [
        ["full", "plain_text"],
        ["full"],
        ["full", "plain_text"],
    ]
    assert (plan.requested, plan.distinct) == (6, 5)


def test_rows_of_a_filing_stand_together() -> None:
    work = [RowWork(Row(f"f{filing}", "ceo_lastname", "n", "v", "h"), ()) for filing in (0, 1, 0, 2, 1, 0, 0)]
    names = [[each.row.filename for each in group] for group in by_filing(work)]
    assert names == [["f0"] * 4, ["f1"] * 2, ["f2"]]
    assert not by_filing([])


def test_groups_are_cut_where_there_are_few_for_each_worker() -> None:
    work = [RowWork(Row(f"f{row % 2}", "ceo_lastname", "n", "v", "h"), ()) for row in range(16)]
    assert [len(group) for group in by_filing(work, 1)] == [8, 8]
    assert [len(group) for group in by_filing(work, 2)] == [2] * 8
    assert [len(group) for group in by_filing(work, 100)] == [1] * 16
    assert [each for group in by_filing(work, 2) for each in group] == [
        each for group in by_filing(work) for each in group
    ]


@given(st.lists(st.integers(0, 50), max_size=7), st.integers(1, 3))
def test_groups_are_shared_out_by_what_they_cost(costs: list[int], parts: int) -> None:
    """Each to one part; of all ways to share them out the best is hardly better."""

    def dearest(part_of: Sequence[int]) -> int:
        return max(
            sum(cost for cost, part in zip(costs, part_of, strict=True) if part == each) for each in range(parts)
        )

    found = share_out(costs, parts)
    assert 3 * dearest(found) <= 4 * min(map(dearest, itertools.product(range(parts), repeat=len(costs))))
    assert found == share_out(costs, parts)


def test_the_dearest_groups_are_shared_out_first() -> None:
    assert share_out([1, 5, 3, 3, 2], 2) == (1, 0, 1, 1, 0)
    assert share_out([], 3) == ()
    assert share_out([7], 3) == (0,)


@given(st.integers(1, 5), st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_parts_of_a_plan_are_all_of_it_and_nothing_twice(parts: int, filings: list[int]) -> None:
    """Also where jobs of several rows are one, and the one that does it is another part's."""
    rows = [Row(f"f{filing}", f"task{i}", "n", "v", "h") for i, filing in enumerate(filings)]
    conditions = [Condition("x", heads=(A,)), Condition("text", prompt="plain_text"), PERMUTED]

    def content(job: Job) -> object:
        return job if job.prompt == "full" else (job.row_id.split("/")[0], job.heads)

    whole = make_plan(conditions, rows, stored=nothing, content=content)
    groups = by_filing(whole.work, parts)
    part_of = share_out([len(group) for group in groups], parts)
    found = []
    for part in range(parts):
        mine = {work.row.id for group, p in zip(groups, part_of, strict=True) if p == part for work in group}
        found.append(make_plan(conditions, rows, stored=nothing, content=content, only=mine))
        assert {work.row.id for work in found[-1].work} == mine
    assert sorted((work for plan in found for work in plan.work), key=lambda work: work.row.id) == sorted(
        whole.work, key=lambda work: work.row.id
    )
    for name in ("requested", "distinct", "stored", "if_right"):
        assert sum(getattr(plan, name) for plan in found) == getattr(whole, name)
