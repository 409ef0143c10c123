"""From settings to a ranking: which rows are used, where needles stand, and what the ranking says."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import alone, load, save_checkpoint

from harness.demo.filings import demo_rows
from harness.errors import DataError, ModelError, SettingsError
from harness.model.identification.summed_attention import summed_attention
from harness.retrieval.prompts import Trial, build_prompt, identification_depth
from harness.retrieval.rows import Row, SplitName, filing_hash, split_of
from harness.retrieval.tasks import EDGAR_TASKS
from harness.retrieval.traces import extent_of
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.identification import cut_to_seq_len, identification_rows, identify_heads
from harness.study.prompt_book import PromptBook

TASKS = {name: EDGAR_TASKS[name] for name in ("incorporation_year", "ceo_lastname")}
ROWS = tuple(row for row in demo_rows(10, n_sentences=2) if row.task in TASKS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


def filings(rows: tuple[Row, ...]) -> set[str]:
    return {row.filename for row in rows}


def test_rows_are_those_of_the_identification_side() -> None:
    for seed in (0, 1):
        kept = identification_rows(ROWS, Settings(seed=seed))
        assert kept == tuple(row for row in ROWS if split_of(row, seed) == "identification")
    assert 0 < len(kept) < len(ROWS)


def test_max_rows_keeps_whole_filings() -> None:
    kept = identification_rows(ROWS, Settings(max_rows=5))
    assert len(kept) == 4  # two filings of two rows; a third would be too many
    assert all(sum(row.filename == name for row in kept) == 2 for name in filings(kept))


@pytest.mark.parametrize("settings", [Settings(), Settings(max_rows=1)])
def test_no_rows_left_is_an_error(settings: Settings) -> None:
    side: SplitName = "evaluation" if settings.max_rows is None else "identification"
    rows = tuple(replace(row, split=side) for row in ROWS)
    with pytest.raises(DataError, match="demo: no rows for identification; expected at least one filing"):
        identification_rows(rows, settings)


def test_rows_are_cut_to_a_length(checkpoint: Path) -> None:
    settings = Settings(model=str(checkpoint), seed=3)
    rows = identification_rows(ROWS, settings)
    tokenizer = AskedModel(settings).tokenizer

    def lengths(of: tuple[Row, ...]) -> list[int]:
        prompts = [build_prompt(row, TASKS[row.task], tokenizer, depth=identification_depth(row, 3)) for row in of]
        return [len(prompt.token_ids) for prompt in prompts]

    most = max(lengths(rows)) - 1
    cut, n_cut = cut_to_seq_len(PromptBook(AskedModel(replace(settings, seq_len=most)), TASKS), rows)
    assert n_cut == sum(length > most for length in lengths(rows)) > 0
    assert max(lengths(cut)) <= most
    assert cut_to_seq_len(PromptBook(AskedModel(settings), TASKS), rows) == (rows, 0)


def test_a_prompt_beyond_the_window_is_named_before_loading(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.model.loading.loaded_model.load_model", None)
    long = tuple(row for row in demo_rows(10, n_sentences=30) if row.task in TASKS)
    settings = Settings(model=str(checkpoint))
    rows = identification_rows(long, settings)
    words = rf"^{rows[0].filename}/\w+: \d+ tokens, .* at most 640, the window of tiny; .* seq-len"
    with pytest.raises(ModelError, match=words):
        identify_heads(AskedModel(settings), TASKS, rows, top_k=4)


def test_scores_are_those_of_prompts_at_seeded_depths(checkpoint: Path) -> None:
    settings = Settings(model=str(checkpoint), seed=3, insertion="published")
    rows = identification_rows(ROWS, settings)
    ranking = identify_heads(AskedModel(settings), TASKS, rows, top_k=4)
    loaded = load(str(checkpoint))
    assert ranking.mean_scores is not None
    for name in TASKS:
        trials = [
            PromptBook(AskedModel(settings), TASKS).trial(row, null_query=False) for row in rows if row.task == name
        ]
        scores = [alone(summed_attention, loaded, trial) for trial in trials]
        np.testing.assert_allclose(ranking.mean_scores[name], np.mean(scores, axis=0), rtol=0, atol=1e-12)


def test_the_ranking_tells_what_it_was_made_from(checkpoint: Path) -> None:
    settings = Settings(model=str(checkpoint), seed=3)
    rows = identification_rows(ROWS, settings)
    ranking = identify_heads(AskedModel(settings), TASKS, rows, top_k=4)
    assert ranking.filing_hashes == frozenset(filing_hash(name, 3) for name in filings(rows))
    assert (ranking.split_seed, ranking.top_k, ranking.method) == (3, 4, "summed_attention")
    tokenizer = AskedModel(settings).tokenizer
    prompts = [build_prompt(row, TASKS[row.task], tokenizer, depth=identification_depth(row, 3)) for row in rows]
    assert ranking.extent == extent_of((len(prompt.token_ids), prompt.depth) for prompt in prompts)
    assert ranking.samples == dict.fromkeys(TASKS, len(rows) // 2)
    assert list(ranking.split_half or ()) == list(TASKS)
    assert ranking.model is not None
    assert (ranking.model.id, ranking.model.n_layers, ranking.model.n_heads) == ("tiny", 3, 4)


def test_the_demos_model_is_named_demo() -> None:
    """Not by the folder that it lies in on some machine."""
    ranking = identify_heads(AskedModel(Settings()), TASKS, ROWS[:2], top_k=4)
    assert ranking.model is not None
    assert (ranking.model.id, ranking.source) == ("demo", "summed_attention of demo")


@pytest.mark.parametrize(
    ("method", "variant"),
    [
        ("retrieval_score", None),
        ("retrieval_score", "authors"),
        ("qr_score", None),
        ("contrast", None),
        ("logit_contribution", None),
        ("logit_contribution", "paper"),
    ],
)
def test_the_demo_by_other_methods(method: str, variant: str | None) -> None:
    """All that they need is in the prompts, and the best heads are among those of the layers that retrieve."""
    rows = [row for row in ROWS if row.task == "incorporation_year"][:2]
    tasks = {"incorporation_year": TASKS["incorporation_year"]}
    ranking = identify_heads(AskedModel(Settings()), tasks, rows, top_k=4, method=method, variant=variant)
    assert (ranking.method, ranking.variant) == (method, variant)
    assert ranking.samples == {"incorporation_year": 2}
    assert {head.layer for head in ranking.candidates("incorporation_year")} <= {4, 5, 6}
    assert ranking.scored("incorporation_year")[0].score > 0.2


def test_no_right_answer_within_the_tokens_allowed() -> None:
    """Years of four digits, a token each."""
    rows = [row for row in ROWS if row.task == "incorporation_year"][:1]
    tasks = {"incorporation_year": TASKS["incorporation_year"]}
    settings = Settings(max_new_tokens=2)
    with pytest.raises(ModelError, match="task incorporation_year: none of its 1 rows was answered correctly"):
        identify_heads(AskedModel(settings), tasks, rows, top_k=4, method="retrieval_score")


def test_a_bad_row_or_method_is_found_before_the_weights_are_read(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path)
    (checkpoint / "model.safetensors").unlink()
    settings = Settings(model=str(checkpoint))
    with pytest.raises(SettingsError, match="method: 'mean'; expected one of summed_attention"):
        identify_heads(AskedModel(settings), TASKS, ROWS, top_k=4, method="mean")
    with pytest.raises(SettingsError, match="variant: 'authors' of summed_attention; expected none"):
        identify_heads(AskedModel(settings), TASKS, ROWS, top_k=4, variant="authors")
    broken = replace(ROWS[0], haystack_text="It ends here: </s>")
    with pytest.raises(DataError, match="special token"):
        identify_heads(AskedModel(settings), TASKS, [broken], top_k=4)
    asked_first = {name: replace(task, template="{question} {context}") for name, task in TASKS.items()}
    with pytest.raises(DataError, match="expected it before the question"):
        identify_heads(AskedModel(settings), asked_first, ROWS, top_k=4, method="qr_score")
    with pytest.raises(ModelError, match="tokens, new ones included; expected at most 640"):
        identify_heads(
            AskedModel(replace(settings, max_new_tokens=640)),
            TASKS,
            ROWS,
            top_k=4,
            method="retrieval_score",
        )
    with pytest.raises(ModelError, match="holds no weights"):
        identify_heads(AskedModel(settings), TASKS, ROWS, top_k=4)


def test_a_task_without_rows_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="ceo_lastname has no prompts"):
        identify_heads(
            AskedModel(Settings(model=str(checkpoint))),
            TASKS,
            [row for row in ROWS if row.task != "ceo_lastname"],
            top_k=4,
        )


def test_what_a_clusters_models_have_to_say_is_said_at_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was said when all was done: of a wait for room, when that was over."""

    class Waiting:
        size, notices, when_noticed = 1, ["waits"], staticmethod(lambda: None)

        def scores(self, groups: Iterable[Sequence[tuple[int, Trial]]], *_how: object) -> Iterator[tuple[int, object]]:
            self.when_noticed()
            assert said == ["waits"]
            yield from ((number, np.eye(3, 4)) for group in groups for number, _ in group)

        def close(self) -> None:
            pass

    said: list[str] = []
    monkeypatch.setattr("harness.study.identification.crew_on_ray", lambda _model: Waiting())
    settings = Settings(model=str(checkpoint), ray="auto")
    ranking = identify_heads(AskedModel(settings), TASKS, ROWS, top_k=4, say=said.append)
    assert len(ranking.tasks) == len(TASKS)
    assert said == ["waits"]
