"""Small reports to compare: three tasks of one filing list, made from a letter a row."""

from collections.abc import Mapping
from dataclasses import replace

from changed_section import changed
from fake_gates import GATE, SOUND, make_answers, make_rows
from fake_study import make_ranking, make_setup, score

from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.heads import Head
from harness.experiment.plan import jobs_of
from harness.experiment.record import Completion, Record
from harness.findings.comparing.compare import Source
from harness.findings.report.report_writing import build_report
from harness.findings.samples import score_samples
from harness.findings.verdicts.gate_results import gate_result
from harness.findings.verdicts.verdict_data import Kind, Margins
from harness.retrieval.rows import Row

ROWS = tuple(
    Row(f"f{filing}", task, f"The {task} is 7.", "7", "Nothing here.")
    for filing in range(4)
    for task in ("ceo_lastname", "incorporation_year")
)
CEO = Condition("within_task", "ceo_lastname-k01", (Head(0, 0),), tasks=("ceo_lastname",), k=1)
YEAR = Condition("within_task", "incorporation_year-k01", (Head(0, 1),), tasks=("incorporation_year",), k=1)
GENERAL = Condition("general", "k02", (Head(0, 2), Head(0, 3)), k=2)
DRAW = Condition("random_control", "seed0-k01", (Head(1, 0),), k=1, seed=0)

RIGHT: dict[Condition, str] = {
    BASELINE: "++++++++",
    GENERAL: "++++++--",
    CEO: "++--",
    YEAR: "++++",
    DRAW: "++++++++",
}
"""A letter a row: + right, - wrong, x right in other words, . no record; rows go filing by filing."""


def source(right: Mapping[Condition, str] = RIGHT, *, name: str = "a", rows: tuple[Row, ...] = ROWS) -> Source:
    """A report and its samples; conditions stand in the order given, rows in theirs."""
    texts = {"+": "7.", "-": "8.", "x": "7"}
    records = {}
    for condition, letters in right.items():
        for job, letter in zip(jobs_of(condition, ROWS), letters, strict=True):
            if letter != ".":
                text, logprob = texts[letter], -0.5 if letter == "-" else -0.1
                records[job] = Record(job, Completion((1,), 2, logprob, -0.1, 1, 1.0), text, 0.1)
    samples = score_samples(right, rows, records, lambda row, text: (score(row, text)[1], score(row, text)[1]))
    setup = make_setup(make_ranking(tasks=("ceo_lastname", "incorporation_year")))
    return Source(name, build_report(setup, tuple(right), rows, samples), samples)


def with_gates(source: Source, verdicts: Mapping[str, Kind]) -> Source:
    """The report with gates of these names and verdicts, whatever else they say."""
    rows = make_rows(2)
    gate = gate_result(GATE, rows, make_answers(GATE, rows, {}, {}), Margins(), SOUND)
    gates = [changed(gate, {"name": name, "verdict": verdict}) for name, verdict in verdicts.items()]
    return replace(source, data=changed(source.data, {"gates": gates}))
