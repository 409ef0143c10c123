"""What is attacked: sound files, and how each is read, as its users would.

A target reads a folder in which one file is damaged; what it returns is compared with what the sound folder gives.
"""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_results import SETTING, make_result
from fake_study import SHAPE, make_ranking, make_records, make_report, make_rows, make_setup
from made_up_filing import filing

from harness.cli import EXIT_BAD_INPUT, main
from harness.errors import HarnessError, plain
from harness.experiment.bench_result import Measured, read_growth, read_pace, write_bench
from harness.experiment.conditions import BASELINE
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.store import Store
from harness.experiment.store_merge import merge_stores
from harness.findings.report.report_writing import write_report
from harness.options import OPTIONS, Given, resolve_settings
from harness.retrieval.filings.filing import read_filings
from harness.retrieval.rows import Row, read_rows, write_rows
from harness.retrieval.tasks import EDGAR_TASKS, load_tasks

TASKS = ("ceo_lastname", "incorporation_year")
ROWS = tuple(
    Row(row.filename, row.task, f"It is {i} units.", str(i), "Nothing.") for i, row in enumerate(make_rows(TASKS, 4))
)
REPORT, SAMPLES = ("run/report.json",), ("run/samples.jsonl",)
TOML = """
[[task]]
id = "auditor"
question = "Who is the auditor?"
template = "{context} {question}"
compare = "text"
"""
SETTINGS = {
    "k": "1,2,5",
    "depth": "0.5,1",
    "gate-margin": "0.1",
    "max-new-tokens": "20",
    "tasks": "ceo_lastname",
    "run": "latest",
    "template": "enable_thinking=false",
    "model": "demo",
    "data": "rows.csv",
    "seed": "3",
    "part": "2/8",
    "dry-run": "true",
    "cluster": "8xH100-80GB,2x4xA100-40GB",
    "random-match": "layer",
    "architectures": "my_model = model.layers, self_attn.o_proj",
}


class NotPlainError(AssertionError):
    """A command printed what steers a terminal, or ended otherwise than it may."""


