"""Gates on the demo, whose truth is known: its ranking passes, a shuffled one does not, and traps are seen.

Two of its nine tasks and ten of its filings are just enough; what one test computes, the others find in the store.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from harness.demo import RANKING_FILE
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.rankings import HeadRanking, rank
from harness.retrieval.rows import filing_hash
from harness.settings import Settings
from harness.study.inputs import read_inputs
from plugin.project import Project

TASKS = "employees_count_total,registrant_name"
SHORT = "--ablation-seq-len=90"
"""Filings of so many tokens, where it is no matter that heads which scored low are needed in longer ones."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gates") / "store.sqlite"


@pytest.fixture
def demo(project: Project, store: Path) -> Project:
    project.only_ini(
        filterwarnings="error",
        ablation_store=str(store),
        ablation_tasks=TASKS,
        ablation_random_draws="3",
        ablation_max_new_tokens="8",
    )
    return project


def verdicts(demo: Project, *arguments: str, rows: int = 20) -> dict[str, str]:
    demo.run("evals", "-m", "gate", f"--ablation-max-rows={rows}", *arguments)
    return {gate["name"]: gate["verdict"] for gate in demo.report()["gates"]}


OWN, SHARED, GLOBAL = (f"gate[{heads}-all-k20]" for heads in ("own", "shared", "pooled"))


def test_the_demos_own_ranking_passes_and_so_do_its_lowest_heads(demo: Project) -> None:
    """What a pass is worth: the heads are needed. The lowest-scoring are too, so it says nothing of the ranking."""
    result = demo.run("evals", "-m", "gate", "--ablation-max-rows=20")
    result.assert_outcomes(passed=3, deselected=len(demo.ids("evals")) - 3)
    for gate, name in zip(demo.report()["gates"], (OWN, SHARED, GLOBAL), strict=True):
        assert (gate["name"], gate["verdict"], gate["clusters"], gate["n"]) == (name, "pass", 10, 20)
        assert gate["damage"] == "lost answers"
        assert gate["lowest"]["would_pass"]
    assert [part["holds"] for part in demo.report()["claim"]["parts"]] == [True] * 3
    assert any("they would pass too: a pass does not say" in line for line in result.outlines)
    (start,) = [i for i, line in enumerate(result.outlines) if "= ablation =" in line]
    assert result.outlines[start + 1].startswith(f"{OWN}        pass ")


def test_eighteen_answers_in_nine_filings_are_too_little_to_lose(demo: Project) -> None:
    assert set(verdicts(demo, rows=18).values()) == {"invalid"}
    for gate in demo.report()["gates"]:
        assert gate["reasons"][0].startswith("18 right answers in 9 clusters rest on the needle")


def test_heads_whose_loss_breaks_the_model_are_invalid(demo: Project) -> None:
    """All heads of layers 0 and 2 and ten of layer 1. Once: `pass`, with "broken model" printed under it."""
    heads = [(layer, head) for layer in (0, 2) for head in range(16)] + [(1, head) for head in range(10)]
    (demo.path / "mine.json").write_text(json.dumps(heads))
    given = ("--ablation-heads=mine.json", "--ablation-k=42", "--ablation-heads-held-out", SHORT, "-k", "shared")
    assert verdicts(demo, *given, rows=6) == {"gate[shared-all-k42]": "invalid"}
    (gate,) = demo.report()["gates"]
    assert gate["damage"] == "broken model"
    assert any(reason.startswith("these heads break the model (") for reason in gate["reasons"])


def written(ranking: HeadRanking, demo: Project) -> str:
    write_ranking(ranking, demo.path / "mine.json")
    return "--ablation-heads=mine.json"


def test_a_ranking_made_from_the_evaluated_filings_is_invalid(demo: Project) -> None:
    """The same heads; but they were chosen by looking at the very filings that they are judged on."""
    ranking = read_ranking(RANKING_FILE)
    rows = read_inputs(Settings()).rows
    hashes = frozenset(filing_hash(row.filename, ranking.split_seed or 0) for row in rows)
    given = written(replace(ranking, filing_hashes=hashes), demo)
    assert verdicts(demo, given) == dict.fromkeys((OWN, SHARED, GLOBAL), "invalid")
    for gate in demo.report()["gates"]:
        assert gate["reasons"] == [
            "10 of the evaluated filings also made the ranking of the heads; rank on others, or leave these out"
        ]


def test_a_shuffled_ranking_does_not_pass(demo: Project) -> None:
    ranking = read_ranking(RANKING_FILE)
    assert ranking.mean_scores is not None
    places = list(range(8 * 16))
    random.Random(1).shuffle(places)
    scores = {}
    for task, grid in ranking.mean_scores.items():
        whole = [score for layer in grid for score in layer]
        scores[task] = [[whole[places[16 * layer + head]] for head in range(16)] for layer in range(8)]
    shuffled = rank(scores, top_k=20, model=ranking.model, samples=ranking.samples)
    known = replace(shuffled, filing_hashes=ranking.filing_hashes, split_seed=ranking.split_seed)
    found = verdicts(demo, written(known, demo), SHORT, "-k", "own")
    assert set(found) == {OWN}
    assert found[OWN] in ("inconclusive", "fail")
    assert demo.report()["gates"][0]["difference"] < 0.1
