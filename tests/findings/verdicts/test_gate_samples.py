"""What a gate compares: rows that every condition of their part has, summed by cluster."""

import math
from dataclasses import replace

import pytest
from fake_gates import GATE, N_PERMUTATIONS, OWN, make_answers, make_rows

from harness.experiment.conditions import Condition
from harness.experiment.gate_conditions import Gate, Part
from harness.experiment.heads import Head
from harness.findings.samples import Sample
from harness.findings.verdicts.gate_samples import MEASURES, Answers, ClusterSums, lacking_samples, paired_sums

ROWS = make_rows(3)
CITY, YEAR = OWN


def name(part: Part, family: str, draw: int = 0) -> str:
    """A condition's name: of the judged heads, a control, or a permutation."""
    nested = part.judged if family == "judged" else getattr(part, family)[draw]
    return str(nested[-1].name)


def test_sums_by_cluster() -> None:
    """City rows under the city's own heads, year rows under the year's; draws are pooled by their number.

    The third filing's city is answered wrongly untouched, and rightly under heads: that is in no permutation's sum.
    """
    right = {
        "baseline": "++++-+",
        "needle_absent": "+-----",
        name(CITY, "judged"): "--+",
        name(YEAR, "judged"): "+-+",
        name(CITY, "controls", 0): "+-+",
        name(YEAR, "controls", 1): "--+",
        name(YEAR, "permutations", 3): "--+",
    }
    data = paired_sums(GATE, ROWS, make_answers(GATE, ROWS, right, {}))
    assert (data.n_controls, data.n_permutations) == (2, N_PERMUTATIONS)
    full = (2,) * N_PERMUTATIONS

    def less(n: int) -> tuple[int, ...]:
        return (*full[:3], 2 - n, *full[4:])

    assert (data.n_rows, data.n_answered) == (6, 5)

    assert data.clusters == (
        ClusterSums(2, 2, 1, 1, 1, (2, 1), 2, 1, less(1)),
        ClusterSums(2, 2, 0, 2, 0, (1, 1), 2, 0, less(1)),
        ClusterSums(2, 1, 0, 1, 2, (2, 2), 1, 1, (1,) * N_PERMUTATIONS),
    )
    assert data.lost() == pytest.approx(2 / 6)
    assert data.lost_to_controls() == pytest.approx((0.0, 1 / 6))
    assert data.lost_of_answered() == pytest.approx(3 / 5)
    assert data.lost_to_permutations()[3] == pytest.approx(2 / 5)


def test_filings_of_one_cluster_are_summed_together() -> None:
    rows = tuple(replace(row, cluster="a" if row.filename < "f02" else None) for row in ROWS)
    assert [cluster.n for cluster in paired_sums(GATE, rows, make_answers(GATE, rows, {}, {})).clusters] == [4, 2]


def test_a_row_that_any_condition_lacks_is_in_none() -> None:
    right = {name(YEAR, "controls", 1): "+.+", "needle_absent": "+-----"}
    answers = make_answers(GATE, ROWS, right, {})
    data = paired_sums(GATE, ROWS, answers)
    assert [(cluster.n, cluster.absent) for cluster in data.clusters] == [(2, 1), (1, 0), (2, 0)]
    assert lacking_samples(GATE, ROWS, answers) == (f"{name(YEAR, 'controls', 1)} (1 of 3 rows)",)


def test_a_permutation_lacks_nothing_where_the_untouched_model_is_wrong() -> None:
    right = {"baseline": "-+++++", name(CITY, "permutations", 2): ".+.", name(YEAR, "permutations", 5): "++."}
    answers = make_answers(GATE, ROWS, right, {})
    assert lacking_samples(GATE, ROWS, answers) == (
        f"{name(CITY, 'permutations', 2)} (1 of 2 rows)",
        f"{name(YEAR, 'permutations', 5)} (1 of 3 rows)",
    )
    data = paired_sums(GATE, ROWS, answers)
    assert [(cluster.n, cluster.answered) for cluster in data.clusters] == [(2, 1), (2, 2)]


