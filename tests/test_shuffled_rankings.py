"""Shuffled rankings: what a shuffling keeps, and that no gate is left out that could have passed."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shuffled_rankings import FILE, cannot_pass, shuffled

from harness.demo import RANKING_FILE
from harness.errors import HeadsError
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import HeadRanking
from harness.findings.verdicts.gate_samples import ClusterSums, GateData, Premises
from harness.findings.verdicts.gates import judge
from harness.findings.verdicts.verdict_data import Margins

DEMO = read_ranking(RANKING_FILE)
SHAPE = ModelShape(8, 16)


def shared_by(ranking: HeadRanking) -> Counter[int]:
    """How many heads are among the first twenty of how many tasks."""
    often = Counter(head for task in ranking.tasks for head in ranking.candidates(task)[:20])
    return Counter(often.values())


def test_the_guide_says_what_the_committed_file_holds() -> None:
    root = Path(__file__).parents[1]
    folder = root / "reports" / "shuffled_rankings"
    found, within = (json.loads((folder / place / FILE).read_text()) for place in ("", "within_layers"))
    assert [(each["layers"], len(each["verdicts"])) for each in (found, within)] == [(None, 3), (1, 3)]
    for each in (found, within):
        assert each["seeds"] == [0, 100]
        for gate, verdicts in each["verdicts"].items():
            assert sum(verdicts.values()) == 100, gate
            assert verdicts.get("pass", 0) <= 5, gate
    assert not any(gate["verdict"] == "pass" for each in (found, within) for gate in each["gates"]), "none, it says"


def test_one_permutation_serves_every_task() -> None:
    made = shuffled(DEMO, SHAPE, 3)
    assert made.mean_scores is not None
    assert DEMO.mean_scores is not None
    assert shared_by(made) == shared_by(DEMO)
    assert made.candidates("ceo_lastname") != DEMO.candidates("ceo_lastname")
    assert sorted(sum(made.mean_scores["ceo_lastname"], ())) == sorted(sum(DEMO.mean_scores["ceo_lastname"], ()))
    assert (made.filing_hashes, made.split_seed) == (DEMO.filing_hashes, DEMO.split_seed)
    assert shuffled(DEMO, SHAPE, 4).candidates("ceo_lastname") != made.candidates("ceo_lastname")


def test_within_layers_each_layer_keeps_its_scores() -> None:
    made = shuffled(DEMO, SHAPE, 3, layers=1)
    for before, after in zip((DEMO.mean_scores or {}).values(), (made.mean_scores or {}).values(), strict=True):
        assert [sorted(layer) for layer in before] == [sorted(layer) for layer in after]
        assert before != after


def test_a_ranking_without_all_scores_cannot_be_shuffled() -> None:
    with pytest.raises(HeadsError, match="not all scores are known"):
        shuffled(HeadRanking(source="a", tasks=DEMO.tasks, top_k=20), SHAPE, 0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(5, 9), st.integers(0, 9), st.integers(7, 9)), min_size=10, max_size=25),
    st.sampled_from([0.05, 0.1, 0.3]),
)
def test_a_gate_that_is_left_out_would_not_have_passed(rows: list[tuple[int, int, int]], margin: float) -> None:
    """Clusters of nine rows, controls that leave the most, and permutations that lose none."""
    clusters = tuple(
        ClusterSums(9, before, 0, before, kept, (left,) * 19, before, min(kept, before), (before,) * 19)
        for before, kept, left in rows
    )
    data = GateData(19, 19, clusters)
    found = judge(data, Margins(margin=margin), Premises(leaked_filings=0), bootstrap=False)
    untouched, judged = (sum(getattr(each, name) for each in clusters) for name in ("untouched", "judged"))
    if cannot_pass(9 * len(rows), untouched, judged, margin):
        assert found.verdict != "pass"
    else:
        assert (9 * len(rows) - judged) / untouched > margin
