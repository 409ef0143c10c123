"""A benchmark's work: which rows, prompts and head sets are measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench_results import make_result
from transformers import LlamaConfig

from harness.experiment.bench_result import BenchResult
from harness.experiment.heads import Head
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance import bench, shapes
from harness.model.performance.bench import Work
from harness.settings import Settings
from harness.study.benchmark import Request, measure

UNTOUCHED = frozenset[Head]()
REQUEST = Request(
    Settings(k=(1, 2)), "demo", ("within_task", "general"), n_rows=2, n_tokens=30, baseline="plain", rounds=1
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[LoadedModel, list[Work]]]:
    """What would be measured."""
    seen: list[tuple[LoadedModel, list[Work]]] = []

    def note(loaded: LoadedModel, works: list[Work], **_how: object) -> BenchResult:
        seen.append((loaded, works))
        return make_result()

    monkeypatch.setattr(bench, "compare", note)
    return seen


def test_the_demos_own_rows_and_ranking(asked: list[tuple[LoadedModel, list[Work]]]) -> None:
    found = measure(replace(REQUEST, growth=(1, 3)))
    assert [[len(work.head_sets) for work in works] for _, works in asked] == [[1, 1], [3, 3], [3, 5]]
    assert all(work.head_sets[0] == UNTOUCHED for work in asked[-1][1])
    assert all(work.prompt.text for work in asked[-1][1])
    assert list(found.growth) == [1, 3]
    assert found.setting["model"] == "demo"
    assert (found.setting["quantization"], found.setting["adapter"]) == (None, None)


def test_a_shapes_random_prompts(
    asked: list[tuple[LoadedModel, list[Work]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = LlamaConfig(num_hidden_layers=2, num_attention_heads=4, hidden_size=16, intermediate_size=8, vocab_size=9)
    monkeypatch.setattr(shapes, "SHAPES", {"small": small})
    heads = tmp_path / "heads.json"
    heads.write_text(json.dumps({"a": [{"head": [0, 1], "avg_score": 1}], "b": [{"head": [1, 2], "avg_score": 1}]}))
    request = replace(REQUEST, settings=Settings(k=(1,), heads=heads), shape="small", experiments=("within_task",))
    found = measure(request)
    ((loaded, works),) = asked
    assert [work.head_sets for work in works] == [
        (UNTOUCHED, frozenset({Head(0, 1)})),
        (UNTOUCHED, frozenset({Head(1, 2)})),
    ]
    assert [len(work.prompt.token_ids) for work in works] == [30, 30]
    assert all(0 < token < 9 for work in works for token in (*work.prompt.token_ids, *work.prompt.value_ids))
    assert works[0].prompt.token_ids != works[1].prompt.token_ids
    assert loaded.shape.id == "small"
    assert found.setting["random_weights"] is True
