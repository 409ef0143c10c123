"""The summary of a ranking of heads: a few lines of text, for a terminal.

How many heads each task has, which are its best, which the tasks share, how many are left for random
controls, and what a reader should know of the file. Everything comes from the ranking alone.
"""

from collections.abc import Iterator, Sequence

from harness.counting import counted
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import HeadRanking
from harness.findings.columns import aligned
from harness.findings.rankings.ranking_notes import ranking_notes

N_BEST = 4
"""How many of a task's heads are shown."""
N_COMMON = 10
"""How many shared and global heads are shown."""


def ranking_lines(ranking: HeadRanking, shape: ModelShape | None = None) -> Iterator[str]:
    """The lines of the summary; `shape` is the model's where the ranking itself does not know it."""
    yield f"{ranking.source}: {_size(ranking)}"
    yield from _origin(ranking)
    yield from aligned([("task", "rows", "heads", "halves", "best heads"), *_task_cells(ranking)], "lrrrl")
    if not ranking.every_task:
        best = ranking.global_candidates()
        yield _common("shared heads", [entry.head for entry in ranking.shared()])
        yield _common("global heads", [scored.head for scored in best])
    known = shape or ranking.model
    if known is not None:
        pool = len(ranking.pool(known))
        yield (
            f"control pool: {pool} of {known.n_layers * known.n_heads} heads at top-k {ranking.top_k}: "
            f"enough for random controls up to k = {pool // 2}"
        )
    for note in ranking_notes(ranking):
        yield f"note: {note}"


def _size(ranking: HeadRanking) -> str:
    counts = {len(ranking.candidates(task)) for task in ranking.tasks}
    heads = f"{min(counts)}-{max(counts)}" if len(counts) > 1 else f"{max(counts)}"
    if ranking.every_task:
        return f"one list of {heads} heads for every task"
    return f"{len(ranking.tasks)} tasks x {heads} heads, {len(ranking.shared())} shared"


def _origin(ranking: HeadRanking) -> Iterator[str]:
    """What is known of how the ranking was made."""
    shape, hashes = ranking.model, ranking.filing_hashes
    if shape is not None:
        width = "" if shape.head_dim is None else f" of width {shape.head_dim}"
        yield f"model: {shape.id or 'unnamed'}, {shape.n_layers} layers of {shape.n_heads} heads{width}"
    if ranking.method is not None:
        yield f"method: {ranking.full_method}"
    if hashes is not None:
        yield f"made from: {counted(len(hashes), 'filing')}, split seed {_known(ranking.split_seed)}"


def _task_cells(ranking: HeadRanking) -> Iterator[tuple[str, ...]]:
    """A line a task: rows behind it, candidates, rank correlation of the rows' halves, and the best heads."""
    samples, halves = ranking.samples or {}, ranking.split_half or {}
    for task in ranking.tasks:
        scored = ranking.scored(task)
        yield (
            "every task" if ranking.every_task else task,
            _known(samples.get(task)),
            str(len(scored)),
            f"{halves[task]:.3f}" if task in halves else "-",
            "  ".join(f"{each.head} {each.score:.3g}" for each in scored[:N_BEST]),
        )


def _common(what: str, heads: Sequence[Head]) -> str:
    shown = " ".join(str(head) for head in heads[:N_COMMON])
    return f"{what}: {len(heads)}{': ' if heads else ''}{shown}{' ...' if len(heads) > N_COMMON else ''}"


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)
