"""Published result files of the EDGAR haystack study's format: matches of attempts, by experiment, k and task.

What a file holds is told by its content: the baseline by task; one experiment by k, each with its tasks; one by
task, each with its ks (`within_task`); and source tasks by target tasks (`transfer`). Heads are either counted
or, in a random control, listed. Which pooled experiment a file of counted heads is, only its name says: that
study's `across_task_ablation` zeroes the heads that tasks share, our `general`. Every sum and accuracy is
checked. Knows nothing of reports (`published_report`).

Source: https://github.com/dersual/EDGAR-Haystack.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.errors import ReportError
from harness.experiment.conditions import RANDOM
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head
from harness.experiment.json_nodes import Node, read_json
from harness.experiment.rankings import HeadRanking

POOLED_NAMES: Mapping[str, str] = MappingProxyType({"across_task_ablation": "general", "global_ablation": "global"})
"""Our experiments by the names of that study's files."""
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Count:
    """Matches of attempts: one task's rows."""

    attempts: int
    matches: int


@dataclass(frozen=True)
class PublishedCondition:
    """One experiment at one k on these tasks' rows; `where` is its file and place.

    `source_task` is the task whose heads were zeroed, where one was; `heads` are `None` where only their number
    is published. `seed` tells the files of random controls apart.
    """

    where: str
    experiment: str
    k: int
    n_heads: int
    counts: Mapping[str, Count]
    source_task: str | None = None
    heads: tuple[Head, ...] | None = None
    seed: int | None = None


@dataclass(frozen=True)
class PublishedResults:
    """What a folder holds: the baseline by task, every cell, rankings of heads; `left_out` names unknown files."""

    baseline: Mapping[str, Count]
    cells: tuple[PublishedCondition, ...]
    rankings: tuple[HeadRanking, ...]
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def read_published(folder: Path) -> PublishedResults:
    """Read every `.json` file of the folder.

    Raises, naming file and entry:
        ReportError: the folder or a file cannot be read, figures contradict each other, there is not exactly one
            baseline, or an experiment asks other rows than the baseline.
        HeadsError: what begins as a ranking is none.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        raise ReportError(f"{folder}: {error.strerror}; expected a folder of published result files") from None
    baselines: dict[str, dict[str, Count]] = {}
    cells: list[PublishedCondition] = []
    rankings, left_out = [], []
    draws = 0
    for path in files:
        root = read_json(path, ReportError)
        match _shape(root):
            case "baseline":
                baselines[path.name] = root.table(_count)
            case "by k":
                found = list(_by_k(root, path.stem, draws))
                draws += any(cell.seed is not None for cell in found)
                cells += found
            case "by task":
                cells += _by_task(root)
            case "transfer":
                cells += _transfer(root)
            case "ranking":
                rankings.append(read_ranking(path))
            case _:
                left_out.append(path.name)
    if len(baselines) != 1:
        raise ReportError(
            f"{folder}: {len(baselines)} files of a baseline{': ' if baselines else ''}{', '.join(baselines)}; "
            'expected one of {TASK: {"attempts": 31, "matches": 24}} beside the files of ablations'
        )
    (baseline,) = baselines.values()
    if not cells:
        raise ReportError(f"{folder}: no file of an ablation; expected at least one beside the baseline")
    for cell in cells:
        _check_rows(cell, baseline)
    read = tuple(path.name for path in files if path.name not in left_out)
    return PublishedResults(baseline, tuple(cells), tuple(rankings), read, tuple(left_out))


def _shape(root: Node) -> str | None:
    """What kind of file this is, by its outermost layers."""
    value = root.value
    if isinstance(value, dict) and ("tasks" in value or "head_rankings" in value):
        return "ranking"
    first = next(iter(value.values()), None) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(first, dict):
        return None
    if all(key.isdigit() for key in value):
        return "transfer" if "per_source_task" in first else "by k"
    if "attempts" in first:
        return "baseline"
    return "by task" if first and all(key.isdigit() for key in first) else None


def _by_k(root: Node, stem: str, seed: int) -> Iterator[PublishedCondition]:
    for cell in _parts(root):
        counts = cell.field("per_task").table(_count)
        _check_total(cell, counts)
        listed = cell.field("heads_ablated")
        heads = tuple(_head(item) for item in listed.items()) if isinstance(listed.value, list) else None
        yield PublishedCondition(
            where=cell.where,
            experiment=POOLED_NAMES.get(stem, stem) if heads is None else RANDOM,
            k=_k(cell),
            n_heads=listed.integer() if heads is None else len(heads),
            counts=counts,
            heads=heads,
            seed=None if heads is None else seed,
        )


def _by_task(root: Node) -> Iterator[PublishedCondition]:
    for task in _parts(root):
        for cell in _parts(task):
            n_heads, counts = cell.field("heads_ablated").integer(), {_key(task): _count(cell)}
            yield PublishedCondition(cell.where, "within_task", _k(cell), n_heads, counts, source_task=_key(task))


def _transfer(root: Node) -> Iterator[PublishedCondition]:
    for cell in _parts(root):
        k = _k(cell)
        for source in _parts(cell.field("per_source_task")):
            for target in _parts(source):
                n_heads, counts = target.field("heads_ablated").integer(), {_key(target): _count(target)}
                yield PublishedCondition(target.where, "transfer", k, n_heads, counts, source_task=_key(source))


def _parts(node: Node) -> Iterable[Node]:
    """The pieces of an object."""
    return node.table(_itself).values()


def _itself(node: Node) -> Node:
    return node


def _key(node: Node) -> str:
    return node.place.rpartition(".")[2]


def _k(cell: Node) -> int:
    """The k of a cell, which its key repeats."""
    k = cell.field("k").integer(1)
    if str(k) != _key(cell):
        raise cell.field("k").bad(f"{_key(cell)}, as its key says")
    return k


def _count(node: Node) -> Count:
    attempts, matches = node.field("attempts").integer(), node.field("matches").integer()
    if matches > attempts:
        raise node.field("matches").bad(f"at most the {attempts} attempts")
    _check_accuracy(node.field("accuracy"), matches, attempts)
    return Count(attempts, matches)


def _check_total(cell: Node, counts: Mapping[str, Count]) -> None:
    attempts, matches = (sum(getattr(c, name) for c in counts.values()) for name in ("attempts", "matches"))
    for key, total in (("total_attempts", attempts), ("total_matches", matches)):
        if cell.field(key).integer() != total:
            raise cell.field(key).bad(f"{total}, the sum over its tasks")
    _check_accuracy(cell.field("overall_accuracy"), matches, attempts)


def _check_accuracy(node: Node, matches: int, attempts: int) -> None:
    if attempts and abs(node.number() - matches / attempts) > _TOLERANCE:
        raise node.bad(f"{matches / attempts:.6g}, which is {matches}/{attempts}")


def _head(item: Node) -> Head:
    match item.value:
        case [layer, head]:
            return Head(item.part(layer, "[0]").integer(), item.part(head, "[1]").integer())
    raise item.bad("a head, as in [17, 24]")


def _check_rows(cell: PublishedCondition, baseline: Mapping[str, Count]) -> None:
    for task, count in cell.counts.items():
        if task not in baseline:
            raise ReportError(f"{cell.where}: task {task}; expected one of the baseline's: {', '.join(baseline)}")
        if count.attempts != baseline[task].attempts:
            raise ReportError(
                f"{cell.where}: {count.attempts} attempts of {task}; expected the baseline's "
                f"{baseline[task].attempts}, for a drop is on the same rows"
            )
