"""A benchmark's work: which rows, prompts and head sets are measured."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from bench_results import make_result
from transformers import LlamaConfig

from harness.experiment.bench_result import BenchResult
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import token_trie
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance import bench, shapes
from harness.model.performance.bench import Work
from harness.settings import Settings
from harness.study.benchmark import NEEDLE_TOKENS, QUESTION_TOKENS, OneFiling, Request, measure

UNTOUCHED = frozenset[Head]()
REQUEST = Request(
    Settings(k=(1, 2)), "demo", ("within_task", "general"), n_rows=2, n_tokens=range(95, 120), baseline="plain"
)


@dataclass(frozen=True)
class Asked:
    """What would be measured: groups of rows, those that warm up, and how many new tokens."""

    loaded: LoadedModel
    groups: list[list[Work]]
    warm: list[Work]
    max_new_tokens: int

    @property
    def works(self) -> list[Work]:
        """All rows."""
        return [work for group in self.groups for work in group]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What would be measured."""
    seen: list[Asked] = []

    def note(
        loaded: LoadedModel, groups: list[list[Work]], warm: list[Work], *, max_new_tokens: int, **_how: object
    ) -> BenchResult:
        seen.append(Asked(loaded, groups, warm, max_new_tokens))
        return make_result()

    monkeypatch.setattr(bench, "compare", note)
    return seen


def test_the_demos_own_rows_and_ranking(asked: list[Asked]) -> None:
    found = measure(replace(REQUEST, growth=(1, 3)))
    whole, *growth = asked
    assert [[len(work.head_sets) for work in each.works] for each in growth] == [[1, 1], [3, 3]]
    assert [len(work.head_sets) for work in whole.works] == [3, 5]
    assert all(work.head_sets[0] == UNTOUCHED for work in whole.works)
    assert all(work.prompt.text for work in whole.works)
    assert list(found.growth) == [1, 3]
    assert found.prefill is None


def test_rows_are_handed_over_by_their_filings_and_others_warm_up(asked: list[Asked]) -> None:
    found = measure(replace(REQUEST, n_rows=12))
    (whole,) = asked
    filings = [{work.prompt.row_id.partition("/")[0] for work in group} for group in (*whole.groups, whole.warm)]
    assert [len(names) for names in filings] == [1, 1, 1]
    assert len(whole.works) == 12
    measured = {work.prompt.row_id for work in whole.works}
    assert not measured & {work.prompt.row_id for work in whole.warm}
    assert found.setting["rows_together"] == max(map(len, whole.groups)) > 1
    assert found.setting["warm_up_rows"] == len(whole.warm) > 0
    assert found.setting["model"] == "demo"
    assert (found.setting["quantization"], found.setting["adapter"]) == (None, None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Request:
    """A request for a small shape, two tasks and a baseline."""
    config = LlamaConfig(num_hidden_layers=2, num_attention_heads=4, hidden_size=16, intermediate_size=8, vocab_size=99)
    monkeypatch.setattr(shapes, "SHAPES", {"small": config})
    heads = tmp_path / "heads.json"
    heads.write_text(json.dumps({"a": [{"head": [0, 1], "avg_score": 1}], "b": [{"head": [1, 2], "avg_score": 1}]}))
    return replace(REQUEST, settings=Settings(k=(1,), heads=heads), shape="small", experiments=("within_task",))


def test_a_shapes_random_prompts(asked: list[Asked], small: Request) -> None:
    found = measure(small)
    (whole,) = asked
    assert [[work.head_sets for work in group] for group in whole.groups] == [
        [(UNTOUCHED, frozenset({Head(0, 1)}))],
        [(UNTOUCHED, frozenset({Head(1, 2)}))],
    ]
    prompts = [work.prompt for work in (*whole.works, *whole.warm)]
    assert len({len(prompt.token_ids) for prompt in prompts}) == 3, "each has another length, the one to warm up too"
    assert all(95 <= len(prompt.token_ids) < 120 for prompt in prompts)
    assert all(0 < token < 99 for prompt in prompts for token in (*prompt.token_ids, *prompt.value_ids))
    assert whole.loaded.shape.id == "small"
    assert found.setting["random_weights"] is True


@pytest.mark.parametrize("place", ["middle", "in_place"])
def test_rows_of_one_filing_part_at_the_needle_or_at_the_question(
    place: OneFiling, asked: list[Asked], small: Request
) -> None:
    found = measure(replace(small, n_rows=3, n_tokens=range(600, 700), one_filing=place))
    whole, prefill = asked
    assert (whole.max_new_tokens, prefill.max_new_tokens) == (20, 1)
    assert found.prefill is not None
    assert found.setting["rows_together"] == 3
    for group in (*whole.groups, *prefill.groups, whole.warm):
        prompts = [work.prompt.token_ids for work in group]
        (front,) = token_trie(prompts)
        assert [child.prompts for child in front.children] == [(number,) for number in range(len(group))]
        if place == "middle":
            lengths = [len(prompt) - max(QUESTION_TOKENS) - max(NEEDLE_TOKENS) for prompt in prompts]
            assert min(lengths) // 2 <= front.stop <= max(map(len, prompts)) // 2
        else:
            assert all(len(prompt) - front.stop in QUESTION_TOKENS for prompt in prompts)
    firsts = {group[0].prompt.token_ids[:9] for group in (whole.groups[0], prefill.groups[0], whole.warm)}
    assert len(firsts) == 3, "three filings"