@dataclass(frozen=True)
class Target:
    """`files` are made sound in a folder by `make`; `read` gives what is compared.

    Where `sees_all`, what is read without an error must be what the sound folder gives.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    sees_all: bool = False
    attacked: Sequence[str] = ()
    """The files that are damaged; without any, all."""


def _rows(ending: str) -> Target:
    return Target(
        f"rows{ending}",
        lambda folder: write_rows(ROWS, folder / f"rows{ending}"),
        lambda folder: read_rows(folder / f"rows{ending}", EDGAR_TASKS),
    )


def _heads(name: str, make: Callable[[Path], object]) -> Target:
    def read(folder: Path) -> object:
        ranking = read_ranking(folder / "heads.json")
        write_ranking(ranking, folder / "again.json")
        return ranking.shared(), ranking.global_candidates(), (folder / "again.json").read_bytes()

    return Target(f"heads, {name}", lambda folder: _ignored(make(folder / "heads.json")), read)


def _ignored(_value: object) -> None:
    """What a lambda must not give."""


def _command(*arguments: str) -> Callable[[Path], object]:
    """Run a command on the folder, whose name stands for `{}`; what it prints must be plain."""

    def read(folder: Path) -> object:
        shown, said = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(said):
            code = main([each.format(folder) for each in arguments])
        lines = [*shown.getvalue().splitlines(), *said.getvalue().splitlines()]
        for line in lines:
            if plain(line) != line:
                raise NotPlainError(f"printed {line[:200]!r}")
        refused = code == EXIT_BAD_INPUT and lines and lines[-1].startswith("retrieval-heads: error: ")
        if code not in (0, 1) and not refused:
            raise NotPlainError(f"exit code {code} after {lines[-1:]}")
        if refused:
            raise HarnessError(lines[-1])
        return code, lines

    return read


def _make_report(folder: Path) -> None:
    write_report(*make_report(TASKS, (1, 2), ("within_task", "random_control"), 3), folder / "run")


def _make_pair(folder: Path) -> None:
    _make_report(folder)
    write_report(*make_report(TASKS, (1, 2), ("within_task", "random_control"), 3), folder / "sound")


def _read_report(folder: Path) -> object:
    from harness.findings.report.gate_message import gate_lines
    from harness.findings.report.reading import load
    from harness.findings.report.summary import summary_lines
    from harness.findings.report.tables import accuracy_by_k

    report = load(folder / "run")
    frame = report.frame()
    return [
        frame.to_csv(),
        *summary_lines(report.data),
        *gate_lines(report.data),
        accuracy_by_k(report.data),
        report.sample_lines(),
    ]


def _records() -> Mapping[str, object]:
    rows = make_rows(TASKS, 4)
    made = make_records([BASELINE], rows, make_ranking(tasks=TASKS))
    return {f"key of {record.job.row_id}": record for record in made.values()}


def _make_store(folder: Path) -> None:
    rows = make_rows(TASKS, 4)
    made = make_records([BASELINE], rows, make_ranking(tasks=TASKS))
    with Store(folder / "store.sqlite") as store:
        for record in made.values():
            store.put_row([(f"key of {record.job.row_id}", record)])


def _read_store(folder: Path, name: str = "store.sqlite") -> object:
    """A record that is gone, or is as good as none, is computed again; one that is another is not what was said."""
    with Store(folder / name) as store:
        for key, record in _records().items():
            if (found := store.get(key)) is not None and found != record:
                return f"{key}: another record"
    return "records as they were"


def _read_merged(folder: Path) -> object:
    """The damaged store merged into a new one, which must be as sound as any."""
    (folder / "merged.sqlite").unlink(missing_ok=True)
    merge_stores([folder / "store.sqlite"], folder / "merged.sqlite")
    return _read_store(folder, "merged.sqlite")


def _make_filings(folder: Path) -> None:
    made = filing()
    fields = {**made.facts, **{f"section_{part.name}": part.text for part in made.sections}}
    (folder / "filings").mkdir()
    (folder / "filings" / "one.json").write_text(json.dumps(fields))


def _make_samples(folder: Path) -> None:
    made = {"task": TASKS[0], "gold": "Lee"}
    rows = [
        made | {"idx": f"{n}_1993.txt_{TASKS[0]}_{n}", "pred": pred} for n, pred in enumerate(["Lee", "Roe", "Lee"])
    ]
    scored = [row | {"correct": int(row["pred"] == "Lee")} for row in rows]
    details = {"0": scored, "8": scored[:2]}
    (folder / "published").mkdir()
    (folder / "published" / "mine.json").write_text(json.dumps({"method": "mine", "details": details}))


def _read_samples(folder: Path) -> object:
    from harness.findings.published.sample_files import read_samples, samples_report, scoring_lines

    found = read_samples(folder / "published")
    return found and [samples_report(make_setup(None, SHAPE), found).model_dump_json(), *scoring_lines(found)]


def read_settings(given: Mapping[str, str], folder: Path) -> object:
    """The settings, and what a report would keep of them."""
    known = {option.name for option in OPTIONS}
    options = {name: Given(f"--ablation-{name}", text, folder) for name, text in given.items() if name in known}
    settings = resolve_settings(options, folder)
    json.dumps(settings.shown(folder), ensure_ascii=False).encode()
    return settings


def targets() -> tuple[Target, ...]:
    """All of them."""
    published = {task: [{"head": [17, 24], "avg_score": 0.3}, {"head": [3, 1], "avg_score": 0.2}] for task in TASKS}
    trials = {f"{layer}-{head}": [0.1 * layer, 0.2] for layer in range(4) for head in range(4)}
    return (
        *map(_rows, (".csv", ".jsonl", ".parquet")),
        _heads("ours", lambda file: write_ranking(make_ranking(tasks=TASKS), file)),
        _heads("published", lambda file: file.write_text(json.dumps(published))),
        _heads("trials", lambda file: file.write_text(json.dumps(trials))),
        _heads("flat", lambda file: file.write_text('[["13-18", 0.5], ["2-3", 0.25]]')),
        _heads("in an envelope", lambda file: file.write_text(json.dumps({"meta": {"method": "x"}, "scores": trials}))),
        Target(
            "heads, a text",
            lambda folder: _ignored((folder / "heads.yaml").write_text('attn_head_set: "13-18,2-3"\nmodel: x\n')),
            lambda folder: read_ranking(folder / "heads.yaml"),
        ),
        Target("published samples", _make_samples, _read_samples),
        Target("report", _make_report, _read_report, attacked=REPORT),
        Target("samples", _make_report, _read_report, sees_all=True, attacked=SAMPLES),
        Target("store", _make_store, _read_store, sees_all=True),
        Target("store, merged", _make_store, _read_merged, sees_all=True, attacked=("store.sqlite",)),
        Target(
            "tasks",
            lambda folder: _ignored((folder / "tasks.toml").write_text(TOML)),
            lambda folder: load_tasks(folder / "tasks.toml"),
        ),
        Target(
            "benchmark",
            lambda folder: write_bench(
                folder / "bench.json", Measured(SETTING, make_result(), make_result(), {2: make_result(2)})
            ),
            lambda folder: (read_pace(folder / "bench.json"), read_growth(folder / "bench.json")),
        ),
        Target("filings", _make_filings, lambda folder: read_filings(folder / "filings")),
        Target(
            "command heads",
            lambda folder: write_ranking(make_ranking(tasks=TASKS), folder / "heads.json"),
            _command("heads", "{}/heads.json"),
        ),
        Target("command export", _make_report, _command("export", "{}/run", "--csv", "{}/csv"), attacked=REPORT),
        Target(
            "command compare",
            _make_pair,
            _command("compare", "{}/sound", "{}/run", "--fail-on", "answers"),
            attacked=(*REPORT, *SAMPLES),
        ),
        Target("command plot", _make_report, _command("plot", "{}/run", "--format", "svg"), attacked=REPORT),
    )
