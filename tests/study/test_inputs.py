"""What a run works on: rows, tasks and ranking, checked against each other before a model loads."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tiny_models import save_checkpoint

from harness.demo import MODEL_FOLDER
from harness.demo.filings import demo_rows
from harness.errors import DataError, HarnessError, HeadsError, ModelError, SettingsError
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import HeadRanking, rank
from harness.retrieval.prompts import build_prompt
from harness.retrieval.rows import Row, filing_hash, split_of, write_rows
from harness.retrieval.tasks import EDGAR_TASKS
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.inputs import (
    Inputs,
    evaluation_rows,
    first_filings,
    read_data,
    read_inputs,
)
from harness.study.memory import model_place

TASKS = ("ceo_lastname", "incorporation_year")
ROWS = tuple(row for row in demo_rows(12, n_sentences=2) if row.task in TASKS)
SHAPE = ModelShape(3, 4)
OWN_TASK = '[[task]]\nid = "auditor"\nquestion = "Who is the auditor?"\n'


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 layers of 4 heads."""
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


def make_ranking(shape: ModelShape = SHAPE, *, split_seed: int | None = None) -> HeadRanking:
    scores = {
        task: [[float(layer * head) for head in range(shape.n_heads)] for layer in range(shape.n_layers)]
        for task in TASKS
    }
    return replace(rank(scores, top_k=3, model=shape), split_seed=split_seed)


def make_settings(
    checkpoint: Path, folder: Path, *, ranking: HeadRanking | None = None, rows: tuple[Row, ...] = ROWS
) -> Settings:
    write_rows(rows, folder / "rows.csv")
    write_ranking(ranking or make_ranking(), folder / "heads.json")
    return Settings(model=str(checkpoint), data=folder / "rows.csv", heads=folder / "heads.json")


def read(checkpoint: Path, folder: Path, ranking: HeadRanking) -> Inputs:
    return read_inputs(make_settings(checkpoint, folder, ranking=ranking))


def test_everything_is_read(checkpoint: Path, tmp_path: Path) -> None:
    inputs = read_inputs(make_settings(checkpoint, tmp_path))
    assert inputs.rows == tuple(row for row in ROWS if split_of(row, 0) == "evaluation")
    assert inputs.rows
    assert dict(inputs.tasks) == {task: EDGAR_TASKS[task] for task in reversed(TASKS)}
    assert (inputs.source, inputs.excluded, inputs.split_seed) == ("rows.csv", (), 0)
    assert inputs.ranking_overlap is None, "the ranking does not say what it was made from"
    assert inputs.ranking.tasks == make_ranking().tasks
    assert (inputs.shape.n_layers, inputs.shape.n_heads, inputs.shape.head_dim) == (3, 4, 8)


def test_the_demo_needs_no_settings() -> None:
    inputs = read_inputs(Settings())
    assert list(inputs.tasks) == list(EDGAR_TASKS)
    assert (inputs.source, inputs.ranking.source) == ("demo", "demo/retrieval_heads.json")
    assert inputs.ranking_overlap == 0
    assert len({row.filename for row in inputs.rows}) >= 20
    assert model_place(Settings()) == str(MODEL_FOLDER)


def test_the_ranking_names_the_split(checkpoint: Path, tmp_path: Path) -> None:
    """No filing that it was made from is evaluated, whatever the run's own seed."""
    names = {row.filename for row in ROWS}
    seed = next(n for n in range(1, 99) if {split_of(row, n) for row in ROWS} == {"identification", "evaluation"})
    made_from = {row.filename for row in ROWS if split_of(row, seed) == "identification"}
    hashes = frozenset(filing_hash(name, seed) for name in made_from)
    inputs = read(checkpoint, tmp_path, replace(make_ranking(split_seed=seed), filing_hashes=hashes))
    assert (inputs.split_seed, inputs.ranking_overlap) == (seed, 0)
    assert {row.filename for row in inputs.rows} == names - made_from


def test_an_overlap_is_counted(checkpoint: Path, tmp_path: Path) -> None:
    evaluated = sorted({row.filename for row in ROWS if split_of(row, 5) == "evaluation"})
    hashes = frozenset(filing_hash(name, 5) for name in evaluated[:1]) | {"ab"}
    inputs = read(checkpoint, tmp_path, replace(make_ranking(split_seed=5), filing_hashes=hashes))
    assert inputs.ranking_overlap == 1