def test_what_is_lacking_is_named() -> None:
    text = f"plain_text[{name(CITY, 'judged')}]"
    answers = make_answers(GATE, ROWS, {"baseline": "....++", name(CITY, "judged"): "..."}, {text: None})
    assert lacking_samples(GATE, ROWS, answers) == (
        "baseline (4 of 6 rows)",
        f"{name(CITY, 'judged')} (3 of 3 rows)",
        f"{text} (3 of 3 rows)",
    )


def test_of_a_band_a_row_counts_its_mean_over_all_k() -> None:
    """One of two k loses the row: half of it is lost, of judged heads, control and permutation alike."""

    def nested(experiment: str) -> tuple[Condition, ...]:
        return tuple(Condition(experiment, f"k{k:02d}", tuple(Head(0, i) for i in range(k)), k=k) for k in (1, 2))

    part = Part(nested("general"), (nested("control"),), (nested("permutation"),))
    gate = Gate("shared", (1, 2), (part,), GATE.reach)
    right = {"general[k02]": "-+++++", "control[k01]": "--++++", "permutation[k01]": "+-----"}
    data = paired_sums(gate, ROWS, make_answers(gate, ROWS, right, {}))
    assert [cluster.judged for cluster in data.clusters] == [1.5, 2, 2]
    assert [cluster.controls for cluster in data.clusters] == [(1.0,), (2.0,), (2.0,)]
    assert [cluster.permutations for cluster in data.clusters] == [(1.5,), (1.0,), (1.0,)]
    assert gate.name == "gate[shared-all-band]"


def test_the_lowest_heads_stand_beside() -> None:
    gate = replace(GATE, lowest=Condition("bottom", "k01", (Head(7, 7),), k=1))
    data = paired_sums(gate, ROWS, make_answers(gate, ROWS, {"bottom[k01]": "---+++"}, {}))
    assert [cluster.lowest for cluster in data.clusters] == [0, 1, 2]
    assert data.lost_to_lowest() == 0.5
    assert paired_sums(GATE, ROWS, make_answers(GATE, ROWS, {}, {})).lost_to_lowest() is None


def test_another_outcome_may_be_judged() -> None:
    def half(sample: Sample) -> float:
        return 0.5 if sample.match else 0.25

    data = paired_sums(GATE, ROWS, make_answers(GATE, ROWS, {name(CITY, "judged"): "---"}, {}), half)
    assert [(c.untouched, c.judged, c.right) for c in data.clusters] == [(1.0, 0.75, 2)] * 3


def test_nothing_is_nothing() -> None:
    assert paired_sums(GATE, (), make_answers(GATE, (), {}, {})).clusters == ()


def with_likelihood(answers: Answers, logprobs: dict[str, list[float | None]]) -> Answers:
    """By a condition's name one log-probability a row of its tasks, else that of certainty; `None` where unknown."""
    samples = {}
    for condition, by_row in answers.samples.items():
        values = logprobs.get(condition, [0.0] * len(by_row))
        samples[condition] = {
            row: sample.model_copy(update={"value_logprob": value})
            for (row, sample), value in zip(by_row.items(), values, strict=True)
        }
    return replace(answers, samples=samples)


def test_likelihood_is_judged_on_the_rows_whose_value_the_untouched_model_says() -> None:
    """Under the city's heads the value is half as likely on one row; one city row is not answered untouched."""
    absent: list[float | None] = [None] * 6
    found = with_likelihood(
        make_answers(GATE, ROWS, {}, {}),
        {
            "needle_absent": absent,
            "baseline": [0.0, 0.0, None, 0.0, 0.0, 0.0],
            name(CITY, "judged"): [math.log(0.5), None, 0.0],
        },
    )
    data = paired_sums(GATE, ROWS, found, MEASURES["likelihood"])
    assert [(cluster.n, cluster.judged) for cluster in data.clusters] == [(2, 1.5), (2, 2.0), (1, 1.0)]
    assert lacking_samples(GATE, ROWS, found, MEASURES["likelihood"]) == (), "not answered untouched: none is lacking"
    lost = with_likelihood(found, {"needle_absent": absent, name(CITY, "judged"): [0.0, None, 0.0]})
    assert lacking_samples(GATE, ROWS, lost, MEASURES["likelihood"]) == (f"{name(CITY, 'judged')} (1 of 3 rows)",)
