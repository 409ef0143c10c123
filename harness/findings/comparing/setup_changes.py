"""How two reports' setups differ: settings, programs, model, ranking and data, each difference a line.

What says where a run's files go, when it ran and how long it took is no difference of setup. Knows nothing of
results (`compare`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.experiment.heads import Head
from harness.findings.report.report_data import DataSection, ModelSection, RankingSection, ReportData

Section = Literal["settings", "versions", "model", "ranking", "data"]

BOOKKEEPING = frozenset({"run", "reports", "store", "refresh", "dry_run", "ray"})
"""Settings that say where results go or are computed, and nothing of what they are."""
N_SHOWN = 4
"""How many heads of a changed list are named."""
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class SetupChange:
    """One thing that the two reports say differently, as text."""

    section: Section
    name: str
    before: str
    after: str


def setup_changes(before: ReportData, after: ReportData) -> tuple[SetupChange, ...]:
    """What differs, section by section, by name."""
    pairs: list[tuple[Section, Mapping[str, str], Mapping[str, str]]] = [
        ("settings", _settings(before), _settings(after)),
        ("versions", _texts(before.versions), _texts(after.versions)),
        ("model", _model(before.model), _model(after.model)),
        ("ranking", _facts(before.ranking), _facts(after.ranking)),
        ("data", _data(before.data), _data(after.data)),
    ]
    changes = [
        SetupChange(section, name, old.get(name, ABSENT), new.get(name, ABSENT))
        for section, old, new in pairs
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if before.ranking is not None and after.ranking is not None:
        changes += _head_changes(before.ranking, after.ranking)
    return tuple(sorted(changes, key=lambda change: [section for section, _, _ in pairs].index(change.section)))


def _settings(report: ReportData) -> dict[str, str]:
    return _texts({name: value for name, value in report.configuration.items() if name not in BOOKKEEPING})


def _model(model: ModelSection | None) -> dict[str, str]:
    return {} if model is None else _texts(dict(model))


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _facts(ranking: RankingSection | None) -> dict[str, str]:
    """What stands beside the lists of heads."""
    if ranking is None:
        return {}
    return _texts(
        {
            "source": ranking.source,
            "method": ranking.method,
            "top_k": ranking.top_k,
            "tasks": sorted(ranking.tasks),
            "full scores": "unknown" if ranking.mean_scores is None else "known",
        }
    )


def _data(data: DataSection) -> dict[str, str]:
    excluded = sorted(f"{each.row}: {each.reason}" for each in data.excluded)
    return _texts(
        {
            "source": data.source,
            "rows": data.rows,
            "filings": data.filings,
            "split_seed": data.split_seed,
            "ranking_overlap": data.ranking_overlap,
            "excluded": len(excluded),
            **{f"excluded {row}": "yes" for row in excluded},
            **{f"rows of {task}": part.rows for task, part in data.tasks.items()},
        }
    )


def _head_changes(before: RankingSection, after: RankingSection) -> Iterator[SetupChange]:
    tasks = sorted(before.tasks.keys() & after.tasks.keys())
    for task in tasks:
        yield from _list_changes(f"heads of {task}", before.tasks[task], after.tasks[task])
    yield from _list_changes("shared heads", before.shared_heads, after.shared_heads)
    yield from _list_changes("global heads", before.global_heads, after.global_heads)
    old, new = before.mean_scores or {}, after.mean_scores or {}
    for task in tasks:
        if task in old and task in new and old[task] != new[task]:
            yield from _list_changes(f"all scores of {task}", _flat(old[task]), _flat(new[task]))


def _flat(scores: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[layer, head, score] for layer, row in enumerate(scores) for head, score in enumerate(row)]


def _list_changes(name: str, before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> list[SetupChange]:
    """Other heads; or else the first place that differs, by its head and score."""
    if before == after:
        return []
    old, new = [_head(entry) for entry in before], [_head(entry) for entry in after]
    if set(old) != set(new):
        return [SetupChange("ranking", name, _only(old, new), _only(new, old))]
    place = next(i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    return [SetupChange("ranking", name, *(f"place {place + 1}: {_entry(each[place])}" for each in (before, after)))]


def _head(entry: Sequence[float]) -> Head:
    return Head(int(entry[0]), int(entry[1]))


def _entry(entry: Sequence[float]) -> str:
    return f"{_head(entry)} {entry[-1]:.6g}"


def _only(heads: Sequence[Head], others: Sequence[Head]) -> str:
    """The heads that the other list lacks."""
    own = [str(head) for head in heads if head not in set(others)]
    more = " ..." if len(own) > N_SHOWN else ""
    return (
        f"{len(own)} of {len(heads)} alone: {' '.join(own[:N_SHOWN])}{more}" if own else f"none of {len(heads)} alone"
    )
