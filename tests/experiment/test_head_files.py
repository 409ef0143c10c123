import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from head_documents import listed, places, write
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HeadsError
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import HeadRanking, rank
from harness.experiment.stability import ListStability, Stability
from harness.findings.rankings.ranking_summary import ranking_notes
from harness.retrieval.traces import PLACES, Extent, Traces

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "edgar_haystack"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published head files at {PUBLISHED}")


LIST = ListStability({Head(0, 2): (0.5, 1.0), Head(1, 0): (0.001, 0.125)}, (0, 1))


@published
def test_the_newer_published_file() -> None:
    ranking = read_ranking(PUBLISHED / "ranked_heads.json")
    ranking.check_shape(ModelShape(32, 32))
    assert {task: len(ranking.candidates(task)) for task in ranking.tasks} == dict.fromkeys(ranking.tasks, 128)
    assert len(ranking.tasks) == 9
    assert ranking.listed_shared is not None
    shared = [entry.head for entry in ranking.shared()]
    assert len(shared) == 102
    assert set(shared) == {entry.head for entry in ranking.listed_shared}
    assert ranking.listed_global is not None
    assert len(ranking.listed_global) == 128
    # at 32 the two lists differ in one head
    best = [entry.head for entry in ranking.global_heads()[:32]]
    assert set(shared[:32]) ^ set(best) == {Head(13, 18), Head(17, 29)}


@published
def test_the_older_published_file() -> None:
    ranking = read_ranking(PUBLISHED / "ranked_heads_v1.json")
    assert (len(ranking.tasks), ranking.top_k) == (9, 20)
    assert {len(heads) for heads in ranking.tasks.values()} == {20}
    assert ranking.listed_global is None
    assert ranking.model is None
    assert 7 <= len(ranking.shared()) <= 8


def test_the_envelope_of_locos_says_its_method(tmp_path: Path) -> None:
    ranking = read_ranking(write(tmp_path, {"meta": {"method": "logit_contribution"}, "scores": {"1-0": [-0.5, 1.5]}}))
    assert (ranking.method, ranking.every_task) == ("logit_contribution", True)
    assert ranking.scored("any") == listed((1, 0, 0.5))
    with pytest.raises(HeadsError, match=r"ranked_heads\.json: 1-0: no trials; expected at least one"):
        read_ranking(write(tmp_path, {"meta": {}, "scores": {"1-0": []}}))


@pytest.mark.parametrize("name", ["heads.tsv", "heads.txt", "heads"])
def test_what_is_no_json_is_told_the_formats_that_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("attn_head_set: 35-17,35-27\n")
    with pytest.raises(HeadsError) as caught:
        read_ranking(path)
    said = str(caught.value)
    assert said.startswith(f'{name}: not JSON; expected {{"tasks": {{TASK: [{{"layer": 17, "head": 24')
    assert said.endswith('[[17, 24]] or [["13-18", 0.5]], in JSON; convert it')
    path.write_text('{"1-0": [1.0]}')
    for other in (path, path.with_suffix(".yaml")):
        path.rename(other)
        path = other
        assert read_ranking(path).candidates("any") == (Head(1, 0),), "JSON under another name is read"


