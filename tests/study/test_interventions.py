"""What ablated heads put out in a run: means found once, by one process, and kept."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from other_settings import under
from tiny_models import save_checkpoint

from harness.choices import Mode
from harness.demo.filings import demo_rows
from harness.errors import DataError, ModelError
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import Head, ModelShape
from harness.experiment.intervention import ZEROED, Intervention, MeanValues, Rescue
from harness.experiment.plan import Job
from harness.experiment.rankings import rank
from harness.experiment.record import tokens_digest
from harness.experiment.store import IN_MEMORY, Store
from harness.retrieval.prompts import Prompt
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.inputs import Inputs, donor_row, read_inputs
from harness.study.run import Run

TASKS = ("ceo_lastname", "incorporation_year")
MEANS = MeanValues(np.arange(96.0).reshape(3, 32))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two filings for the mean, one to be asked, a row for each of two tasks in each."""
    folder = tmp_path_factory.mktemp("inputs")
    save_checkpoint(folder / "tiny")
    rows = [row for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    asked = rows[0].filename
    rows = [replace(row, split="evaluation" if row.filename == asked else "identification") for row in rows]
    write_rows(rows, folder / "rows.jsonl")
    scores = {task: [[float(layer + head) for head in range(4)] for layer in range(3)] for task in TASKS}
    write_ranking(rank(scores, top_k=2, model=ModelShape(3, 4)), folder / "heads.json")
    return read_inputs(
        Settings(
            model=str(folder / "tiny"), data=folder / "rows.jsonl", heads=folder / "heads.json", k=(1,), mode="mean"
        )
    )


class FakeAverage:
    """Gives the same means for any prompts, and keeps what it was asked."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.asked: list[Sequence[Prompt]] = []
        self._before = before

    def __call__(self, prompts: Sequence[Prompt], note: Callable[[int], None]) -> MeanValues:
        self._before()
        self.asked.append(prompts)
        note(len(prompts))
        return MEANS


def job(inputs: Inputs) -> Job:
    return Job(inputs.rows[0].id, frozenset({Head(0, 1)}), mode="mean")


def test_means_are_taken_over_the_identification_rows(inputs: Inputs, tmp_path: Path) -> None:
    average, told = FakeAverage(), list[tuple[int, int]]()
    with Store(tmp_path / "store.sqlite") as store:
        found = Run(inputs, store, run_id="a").interventions
        assert (found.means, found.known(job(inputs))) == (None, False)
        found.find_means(average, lambda done, n: told.append((done, n)))
        ((prompts),) = average.asked
        assert [prompt.row_id for prompt in prompts] == [
            row.id for row in inputs.all_rows if row.split == "identification"
        ]
        assert told == [(4, 4)]
        assert found.known(job(inputs))
        assert found.digest(job(inputs)) == MEANS.sha256
        assert found.digest(replace(job(inputs), heads=frozenset(), mode="zero")) is None
        assert found.of([Job("row", frozenset())]) == ZEROED
        assert found.of([job(inputs)]).values is found.means
        found.find_means(average, lambda done, n: None)
        assert len(average.asked) == 1


def test_another_run_reads_them(inputs: Inputs, tmp_path: Path) -> None:
    """Whatever way it computes in, and however long its answers are; another model's or other rows' are others."""
    average = FakeAverage()
    asked = [
        ({}, 1),
        ({"engine": "reference", "max_new_tokens": 3, "max_rows": 2, "phase": "decode"}, 1),
        ({"dtype": "float64"}, 2),
        ({"insertion": "published"}, 3),
    ]
    for change, expected in asked:
        other = under(inputs, **change)  # type: ignore[arg-type]  # of its type
        with Store(tmp_path / "store.sqlite") as store:
            Run(other, store, run_id="a").interventions.find_means(average, lambda done, n: None)
        assert len(average.asked) == expected, change


def test_only_one_of_two_processes_computes_them(inputs: Inputs, tmp_path: Path) -> None:
    """Each in its own thread, with its own connection; the second begins while the first computes."""
    path = tmp_path / "store.sqlite"
    Store(path).close()

    def begin_second() -> None:
        waiter.start()

    first, second = FakeAverage(before=begin_second), FakeAverage()

    def find(average: FakeAverage) -> None:
        with Store(path) as store:
            found = Run(inputs, store, run_id="a").interventions
            found.find_means(average, lambda done, n: None)
            assert found.means is not None
            assert found.means.sha256 == MEANS.sha256

    waiter = threading.Thread(target=find, args=(second,))
    find(first)
    waiter.join()
    assert (len(first.asked), len(second.asked)) == (1, 0)


def test_means_that_came_between_a_look_and_the_claim_are_not_computed_again(inputs: Inputs, tmp_path: Path) -> None:
    class LateStore(Store):
        looks = 0

        def means(self, key: str) -> MeanValues | None:
            self.looks += 1
            return None if self.looks == 1 else super().means(key)

    path, average = tmp_path / "store.sqlite", FakeAverage()
    with Store(path) as store:
        Run(inputs, store, run_id="a").interventions.find_means(average, lambda done, n: None)
    with LateStore(path) as store:
        Run(inputs, store, run_id="b").interventions.find_means(average, lambda done, n: None)
    assert (store.looks, len(average.asked)) == (2, 1)


def test_an_error_leaves_the_means_to_be_found(inputs: Inputs, tmp_path: Path) -> None:
    def fail() -> None:
        raise ModelError("out of memory")

    with Store(tmp_path / "store.sqlite") as store:
        found = Run(inputs, store, run_id="a").interventions
        with pytest.raises(ModelError, match="out of memory"):
            found.find_means(FakeAverage(before=fail), lambda done, n: None)
        found.find_means(FakeAverage(), lambda done, n: None)
        assert found.means is not None


def test_no_other_mode_has_means(inputs: Inputs, tmp_path: Path) -> None:
    zero = under(inputs, mode="zero")
    average = FakeAverage()
    with Store(tmp_path / "store.sqlite") as store:
        found = Run(zero, store, run_id="a").interventions
        found.find_means(average, lambda done, n: None)
        assert (found.means, average.asked) == (None, [])
        assert found.known(replace(job(inputs), mode="zero"))


@pytest.fixture
def resampled(inputs: Inputs) -> Inputs:
    return under(inputs, mode="resample")


def test_donors_follow_from_the_row(resampled: Inputs) -> None:
    """Of either split, of the same kind of prompt, the needle as deep as the row's own."""
    row = resampled.rows[0]
    job = Job(row.id, frozenset({Head(0, 1)}), mode="resample")
    with Store(IN_MEMORY) as store:
        run = Run(resampled, store, run_id="a")
        donor = run.interventions.donor(row.id, "full")
        absent = run.interventions.donor(row.id, "needle_absent")
        values = run.interventions.of([Job(row.id, frozenset()), job]).values
        digests = [run.interventions.digest(each) for each in (job, replace(job, prompt="needle_absent"))]
        assert run.interventions.known(job)
        assert run.interventions.of([Job(row.id, frozenset())]) == ZEROED
    chosen = donor_row(resampled, row)
    assert (donor.row_id, chosen.task, chosen.filename != row.filename) == (chosen.id, row.task, True)
    assert values is donor
    assert chosen.needle_sentence in donor.text
    assert chosen.needle_sentence not in absent.text
    assert digests == [tokens_digest(each.token_ids, ()) for each in (donor, absent)]


def test_a_donor_of_the_same_answer_is_the_rows_needle_in_the_donors_document(resampled: Inputs) -> None:
    same = under(resampled, mode="resample_same")
    row = same.rows[0]
    other = donor_row(same, row)
    stands = replace(same, rows=(replace(row, haystack_text=f"A. {row.needle_sentence} B.", placement="in_place"),))
    with Store(IN_MEMORY) as store:
        donor = Run(same, store, run_id="a").interventions.donor(row.id, "full")
        within = Run(stands, store, run_id="b").interventions.donor(row.id, "full")
        jobs = [Job(row.id, frozenset({Head(0, 1)}), mode="resample_same")]
        assert Run(same, store, run_id="a").interventions.of(jobs).values == donor
        digest = Run(same, store, run_id="a").interventions.digest(jobs[0])
    assert digest == tokens_digest(donor.token_ids, ())
    assert row.needle_sentence in donor.text
    assert other.needle_sentence not in donor.text
    assert all(part in donor.text for part in other.haystack_text.split(". ")[:1])
    assert (donor.depth, within.depth) == pytest.approx((0.5, 0.5), abs=0.35)
    assert row.needle_sentence in within.text


def test_rescued_heads_need_no_other_prompt(inputs: Inputs) -> None:
    rescue = under(inputs, mode="rescue", phase="decode")
    job = Job(inputs.rows[0].id, frozenset({Head(0, 1)}), mode="rescue")
    with Store(IN_MEMORY) as store:
        found = Run(rescue, store, run_id="a").interventions
        assert (found.of([job]), found.digest(job)) == (Intervention(Rescue()), None)


def test_a_donors_needle_is_as_deep_as_the_rows(resampled: Inputs) -> None:
    sweep = replace(resampled, rows=tuple(replace(row, depth=d) for row in resampled.rows for d in (0.0, 1.0)))
    with Store(IN_MEMORY) as store:
        found = Run(sweep, store, run_id="a").interventions
        shallow, deep = (found.donor(row.id, "full") for row in sweep.rows[:2])
    assert shallow.row_id == deep.row_id
    assert (shallow.depth, deep.depth) == (0.0, 1.0)


@pytest.mark.parametrize("mode", ["mean", "resample"])
def test_other_rows_are_cut_as_the_asked_ones_are(mode: Mode, inputs: Inputs, tmp_path: Path) -> None:
    with Store(IN_MEMORY) as store:
        longest = max(len(each.token_ids) for each in Run(inputs, store, run_id="a").interventions.mean_prompts)
        cut = read_inputs(replace(inputs.settings, seq_len=longest - 100, mode=mode))
        found = Run(cut, store, run_id="a").interventions
        prompts = found.mean_prompts if mode == "mean" else [found.donor(row.id, "full") for row in cut.rows]
    assert max(len(each.token_ids) for each in prompts) <= longest - 100


def test_another_donor_is_another_record(resampled: Inputs, tmp_path: Path) -> None:
    job = Job(resampled.rows[0].id, frozenset({Head(0, 1)}), mode="resample")
    digests = set()
    for seed in range(8):
        other = under(resampled, seed=seed)
        with Store(IN_MEMORY) as store:
            digests.add(Run(other, store, run_id="a").interventions.digest(job))
    assert len(digests) == 2


def test_a_row_without_a_donor_is_found_out_at_once(resampled: Inputs, tmp_path: Path) -> None:
    write_rows(resampled.rows, tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match=rf"{resampled.rows[0].id}: no row to take heads' outputs from; .* mode zero"):
        read_inputs(replace(resampled.settings, data=tmp_path / "rows.jsonl"))


def test_no_rows_for_a_mean_are_found_out_at_once(inputs: Inputs, tmp_path: Path) -> None:
    write_rows(inputs.rows, tmp_path / "rows.jsonl")
    settings = replace(inputs.settings, data=tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match=r"rows.jsonl: no rows for identification, which the mean .* the mode zero"):
        read_inputs(settings)
    assert read_inputs(replace(settings, mode="zero")).rows
