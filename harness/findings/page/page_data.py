"""What the page shows of samples and heads: the model of the data that is embedded in it, made of a report.

Every figure is the report's own; nothing is worked out here but which answers were lost and gained beside the baseline,
and which conditions stand in one column. Knows nothing of how it is drawn (`page.html.j2`, `page.js`) or written
(`page_writing`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.experiment.conditions import BASELINE
from harness.findings.report.report_data import ConditionResult, RankingSection, ReportData
from harness.findings.report.row_texts import RowText
from harness.findings.report.tables import Cell, figures
from harness.findings.samples import Fault, Sample, by_condition
from harness.findings.section import Count, LayerHead, Section

RIGHT, WRONG, LOST, GAINED, NONE = "r", "w", "l", "g", "."
"""The letters of `Answers.states`: right or wrong as the untouched model's, lost or gained beside it, no sample."""
SHOWN = (
    *("condition", "experiment", "task", "k", "k_effective", "requested", "n", "matches", "accuracy", "low", "high"),
    *("drop", "lost", "gained", "published_accuracy"),
)
"""The columns of the table of accuracies, as `tables.figures` names them."""


class PageRow(Section):
    """A row that was asked; its texts are null where the report does not keep them."""

    id: str
    task: str
    filename: str
    depth: float | None
    value: str
    question: str | None
    needle: str | None
    before: str | None
    after: str | None


class Answers(Section):
    """What a condition's rows were answered; every tuple goes along `PageData.rows`."""

    states: str
    """A letter a row."""
    texts: tuple[int, ...]
    """Where in `PageData.texts` each completion stands; -1 without a sample."""
    gold: tuple[float | None, ...]
    """The log-probability of the right value's tokens after the prompt."""
    baseline: tuple[float | None, ...]
    """Of the untouched model's completion."""
    value: tuple[float | None, ...]
    """Of the right value's tokens where the untouched completion says them."""
    faults: tuple[tuple[Count, tuple[Fault, ...]], ...]
    """What is wrong with completions as text, by the row's place; rows without a fault are left out."""


class PageCondition(Section):
    """A condition, its heads, and its answers where the report has samples of it."""

    name: str
    experiment: str
    heads: tuple[LayerHead, ...]
    answers: Answers | None


class Column(Section):
    """Conditions that stand in one column of the samples, for no row has two of them."""

    label: str
    experiment: str
    conditions: tuple[Count, ...]
    """Their places in `PageData.conditions`."""


class PageHeads(Section):
    """The ranking as the head map shows it."""

    n_layers: int
    n_heads: int
    method: str | None
    whole: bool
    """Whether every head's score is known; else only those of the tasks' candidates."""
    scores: dict[str, tuple[tuple[float | None, ...], ...]]
    """By task, layers x heads."""
    ranks: dict[str, tuple[LayerHead, ...]]
    """By task, its candidates, best first."""
    chance: dict[str, float]


class PageData(Section):
    """All that the page's own program shows."""

    table: tuple[tuple[Cell, ...], ...]
    """The accuracies, in the columns `SHOWN`."""
    columns_of_table: tuple[str, ...]
    conditions: tuple[PageCondition, ...]
    columns: tuple[Column, ...]
    rows: tuple[PageRow, ...]
    texts: tuple[str, ...]
    """Completions, each once."""
    heads: PageHeads | None


def page_data(report: ReportData, samples: Iterable[Sample], texts: Iterable[RowText] = ()) -> PageData:
    """The data of a report's page; without `texts` its rows have no question, needle or surroundings."""
    answers = by_condition(samples)
    rows: dict[str, Sample] = {}
    for of_condition in answers.values():
        for name, sample in of_condition.items():
            rows.setdefault(name, sample)
    untouched = answers.get(BASELINE.name, {})
    places: dict[str, int] = {}
    conditions = tuple(
        PageCondition(
            name=each.name,
            experiment=each.experiment,
            heads=each.heads,
            answers=answers_of(tuple(rows), answers[each.name], untouched, places) if each.name in answers else None,
        )
        for each in report.conditions
    )
    of_row = {text.row: text for text in texts}
    return PageData(
        table=tuple(tuple(line[name] for name in SHOWN) for line in figures(report)),
        columns_of_table=SHOWN,
        conditions=conditions,
        columns=columns([each for each in report.conditions if each.name in answers], report.conditions),
        rows=tuple(page_row(sample, of_row.get(name)) for name, sample in rows.items()),
        texts=tuple(places),
        heads=_heads(report),
    )