def test_a_study_is_asked_as_the_settings_say(checkpoint: Path, tmp_path: Path) -> None:
    settings = replace(
        make_settings(checkpoint, tmp_path),
        k=(1, 3),
        seed=4,
        random_draws=2,
        random_match="layer",
        tasks=("ceo_lastname",),
    )
    study = read_inputs(settings).study()
    assert (study.ks, study.seed, study.random_draws, study.random_match) == ((1, 3), 4, 2, "layer")
    assert study.tasks == ("ceo_lastname",)
    assert set(study.ranking.tasks) == set(TASKS), "what tasks share follows from all of them"


def test_a_model_whose_heads_cannot_be_kept_from_tokens_is_refused_by_name(tmp_path: Path) -> None:
    settings = make_settings(save_checkpoint(tmp_path / "tiny", "bloom"), tmp_path)
    with pytest.raises(SettingsError, match=r"^mode needle_edge: bloom computes attention itself, not through"):
        read_inputs(replace(settings, mode="needle_edge"))
    assert read_inputs(settings).rows


class TestData:
    def test_the_demos_rows_are_all_sound(self) -> None:
        data = read_data(Settings(strict_rows=True))
        assert data.rows == data.file_rows == demo_rows()
        assert data.excluded == ()
        assert list(data.tasks) == list(EDGAR_TASKS)

    def test_tasks_are_those_asked_for(self) -> None:
        data = read_data(Settings(tasks=("incorporation_year", "registrant_name")))
        assert list(data.tasks) == ["incorporation_year", "registrant_name"]
        assert {row.task for row in data.rows} == set(data.tasks)
        assert data.file_rows == demo_rows()
        assert data.known_tasks == EDGAR_TASKS

    def test_own_tasks_stand_beside_the_nine(self, tmp_path: Path) -> None:
        (tmp_path / "tasks.toml").write_text(OWN_TASK)
        row = Row("f1", "auditor", "The auditor is Lee.", "Lee", "Nothing here.")
        write_rows([row, ROWS[0]], tmp_path / "rows.jsonl")
        settings = Settings(data=tmp_path / "rows.jsonl", task_file=tmp_path / "tasks.toml")
        data = read_data(settings)
        assert list(data.tasks) == [ROWS[0].task, "auditor"]
        assert data.tasks["auditor"].question == "Who is the auditor?"
        assert data.rows == (row, ROWS[0])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"tasks": ("ceo_firstname",)}, "tasks: got 'ceo_firstname'; expected one or more of"),
            ({"tasks": ("registrant_name",)}, "rows.csv: no rows of the task registrant_name; expected"),
            ({"data": Path("none.csv")}, "none.csv: No such file"),
            ({"task_file": Path("none.toml")}, "none.toml: No such file"),
        ],
    )
    def test_what_does_not_fit(self, change: dict[str, object], words: str, tmp_path: Path) -> None:
        write_rows(ROWS, tmp_path / "rows.csv")
        settings = replace(Settings(data=tmp_path / "rows.csv"), **change)  # type: ignore[arg-type]  # of its type
        with pytest.raises(DataError, match=words):
            read_data(settings)


