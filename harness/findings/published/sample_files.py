"""Published answers, sample by sample, as a report: paired, and clustered by filing.

Read are the files of the study that followed the EDGAR haystack study
(https://github.com/4n4ny4/qr_scoring, `results/comparison_ablation`), one a ranking: `details` holds for each number of
zeroed heads every row's `idx`, `task`, `gold`, `pred` and `correct`. The filing stands inside `idx`, as in
`29989_1993.txt_registrant_name_52`; files of one company, by its number, are one cluster. `Random-seed42` is a draw of
random heads, `Transfer-TASK` the heads ranked for that task, asked on all; another method is an experiment of its name.

Every answer is scored twice, side by side: by rule `value`, whole tokens, and as the file says (`correct`), where
either text within the other is right after normalising: "St" counts for "St. Louis". Which heads were zeroed the files
do not say. Knows nothing of published counts (`result_files`).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import ReportError
from harness.experiment.conditions import BASELINE, RANDOM, Condition
from harness.experiment.json_nodes import Node, read_json
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_writing import Setup, build_report
from harness.findings.samples import Sample, faults_of
from harness.findings.statistics import cluster_mean
from harness.findings.wording import aligned, percent, points, points_between
from harness.retrieval.rows import Row
from harness.retrieval.scoring import Compare, matches_value, normalise
from harness.retrieval.tasks import EDGAR_TASKS

_COMPANY = re.compile(r"(\d+)_\d{4}\.txt")
_RANDOM, _TRANSFER = re.compile(r"Random-seed(\d+)"), re.compile(r"Transfer-(\w+)")
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PublishedSamples:
    """What a folder holds: rows, conditions (the untouched model first) and samples.

    `differing` counts the rows that the untouched model answers otherwise in some file than in the first; `left_out`
    names unknown files.
    """

    rows: tuple[Row, ...]
    conditions: tuple[Condition, ...]
    samples: tuple[Sample, ...]
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    differing: int


@dataclass(frozen=True)
class _File:
    """One file: each row's answer, by its `idx`, for each number of heads."""

    name: str
    method: str
    by_k: Mapping[int, Mapping[str, "_Answer"]]


@dataclass(frozen=True, slots=True)
class _Answer:
    idx: str
    task: str
    gold: str
    pred: str
    correct: bool


def read_samples(folder: Path) -> PublishedSamples | None:
    """Read every `.json` file of the folder that holds samples; `None` where none does.

    Raises, naming file and entry:
        ReportError: the folder or a file cannot be read, a row is asked twice or with another value, no file has the
            untouched model (0), figures contradict each other, or two files are of one method.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        raise ReportError(f"{folder}: {error.strerror}; expected a folder of published result files") from None
    read: dict[str, _File] = {}
    left_out = []
    for path in files:
        root = read_json(path, ReportError)
        if not (root.has("details") and root.has("method")):
            left_out.append(path.name)
            continue
        method = root.field("method").text()
        if method in read:
            raise root.field("method").bad(f"another method than in {read[method].name}")
        read[method] = _File(path.name, method, _by_k(root))
    return _gathered(tuple(read.values()), tuple(left_out)) if read else None


def samples_report(setup: Setup, found: PublishedSamples) -> ReportData:
    """The report; heads, their overlaps and likelihoods are unknown, how many heads there were the files say."""
    report = build_report(setup, found.conditions, found.rows, found.samples)
    return report.model_copy(
        update={
            "conditions": tuple(
                each.model_copy(update={"k_effective": each.k or 0, "likelihood": None}) for each in report.conditions
            ),
            "contrasts": tuple(each.model_copy(update={"k_effective": (each.k, each.k)}) for each in report.contrasts),
            "specificity": None,
        }
    )


def scoring_lines(found: PublishedSamples) -> Iterator[str]:
    """Both scorings side by side, an experiment and k a line: accuracy, and the paired drop with its interval."""
    if found.differing:
        yield (
            f"the untouched model answers {found.differing} of {len(found.rows)} rows otherwise in some file than in "
            f"{found.files[0]}, whose answers are its"
        )
    by_condition: dict[str, list[Sample]] = {}
    for sample in found.samples:
        by_condition.setdefault(sample.condition, []).append(sample)
    before = {sample.row: sample for sample in by_condition[BASELINE.name]}
    yield "accuracy, and the drop in points on the same rows with its 95 % interval over filings (cluster-robust t):"
    table = [("", "", "rows", "by value", "drop", "as published", "drop", "differ")]
    groups: dict[tuple[str, int], list[Sample]] = {}
    for condition in found.conditions:
        name = condition.experiment if condition.seed is None else f"{condition.experiment} seed {condition.seed}"
        of_source = f"{name} {condition.source_task}" if condition.source_task is not None else name
        groups.setdefault((of_source, condition.k or 0), []).extend(by_condition.get(condition.name, []))
    for (name, k), samples in groups.items():
        n, differ = len(samples), sum(sample.match != sample.published_match for sample in samples)
        ours, theirs = (_scored(samples, before if k else {}, rule) for rule in ("match", "published_match"))
        table.append((name, f"k={k}", str(n), *ours, *theirs, str(differ)))
    yield from aligned(table, "lrrrrrrr")


def _scored(samples: Sequence[Sample], before: Mapping[str, Sample], rule: str) -> tuple[str, str]:
    """Accuracy by one of the scorings, and the drop with its interval where there is something to compare with."""
    right = [getattr(each, rule) for each in samples]
    accuracy = percent(sum(right) / len(right)) if right else "-"
    if not before:
        return accuracy, ""
    drops = [getattr(before[each.row], rule) - now for each, now in zip(samples, right, strict=True)]
    drop = cluster_mean(drops, [each.cluster for each in samples])
    return accuracy, "-" if drop is None else f"{points(drop.estimate)} {points_between(drop.interval().ends)}"


def _by_k(root: Node) -> dict[int, dict[str, _Answer]]:
    """Each number of heads' answers by row; sums are checked."""
    found: dict[int, dict[str, _Answer]] = {}
    curve = root.optional("accuracy_curve", lambda node: node.table(Node.number)) or {}
    for key, details in root.field("details").table(lambda node: node).items():
        if not key.isascii() or not key.isdigit():
            raise details.bad("a number of heads for a key")
        answers: dict[str, _Answer] = {}
        for item in details.items():
            idx, task, gold, pred = (item.field(name).text() for name in ("idx", "task", "gold", "pred"))
            if not idx or not task:
                raise item.field("task" if idx else "idx").bad("a name")
            answer = _Answer(idx, task, gold, pred, correct=bool(item.field("correct").integer()))
            if item.field("correct").integer() > 1:
                raise item.field("correct").bad("0 or 1")
            if answer.idx in answers:
                raise item.field("idx").bad("each row once")
            if not normalise(answer.gold, _compare(answer.task)):
                raise item.field("gold").bad(f"a value that can be found in an answer, a {_compare(answer.task)}")
            answers[answer.idx] = answer
        right = sum(answer.correct for answer in answers.values())
        if answers and key in curve and abs(curve[key] - right / len(answers)) > _TOLERANCE:
            raise root.field("accuracy_curve").field(key).bad(f"{right / len(answers):.6g}, {right}/{len(answers)}")
        found[int(key)] = answers
    return found


