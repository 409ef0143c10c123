"""What a study says of filings that made its ranking, or that are one document, under other names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.demo import RANKING_FILE
from harness.demo.filings import demo_rows
from harness.errors import DataError
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.plan import jobs_of
from harness.experiment.record import Completion, Record
from harness.experiment.stability import ListStability, Stability
from harness.experiment.store import IN_MEMORY, Store
from harness.findings.samples import score_samples
from harness.findings.verdicts.verdict_data import GateResult
from harness.retrieval.rows import Row, filing_hash, write_rows
from harness.retrieval.traces import traces_of
from harness.settings import Settings
from harness.study.inputs import Inputs, read_inputs
from harness.study.judging import build_gate, judge_gates
from harness.study.run import Run

MADE_FROM = demo_rows(12, seed=3)
Read = Callable[..., Inputs]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Inputs of these rows, all for evaluation, and of the demo's heads as though they were found on `MADE_FROM`."""

    def inputs(rows: tuple[Row, ...], *, known: bool = True, **given: object) -> Inputs:
        hashes = frozenset(filing_hash(row.filename, 0) for row in MADE_FROM)
        ranking = replace(
            read_ranking(RANKING_FILE),
            filing_hashes=hashes if known else None,
            split_seed=0,
            traces=traces_of(MADE_FROM, 0) if known else None,
        )
        write_ranking(ranking, tmp_path / "heads.json")
        write_rows(rows, tmp_path / "rows.jsonl")
        settings = Settings(data=tmp_path / "rows.jsonl", heads=tmp_path / "heads.json", random_draws=2, split_share=0)
        return read_inputs(replace(settings, **given))  # type: ignore[arg-type]  # settings by name

    return inputs


def judged(inputs: Inputs) -> GateResult:
    """The shared gate, where the untouched model and random heads are right, and the shared heads never."""
    conditions = build_gate(inputs, "shared").conditions
    values = {row.id: row.needle_value for row in inputs.rows}
    records = {}
    for condition in conditions:
        right = condition.experiment in ("baseline", "random_control", "permutation")
        for job in jobs_of(condition, inputs.rows):
            said = values[job.row_id] if right else "nothing"
            records[job] = Record(job, Completion((1,), 3, -32.0, -1.0, 0, 1.0), said, 0.0)
    samples = score_samples(conditions, inputs.rows, records, lambda row, text: (text == row.needle_value,) * 2)
    with Store(IN_MEMORY) as store:
        (gate,) = judge_gates(Run(inputs, store, run_id="a"), conditions, records, samples).gates
    return gate


def test_filings_that_made_the_ranking_under_other_names(read: Read) -> None:
    inputs = read(tuple(replace(row, filename=f"other-{row.filename}") for row in MADE_FROM))
    assert (inputs.ranking_overlap, set((inputs.overlap or {}).values())) == (12, {"text"})
    found = judged(inputs)
    assert found.verdict == "invalid"
    assert found.reasons[0].startswith(
        "12 of the evaluated filings also made the ranking of the heads, 12 by an equal text;"
    )


def test_two_documents_under_eleven_names_each(read: Read) -> None:
    """They are two clusters, and two clusters decide nothing."""
    documents = [
        [row for row in demo_rows(2, seed=8) if row.filename == name] for name in names_of(demo_rows(2, seed=8))
    ]
    rows = tuple(replace(row, filename=f"{row.filename}-{n}") for rows in documents for n in range(11) for row in rows)
    inputs = read(rows)
    assert len({row.filename for row in inputs.rows}) == 22
    assert len({row.cluster_name for row in inputs.rows}) == 2
    found = judged(inputs)
    assert (found.verdict, found.clusters) == ("inconclusive", 2)


def test_a_ranking_that_does_not_say_what_made_it_passes_where_someone_vouches(read: Read) -> None:
    rows = demo_rows(12, seed=8)
    unknown = read(rows, known=False)
    assert unknown.overlap is None
    assert judged(unknown).verdict == "inconclusive"
    assert judged(read(rows, known=False, heads_held_out=True)).verdict == "pass"
    assert judged(read(rows)).verdict == "pass"


def test_a_ranking_of_five_filings_that_one_of_them_decides(read: Read) -> None:
    """Half of the shared heads would be others: the gate says so."""
    inputs = read(demo_rows(12, seed=8))
    shared = [each.head for each in inputs.ranking.shared()]
    known = ListStability(dict.fromkeys(shared, (0.5,) * inputs.ranking.top_k), (1,) * inputs.ranking.top_k)
    assert not any("not settled" in note for note in judged(inputs).notes), "the demo's is settled"
    ranking = replace(inputs.ranking, stability=Stability(5, 1000, {}, known, None))
    (said,) = [note for note in judged(replace(inputs, ranking=ranking)).notes if "not settled" in note]
    assert "other filings are expected to name 50% of these heads; without one filing as few as 1 of 20 stay" in said


def test_the_share_asked_for_comes_before_the_rankings(read: Read) -> None:
    rows = demo_rows(12, seed=8)
    assert (read(rows).split_share, len(read(rows).rows)) == (0, 108)
    assert read(rows, split_share=None).split_share == 0.8
    with pytest.raises(DataError, match="a smaller split-share"):
        read(rows, split_share=1.0)


def names_of(rows: tuple[Row, ...]) -> list[str]:
    return sorted({row.filename for row in rows})