def columns(shown: Sequence[ConditionResult], every: Sequence[ConditionResult]) -> tuple[Column, ...]:
    """The columns of these conditions, in their order: those of one experiment, k and draw share one.

    Where two of them ask the same task, those of one source task share one; where these do too, each has its own.
    """
    place = {condition.name: i for i, condition in enumerate(every)}
    found = []
    for group in _groups(shown, lambda each: (each.experiment, each.k, each.seed, each.gate)):
        for part in [group] if _apart(group) else _groups(group, lambda each: each.source_task):
            for alone in [part] if _apart(part) else [[each] for each in part]:
                found.append(
                    Column(
                        label=_label(alone),
                        experiment=alone[0].experiment,
                        conditions=tuple(place[each.name] for each in alone),
                    )
                )
    return tuple(found)


def _groups(
    conditions: Iterable[ConditionResult], key: Callable[[ConditionResult], object]
) -> list[list[ConditionResult]]:
    groups: dict[object, list[ConditionResult]] = {}
    for condition in conditions:
        groups.setdefault(key(condition), []).append(condition)
    return list(groups.values())


def _apart(group: Sequence[ConditionResult]) -> bool:
    """Whether no row can have two of these conditions."""
    asked = [task for condition in group for task in condition.per_task]
    return len(group) == 1 or (len(asked) == len(set(asked)) and all(each.prompt == group[0].prompt for each in group))


def _label(group: Sequence[ConditionResult]) -> str:
    first = group[0]
    if len(group) == 1:
        return first.name
    parts = [first.experiment] if first.gate is None else [first.experiment, f"for the gate {first.gate}"]
    parts += [] if len({each.source_task for each in group}) > 1 or first.source_task is None else [first.source_task]
    parts += [] if first.seed is None else [f"seed {first.seed}"]
    return ", ".join([*parts, *([] if first.k is None else [f"k = {first.k}"])])


def answers_of(
    rows: Sequence[str], samples: Mapping[str, Sample], untouched: Mapping[str, Sample], places: dict[str, int]
) -> Answers:
    """A condition's answers along the rows, beside those of `untouched`; new completions get a place in `places`."""
    found = [samples.get(row) for row in rows]
    return Answers(
        states="".join(_state(sample, untouched.get(row)) for row, sample in zip(rows, found, strict=True)),
        texts=tuple(-1 if each is None else places.setdefault(each.completion, len(places)) for each in found),
        gold=tuple(None if each is None else _short(each.gold_logprob) for each in found),
        baseline=tuple(None if each is None else _short(each.baseline_logprob) for each in found),
        value=tuple(None if each is None else _short(each.value_logprob) for each in found),
        faults=tuple((i, each.faults) for i, each in enumerate(found) if each is not None and each.faults),
    )


def _state(sample: Sample | None, untouched: Sample | None) -> str:
    if sample is None:
        return NONE
    if untouched is None or untouched.match == sample.match:
        return RIGHT if sample.match else WRONG
    return GAINED if sample.match else LOST


def _short(logprob: float | None) -> float | None:
    return None if logprob is None else round(logprob, 4)


def page_row(sample: Sample, text: RowText | None) -> PageRow:
    """The row that a sample answers, with its texts where they are kept."""
    return PageRow(
        id=sample.row,
        task=sample.task,
        filename=sample.filename,
        depth=sample.depth,
        value=sample.value,
        question=None if text is None else text.question,
        needle=None if text is None else text.needle,
        before=None if text is None else text.before,
        after=None if text is None else text.after,
    )


def _heads(report: ReportData) -> PageHeads | None:
    model, ranking = report.model, report.ranking
    if model is None or ranking is None or not ranking.tasks:
        return None
    return PageHeads(
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        method=ranking.method,
        whole=ranking.mean_scores is not None,
        scores=_scores(ranking, model.n_layers, model.n_heads),
        ranks={task: tuple((layer, head) for layer, head, _ in heads) for task, heads in ranking.tasks.items()},
        chance=ranking.chance or {},
    )


def _scores(ranking: RankingSection, n_layers: int, n_heads: int) -> dict[str, tuple[tuple[float | None, ...], ...]]:
    """Every head's scores by task; where they are not all known, those of the tasks' candidates."""
    if ranking.mean_scores is not None:
        return dict(ranking.mean_scores)
    found = {}
    for task, heads in ranking.tasks.items():
        scores = {(layer, head): score for layer, head, score in heads}
        found[task] = tuple(tuple(scores.get((layer, head)) for head in range(n_heads)) for layer in range(n_layers))
    return found