def _gathered(files: Sequence[_File], left_out: tuple[str, ...]) -> PublishedSamples:
    untouched = next((answers for file in files if (answers := file.by_k.get(0))), None)
    if untouched is None:
        raise ReportError(f"{files[0].name}: details: none with 0 heads zeroed; expected the untouched model's, as '0'")
    rows, differing = _rows(untouched), set()
    conditions, samples = [BASELINE], [_sample(BASELINE, rows[idx], answer) for idx, answer in untouched.items()]
    for file in files:
        for k, answers in sorted(file.by_k.items()):
            for idx, answer in answers.items():
                same = untouched.get(idx)
                if same is None or (same.task, same.gold) != (answer.task, answer.gold):
                    raise ReportError(
                        f"{file.name}: details.{k}: {idx}: {answer.task} {answer.gold!r}; expected a row that the "
                        "untouched model was asked too, and its value; put files of one data set in a folder"
                    )
                if k == 0 and same.pred != answer.pred:
                    differing.add(idx)
            for condition in _conditions(file.method, k, answers) if k else ():
                conditions.append(condition)
                asked = {i: a for i, a in answers.items() if condition.tasks is None or a.task in condition.tasks}
                samples += [_sample(condition, rows[idx], answer) for idx, answer in asked.items()]
    names = tuple(file.name for file in files)
    return PublishedSamples(
        tuple(rows.values()), tuple(conditions), tuple(samples), names, left_out, differing=len(differing)
    )


def _conditions(method: str, k: int, answers: Mapping[str, _Answer]) -> list[Condition]:
    """What a method's answers at one k are called here; heads of one task make a condition for each task asked."""
    if (drawn := _RANDOM.fullmatch(method)) is not None:
        seed = int(drawn[1])
        return [Condition(RANDOM, f"seed{seed}-k{k:02d}", k=k, seed=seed, random_match="uniform")]
    if (source := _TRANSFER.fullmatch(method)) is not None:
        whole = Condition("transfer", k=k, source_task=source[1])
        targets = dict.fromkeys(answer.task for answer in answers.values())
        return [replace(whole, setting=f"{source[1]}:{task}-k{k:02d}", tasks=(task,)) for task in targets]
    return [Condition(re.sub(r"[^A-Za-z0-9_.+-]", "_", method), f"k{k:02d}", k=k)]


def _rows(answers: Mapping[str, _Answer]) -> dict[str, Row]:
    """A row each, without text: of a filing that is asked the same twice, the second is named by its number too."""
    found: dict[str, Row] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for answer in answers.values():
        filing = re.sub(rf"_{re.escape(answer.task)}_\d+$", "", answer.idx)
        company = _COMPANY.fullmatch(filing)
        seen[filing, answer.task] += 1
        again = seen[filing, answer.task]
        name = filing if again == 1 else f"{filing} ({again})"
        cluster = filing if company is None else company[1]
        found[answer.idx] = Row(name, answer.task, "", answer.gold, "", cluster=cluster)
    return found


def _sample(condition: Condition, row: Row, answer: _Answer) -> Sample:
    """What the files say of an answer: no tokens, probabilities or end (`samples` makes those of records)."""
    return Sample(
        condition=condition.name,
        row=row.id,
        filename=row.filename,
        cluster=row.cluster_name,
        task=row.task,
        depth=None,
        value=answer.gold,
        completion=answer.pred,
        match=matches_value(answer.pred, answer.gold, _compare(answer.task)),
        published_match=answer.correct,
        ended=True,
        faults=tuple(sorted(faults_of(answer.pred, answer.gold, ended=True))),
        tokens=0,
        gold_logprob=None,
        baseline_logprob=None,
        own={},
    )


def _compare(task: str) -> Compare:
    return EDGAR_TASKS[task].compare if task in EDGAR_TASKS else "text"