def test_top_k_is_the_files_else_the_callers_else_the_length(tmp_path: Path) -> None:
    heads = places((0, 0), (0, 1), (1, 0))
    assert read_ranking(write(tmp_path, {"tasks": {"a": heads}}), top_k=2).candidates("a") == (
        Head(0, 0),
        Head(0, 1),
    )
    assert read_ranking(write(tmp_path, {"a": heads}), top_k=1).top_k == 1
    assert read_ranking(write(tmp_path, [[0, 0], [0, 1]]), top_k=1).candidates("a") == (Head(0, 0),)
    for key in ("top_k", "per_task_top_k"):
        assert read_ranking(write(tmp_path, {key: 3, "tasks": {"a": heads}}), top_k=2).top_k == 3
    assert read_ranking(write(tmp_path, {"a": heads, "b": heads[:1]})).top_k == 3


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": [{"layer": -1, "head": 0, "score": 1}]}, "a[0].layer: -1; expected an integer from 0 up"),
        ({"a": [{"layer": 1.5, "head": 0, "score": 1}]}, "a[0].layer: 1.5; expected an integer"),
        ({"a": [{"layer": 1, "head": "x", "score": 1}]}, "a[0].head: 'x'; expected an integer"),
        (
            {"tasks": {"a": [*places((0, 0)), {"layer": 1, "head": 0}]}},
            "tasks.a[1]: {'layer': 1, 'head': 0}; expected a score",
        ),
        ({"a": [{"head": [1, 0], "avg_score": None}]}, "a[0].score: None; expected a number"),
        ({"a": [{"head": [1, 0], "avg_score": math.nan}]}, "a[0].score: nan; expected a finite number"),
        ({"a": [{"score": 1.0}]}, "a[0]: {'score': 1.0}; expected a head"),
        (
            {"tasks": {"a": places((1, 1), (2, 2), (1, 1))}},
            "tasks.a[2]: L1H1 again, after tasks.a[0]; expected each head once",
        ),
        ([["1-1", 0.5], ["1-2", 0.75]], "[1]: score 0.75 after 0.5; expected a list that is best first"),
        ([["1:1", 0.5]], "[0]: head '1:1'; expected layer and head"),
        ([[1, 1], [1, 1]], "[1]: L1H1 again, after [0]"),
        ([[1, 1], [1, 1, 1]], "[1]: [1, 1, 1]; expected a head"),
        ({"1-1": [0.5, None]}, "1-1[1]: None; expected a number"),
        ({"1-1": []}, "1-1: no trials; expected at least one"),
        ({"1-1": [1], "01-1": [1]}, "01-1: L1H1 again; expected each head once"),
        ({"top_k": 0, "tasks": {"a": places((1, 1))}}, "top_k: 0; expected an integer from 1 up"),
        ({"tasks": {}}, "no tasks"),
        ({"tasks": {"a": []}}, "no tasks, or one without heads"),
        ({"tasks": {"a": {"layer": 1}}}, "tasks.a: {'layer': 1}; expected a list"),
        ({"schema_version": True, "tasks": {"a": places((1, 1))}}, "schema_version: True; expected an integer"),
        ({"every_task": 1, "tasks": {"a": places((1, 1))}}, "every_task: 1; expected true or false"),
        ({"schema_version": 2, "tasks": {"a": places((1, 1))}}, "schema_version 2; expected at most 1"),
        (
            {"schema_version": 1, "model": "x", "tasks": {"a": places((0, 0))}},
            "model: 'x'; expected an object with 'n_layers'",
        ),
        (
            {"tasks": {"a": places((0, 0))}, "mean_scores": {"a": [[0.5]]}},
            "tasks.a[0]: score 1.0, but 0.5 in mean_scores",
        ),
        (
            {"tasks": {"a": places((4, 0))}, "mean_scores": {"a": [[0.5]]}},
            "tasks.a[0]: layer 4, but the model has 1 layers",
        ),
        (
            {"tasks": {"a": places((0, 0)), "b": places((0, 0))}, "chance": {"b": 0.1, "c": 0.1}},
            "chance: none of a; expected one of every task",
        ),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(HeadsError) as error:
        read_ranking(write(tmp_path, document))
    assert str(error.value).startswith(f"ranked_heads.json: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("document", [{}, [], 3, "heads", None, {"a": 1}, [1, 2], [[]], {"tasks": 3}, [[1.5, 2]]])
def test_an_unknown_format_lists_what_is_accepted(tmp_path: Path, document: object) -> None:
    with pytest.raises(HeadsError) as error:
        read_ranking(write(tmp_path, document))
    assert str(error.value).startswith("ranked_heads.json: not a known format of ranked heads; expected {")
    for part in ('"tasks"', '"avg_score"', '"16-19"', '"head_rankings"', "[[17, 24]]", '[["13-18", 0.5]]'):
        assert part in str(error.value)


scores = st.floats(-1, 1, allow_nan=False)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.lists(scores, min_size=12, max_size=12),
    st.integers(1, 6),
    st.sampled_from([None, {"ceo": 3, "städte": 1}]),
    st.sampled_from([None, frozenset[str](), frozenset({"ab", "0c"})]),
)
def test_what_is_written_is_read_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    top_k: int,
    samples: dict[str, int] | None,
    hashes: frozenset[str] | None,
) -> None:
    grids = {"ceo": [values[:3], values[3:6]], "städte": [values[6:9], values[9:]]}
    made = replace(
        rank(
            grids,
            top_k=top_k,
            samples=samples,
            method="summed_attention",
            model=ModelShape(2, 3, 40, "m", "r1"),
        ),
        source="heads.json",
        filing_hashes=hashes,
        split_seed=None if hashes is None else -3,
        split_share=None if hashes is None else 0.7,
        traces=None if hashes is None else Traces(hashes, hashes, frozenset(), frozenset({bytes(range(PLACES))})),
        split_half={"ceo": 0.1 + 0.2},
        chance=None if hashes is None else {"ceo": 0.05, "städte": 1e-9},
        stability=None if hashes is None else Stability(5, 1000, {"städte": LIST}, LIST, None),
        extent=None if hashes is None else Extent(226.5, (0.0, 0.1 + 0.2, 1.0)),
        variant="authors",
    )
    path = tmp_path_factory.mktemp("heads") / "heads.json"
    write_ranking(made, path)
    again = read_ranking(path)
    assert again == replace(made, listed_shared=made.shared(), listed_global=made.global_heads()[:top_k])
    assert repr(again.mean_scores) == repr(made.mean_scores)  # -0.0 too
    first = path.read_bytes()
    write_ranking(again, path)
    assert path.read_bytes() == first
    assert not any("shared heads" in note or "global heads," in note for note in ranking_notes(again))


