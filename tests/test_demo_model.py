"""The committed model and its ranking: what is in the folder, that it answers, and that its heads are shared."""

import hashlib
import json

import pytest
from tiny_models import load, opened

from harness.demo import MODEL_FOLDER, RANKING_FILE
from harness.demo.dialogues import CHAT_TEMPLATE, SPECIAL_TOKENS
from harness.demo.filings import demo_rows
from harness.experiment.experiments import Study, random_control, within_task
from harness.experiment.head_files import read_ranking
from harness.experiment.rankings import HeadRanking
from harness.findings.rankings.ranking_summary import ranking_notes
from harness.model.generation.reference import run_row
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import build_prompt
from harness.retrieval.rows import filing_hash, split_rows
from harness.retrieval.scoring import matches_value
from harness.retrieval.tasks import EDGAR_TASKS
from harness.settings import Settings

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(str(MODEL_FOLDER))


@pytest.fixture(scope="module")
def ranking() -> HeadRanking:
    return read_ranking(RANKING_FILE)


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in MODEL_FOLDER.iterdir()) <= 16 * MEGABYTE


def test_the_weights_are_those_that_the_training_made() -> None:
    made = json.loads((MODEL_FOLDER / "training.json").read_text())
    weights = (MODEL_FOLDER / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == made["weights_sha256"]


def test_the_shape_catches_a_wrong_width(loaded: LoadedModel) -> None:
    config = loaded.model.config
    assert loaded.shape.n_layers * loaded.shape.n_heads >= 128
    assert loaded.shape.head_dim != config.hidden_size / config.num_attention_heads
    assert config.num_key_value_heads < config.num_attention_heads
    from_config = opened(str(MODEL_FOLDER)).blueprint.shape
    assert (from_config.n_layers, from_config.n_heads, from_config.head_dim) == (
        loaded.shape.n_layers,
        loaded.shape.n_heads,
        loaded.shape.head_dim,
    )


def test_the_tokenizer_is_ours(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    assert tokenizer.get_chat_template() == CHAT_TEMPLATE
    assert tokenizer.convert_ids_to_tokens(list(range(7))) == list(SPECIAL_TOKENS)
    assert len(tokenizer) == loaded.model.config.vocab_size == 2048


def test_three_tokens_end_an_answer(loaded: LoadedModel) -> None:
    ends = {loaded.tokenizer.vocab[token] for token in ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")}
    assert loaded.end_token_ids == frozenset(ends)
    assert len(loaded.end_token_ids) == 3


def test_it_answers_the_nine_questions_of_a_filing(loaded: LoadedModel) -> None:
    first = split_rows(demo_rows(), seed=0).evaluation[:9]
    assert [row.task for row in first] == list(EDGAR_TASKS)
    wrong = {}
    for row in first:
        prompt = build_prompt(row, EDGAR_TASKS[row.task], loaded.tokenizer, depth=0.5)
        (completion,) = run_row(loaded, prompt, [frozenset()], None, max_new_tokens=20)
        text = str(loaded.tokenizer.decode(list(completion.token_ids)))
        if not (completion.ended and matches_value(text, row.needle_value, EDGAR_TASKS[row.task].compare)):
            wrong[row.task] = (text, row.needle_value)
    assert not wrong


def test_the_ranking_is_of_this_model_and_of_no_filing_that_is_evaluated(ranking: HeadRanking) -> None:
    ranking.check_shape(opened(str(MODEL_FOLDER)).blueprint.shape)
    assert ranking.model is not None
    assert ranking.model.id == "demo"
    assert list(ranking.tasks) == list(EDGAR_TASKS)
    assert (ranking.method, ranking.split_seed) == ("summed_attention", 0)
    hashes = ranking.filing_hashes or frozenset()
    assert len(hashes) >= 90
    assert ranking.samples == dict.fromkeys(EDGAR_TASKS, len(hashes)), "every filing has a row of each task"
    assert not {filing_hash(row.filename, 0) for row in split_rows(demo_rows(), seed=0).evaluation} & hashes
    assert min((ranking.split_half or {}).values()) > 0.9


def test_heads_are_shared_and_enough_are_left_for_controls(ranking: HeadRanking) -> None:
    shape = opened(str(MODEL_FOLDER)).blueprint.shape
    assert len(ranking.shared()) >= 5
    assert len(ranking.pool(shape)) >= 40
    assert not ranking_notes(ranking)


def test_the_default_experiments_can_be_built(ranking: HeadRanking) -> None:
    study = Study(ranking, opened(str(MODEL_FOLDER)).blueprint.shape, tuple(EDGAR_TASKS), Settings().k)
    conditions = within_task(study)
    assert len(conditions) == 45
    assert all(condition.k_effective == condition.k for condition in conditions)
    assert len(random_control(study)) == 25


def test_no_file_names_a_machine() -> None:
    for path in MODEL_FOLDER.iterdir():
        if path.suffix in {".json", ".jinja", ".md"} and path.name != "tokenizer.json":
            text = path.read_text(encoding="utf-8")
            assert not [place for place in ("/work", "/home", "/root", "/tmp") if place in text], path.name