class TestSeqLen:
    def test_longer_prompts_are_cut_and_counted(self, checkpoint: Path, tmp_path: Path) -> None:
        long = tuple(row for row in demo_rows(12, n_sentences=8) if row.task in TASKS)
        longer = tuple(replace(row, filename=f"long {row.filename}") for row in long)
        settings = make_settings(checkpoint, tmp_path, rows=(*ROWS, *longer))
        whole = read_inputs(settings)
        tokenizer = AskedModel(settings).tokenizer
        tokens = {
            row.id: len(build_prompt(row, EDGAR_TASKS[row.task], tokenizer, depth=0.5).token_ids) for row in whole.rows
        }
        most = sorted(tokens.values())[len(tokens) // 2]
        cut = read_inputs(replace(settings, seq_len=most))
        assert (whole.n_cut, cut.n_cut) == (None, sum(n > most for n in tokens.values()))
        assert 0 < (cut.n_cut or 0) < len(cut.rows)
        for before, after in zip(whole.rows, cut.rows, strict=True):
            if tokens[before.id] <= most:
                assert after == before
            else:
                assert len(build_prompt(after, EDGAR_TASKS[after.task], tokenizer, depth=0.5).token_ids) <= most

    def test_a_rows_cut_does_not_hang_on_what_else_is_studied(self, checkpoint: Path, tmp_path: Path) -> None:
        """The other task's needle is longer: asked alone, this one's prompt would hold more of the document."""
        rows = tuple(replace(row, haystack_text=ROWS[0].haystack_text * 3, split="evaluation") for row in ROWS)
        rows = tuple(
            replace(row, needle_sentence=f"{row.needle_sentence} {'So it was. ' * 12}") if row.task == TASKS[1] else row
            for row in rows
        )
        settings = replace(make_settings(checkpoint, tmp_path, rows=rows), seq_len=400)
        every = {row.id: row for row in read_inputs(settings).rows}
        fewer = read_inputs(replace(settings, tasks=TASKS[:1], max_rows=3)).rows
        assert 0 < len(fewer) < len(rows) / 2
        assert all(row == every[row.id] for row in fewer)
        write_rows([row for row in rows if row.task == TASKS[0]], tmp_path / "rows.csv")
        alone = read_inputs(replace(settings, tasks=TASKS[:1])).rows
        assert all(len(row.haystack_text) > len(every[row.id].haystack_text) for row in alone), "cut together with less"

    def test_too_short_for_any_haystack(self, checkpoint: Path, tmp_path: Path) -> None:
        settings = replace(make_settings(checkpoint, tmp_path), seq_len=50)
        with pytest.raises(DataError, match=r"row .*: a prompt of \d+ tokens with no more than the needle in it; exp"):
            read_inputs(settings)


class TestEvaluationRows:
    def test_a_sweep_asks_each_row_at_each_depth(self) -> None:
        fixed = replace(ROWS[0], split="evaluation", depth=0.1)
        free = replace(ROWS[2], split="evaluation")
        rows = evaluation_rows([fixed, free], Settings(depth=(0.25, 0.75)), 0)
        assert rows == (fixed, replace(free, depth=0.25), replace(free, depth=0.75))
        assert len({row.id for row in rows}) == 3

    def test_one_depth_leaves_the_rows_as_they_are(self) -> None:
        settings = Settings(depth=(0.25,))
        fixed = replace(ROWS[0], split="evaluation", depth=0.1)
        free = replace(ROWS[2], split="evaluation")
        assert evaluation_rows([fixed, free], settings, 0) == (fixed, free)

    @pytest.mark.parametrize("max_rows", [None, 1])
    def test_none_left(self, max_rows: int | None) -> None:
        split = "identification" if max_rows is None else "evaluation"
        rows = [replace(row, split=split) for row in ROWS]  # type: ignore[arg-type]  # one of the two
        with pytest.raises(DataError, match="demo: no rows for evaluation; expected at least one filing"):
            evaluation_rows(rows, Settings(max_rows=max_rows), 0)


@hypothesis_settings(derandomize=True, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), max_size=8), most=st.integers(1, 20), seed=st.integers(0, 3))
def test_first_filings_are_whole_and_the_same_for_a_larger_limit(sizes: list[int], most: int, seed: int) -> None:
    rows = [Row(f"f{i}", f"task{j}", "N 1", "1", "H") for i, size in enumerate(sizes) for j in range(size)]
    kept = first_filings(rows, most, seed)
    assert len(kept) <= most
    assert list(kept) == [row for row in rows if row.filename in {each.filename for each in kept}]
    assert set(kept) <= set(first_filings(rows, most + 3, seed))
    assert first_filings(rows, None, seed) == first_filings(rows, len(rows) + 1, seed) == tuple(rows)


class TestRefused:
    def refused(self, settings: Settings, kind: type[HarnessError], words: str) -> None:
        with pytest.raises(kind, match=words) as error:
            read_inputs(settings)
        assert "\n" not in str(error.value)

    def test_a_model_without_a_ranking(self, checkpoint: Path, tmp_path: Path) -> None:
        settings = replace(make_settings(checkpoint, tmp_path), heads=None)
        self.refused(settings, SettingsError, "heads: none given for the model .*`retrieval-heads identify`")

    def test_another_models_ranking(self, checkpoint: Path, tmp_path: Path) -> None:
        settings = make_settings(checkpoint, tmp_path, ranking=make_ranking(ModelShape(4, 4)))
        self.refused(settings, HeadsError, "heads.json: model: 4 layers of 4 heads, but the model has 3 of 4")

    def test_a_file_that_is_no_ranking(self, checkpoint: Path, tmp_path: Path) -> None:
        settings = make_settings(checkpoint, tmp_path)
        (tmp_path / "heads.json").write_text('{"a": 1}')
        self.refused(settings, HeadsError, "heads.json: not a known format")

    def test_no_model(self, checkpoint: Path, tmp_path: Path) -> None:
        settings = replace(make_settings(checkpoint, tmp_path), model=str(tmp_path / "none"))
        self.refused(settings, ModelError, "no such folder")