def test_a_signature_of_another_length(tmp_path: Path) -> None:
    traces = {"cluster_hashes": [], "haystack_hashes": [], "needle_hashes": [], "signatures": ["0a"]}
    document = {"schema_version": 1, "tasks": {"ceo": places((0, 0))}, "traces": traces}
    with pytest.raises(HeadsError, match=r"traces.signatures\[0\]: '0a'; expected 64 bytes in hex"):
        read_ranking(write(tmp_path, document))


@pytest.mark.parametrize(
    ("in_top", "said"),
    [
        ({"0-0": [1.5]}, r"stability.shared_heads.in_top.0-0\[0\]: 1.5; expected a number from 0 to 1"),
        ({"first": [0.5]}, "stability.shared_heads.in_top: "),
        ({"0-0": 0.5}, "stability.shared_heads.in_top.0-0: 0.5; expected a list"),
    ],
)
def test_a_stability_that_is_none(tmp_path: Path, in_top: object, said: str) -> None:
    found = {"clusters": 5, "resamples": 9, "tasks": {}, "shared_heads": {"least_kept": [0], "in_top": in_top}}
    document = {"schema_version": 1, "tasks": {"ceo": places((0, 0))}, "stability": found}
    with pytest.raises(HeadsError, match=said):
        read_ranking(write(tmp_path, document))


@pytest.mark.parametrize(
    ("depths", "said"),
    [
        ([0.5, 0.25, 0.75], "extent.depths: .*; expected three quartiles, none below the one before it"),
        ([0.5], "extent.depths: .*; expected three quartiles"),
        ([0.1, 0.2, 2], r"extent.depths\[2\]: 2; expected a number from 0 to 1"),
    ],
)
def test_an_extent_that_is_none(tmp_path: Path, depths: list[float], said: str) -> None:
    document = {"schema_version": 1, "tasks": {"ceo": places((0, 0))}, "extent": {"tokens": 7, "depths": depths}}
    with pytest.raises(HeadsError, match=said):
        read_ranking(write(tmp_path, document))


def test_a_list_for_every_task_and_a_cut_one_survive_conversion(tmp_path: Path) -> None:
    cut = {
        "tasks": {"a": places((0, 0), (0, 1)), "b": places((0, 1), (2, 0))},
        "global_heads": places((5, 5)),
    }
    for document in ([[3, 1], [0, 2]], cut):
        ranking = read_ranking(write(tmp_path, document))
        path = tmp_path / "ours.json"
        write_ranking(ranking, path)
        again = read_ranking(path)
        assert again.tasks == ranking.tasks
        assert again.every_task == ranking.every_task
        assert again.global_heads() == ranking.global_heads()
        assert again.shared() == ranking.shared()


def test_our_file_is_one_of_the_study_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "heads.json"
    write_ranking(rank({"ceo": [[0.25, 0.5]]}, top_k=2, samples={"ceo": 4}), path)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    assert document["per_task_top_k"] == document["top_k"] == 2
    assert document["tasks"] == {"ceo": [{"layer": 0, "head": 1, "score": 0.5}, {"layer": 0, "head": 0, "score": 0.25}]}
    assert document["shared_heads"][0] == {"layer": 0, "head": 1, "avg_score": 0.5, "task_frequency": 1}
    assert document["global_heads"] == document["tasks"]["ceo"]
    assert document["mean_scores"] == {"ceo": [[0.25, 0.5]]}
    assert '\n      {"layer": 0, "head": 1, "score": 0.5},\n' in path.read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    ranking = rank({"ceo": [[0.25, 0.5]]}, top_k=2)
    occupied = tmp_path / "folder.json"
    occupied.mkdir()
    with pytest.raises(HeadsError, match=r"folder\.json: .*; expected a file that can be written"):
        write_ranking(ranking, occupied)
    with pytest.raises(HeadsError, match="expected a file that can be written"):
        write_ranking(ranking, tmp_path / "missing" / "heads.json")
    assert list(tmp_path.iterdir()) == [occupied]


def test_a_number_that_json_does_not_have_is_not_written(tmp_path: Path) -> None:
    ranking = replace(rank({"ceo": [[0.25, 0.5]]}, top_k=2), split_half={"ceo": math.nan})
    with pytest.raises(HeadsError, match="expected finite numbers only"):
        write_ranking(ranking, tmp_path / "heads.json")
    assert list(tmp_path.iterdir()) == []


def test_a_ranking_made_by_hand_is_written_too(tmp_path: Path) -> None:
    ranking = HeadRanking("mine", {"a": listed((0, 1, 0.5))}, 1)
    write_ranking(ranking, tmp_path / "mine")
    assert read_ranking(tmp_path / "mine").tasks == ranking.tasks
