"""Ways of ablating beside each other; what heads cost over facts and plain text, by hand."""

import pytest

from harness.experiment.conditions import Condition
from harness.experiment.heads import Head
from harness.findings.damage import DamageShare
from harness.findings.samples import Sample, TextSample
from harness.findings.ways import Elsewhere, WayResult, WaysData, elsewhere, ways_lines

SETS = [Condition("random_control", f"seed{i}", (Head(0, i),), k=1, seed=i) for i in range(2)]
BEFORE = ("baseline", "baseline")


def fact(condition: str, number: int, right: bool) -> Sample:
    return Sample(
        condition=condition,
        row=f"fact{number}/fact{number}",
        filename=f"fact{number}",
        cluster=f"fact{number}",
        task=f"fact{number}",
        depth=None,
        value="7",
        completion="7",
        match=right,
        published_match=right,
        ended=True,
        faults=(),
        tokens=1,
        gold_logprob=None,
        baseline_logprob=None,
        own={},
    )


def text(condition: str, filing: str, per_token: float) -> TextSample:
    return TextSample(condition, f"{filing}/a", filing, per_token)


def test_what_sets_of_heads_cost_where_nothing_is_retrieved() -> None:
    """Four facts, three known; one set loses one of them, the other two. One that comes to be known counts nothing."""
    known = [True, True, True, False]
    facts = [fact("baseline", i, right) for i, right in enumerate(known)]
    facts += [fact(SETS[0].name, i, right) for i, right in enumerate([False, True, True, True])]
    facts += [fact(SETS[1].name, i, right) for i, right in enumerate([False, False, True, False])]
    texts = [text("baseline", "f1", -2.0), text("baseline", "f2", -3.0)]
    texts += [text(SETS[0].name, "f1", -2.5), text(SETS[1].name, "f1", -2.3), text(SETS[0].name, "f2", -3.2)]
    found = elsewhere(SETS, facts, texts, untouched=BEFORE)
    assert (found.experiment, found.k, found.facts, found.known, found.texts) == ("random_control", 1, 4, 3, 2)
    assert found.facts_lost == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.text_change == pytest.approx((-0.4 - 0.2) / 2)
    assert found.facts_interval is not None
    assert found.facts_interval[0] < 0.5 < found.facts_interval[1]
    assert found.text_interval is not None


def test_a_model_that_knows_no_facts_can_lose_none() -> None:
    found = elsewhere(SETS, [fact("baseline", 0, False), fact(SETS[0].name, 0, True)], [], untouched=BEFORE)
    assert (found.known, found.facts_lost, found.text_change) == (0, None, None)
    (line,) = [line for line in ways_lines(data(found)) if "zeroed, " in line]
    assert line == ("  zeroed, facts and sums: the untouched model answers none of 1; plain text: not measured")


SHARE = DamageShare(
    experiment="random_control",
    k=1,
    gate="own",
    outcome="accuracy",
    n=10,
    clusters=5,
    drop=0.2,
    drop_interval=(0.1, 0.3),
    zeroed=0.5,
    share=0.4,
    interval=(0.25, 0.6),
    blind=0.5,
)


def data(beside: Elsewhere | None = None) -> WaysData:
    likely = SHARE.model_copy(update={"outcome": "likelihood", "drop": 1.25, "drop_interval": None, "share": None})
    ways = (
        WayResult(way="zeroed", mode="zero", phase="all", shares=()),
        WayResult(way="kept from the needle", mode="needle_edge", phase="decode", shares=(SHARE, likely)),
    )
    return WaysData(
        model="tiny",
        source="rows.csv",
        k=1,
        rows=10,
        clusters=5,
        draws=2,
        ways=ways,
        elsewhere=() if beside is None else (beside,),
    )


def test_a_table_for_each_group_of_heads() -> None:
    first, group, _, zeroed, kept = ways_lines(data())
    assert first == "tiny, k=1, 10 rows in 5 clusters of rows.csv"
    assert group == "random heads (k=1, mean of 2 draws)"
    assert zeroed.split() == ["zeroed", "not", "measured", "not", "measured"]
    assert "+20.0 points [+10.0, +30.0]  40% [25%, 60%]" in kept
    assert kept.split("]  40% [25%, 60%]")[1].split(maxsplit=1) == ["+1.2", "50% see no needle"]


def test_its_file_reads_back() -> None:
    whole = data(elsewhere(SETS, [], [], untouched=BEFORE))
    assert WaysData.model_validate_json(whole.model_dump_json()) == whole
