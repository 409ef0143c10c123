"""The summary of a ranking of heads: a few lines of text, for a terminal.

How many heads each task has, which are its best and how far they rest on which filings were drawn, which the tasks
share, how many are left for random controls, and notes on what a reader of results should know of the file, a sentence
each. Everything comes from the ranking alone; but for the heads that a gate judges, of which `unsettled` says how far
they rest on which filings ranked them.
"""

from collections.abc import Iterator, Mapping, Sequence

from harness.choices import GateHeads
from harness.errors import counted
from harness.experiment.heads import Head, ModelShape
from harness.experiment.rankings import AT_CHANCE, HeadRanking, ScoredHead, SharedHead
from harness.experiment.stability import LEAST_CLUSTERS, STABLE, ListStability
from harness.findings.wording import aligned, span

N_BEST = 4
"""How many of a task's heads are shown."""
N_COMMON = 10
"""How many shared and global heads are shown."""


def ranking_lines(ranking: HeadRanking, shape: ModelShape | None = None) -> Iterator[str]:
    """The lines of the summary; `shape` is the model's where the ranking itself does not know it."""
    yield f"{ranking.source}: {_size(ranking)}"
    yield from _origin(ranking)
    yield from _task_table(ranking)
    yield from _legend(ranking)
    if not ranking.every_task:
        found = ranking.stability
        of_shared, of_global = (None, None) if found is None else (found.shared_heads, found.global_heads)
        for what, heads, of_list in (
            ("shared heads", [entry.head for entry in ranking.shared()], of_shared),
            ("global heads", [scored.head for scored in ranking.global_candidates()], of_global),
        ):
            yield _common(what, heads) + _again_words(of_list, heads, ranking.top_k)
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
    heads = span(min(counts), max(counts))
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


def _task_table(ranking: HeadRanking) -> Iterator[str]:
    """A line a task: rows behind it, candidates, rank correlation of the rows' halves, and the best heads.

    Where they are known also the stability of its candidates, and chance.
    """
    samples, halves = ranking.samples or {}, ranking.split_half or {}
    again = {} if ranking.stability is None else ranking.stability.tasks
    columns = {
        "task": ["every task" if ranking.every_task else task for task in ranking.tasks],
        "rows": [_known(samples.get(task)) for task in ranking.tasks],
        "heads": [str(len(ranking.scored(task))) for task in ranking.tasks],
        "halves": [f"{halves[task]:.3f}" if task in halves else "-" for task in ranking.tasks],
    }
    if ranking.stability is not None:
        listed = {task: ranking.candidates(task) for task in ranking.tasks}
        columns |= {
            "again": [
                f"{again[task].overlap(heads, len(heads)):.0%}" if task in again else "-"
                for task, heads in listed.items()
            ],
            "kept": [str(again[task].kept(len(heads))) if task in again else "-" for task, heads in listed.items()],
        }
    if ranking.chance is not None:
        columns["chance"] = [f"{ranking.chance[task]:.3g}" for task in ranking.tasks]
    columns["best heads"] = [
        "  ".join(f"{each.head} {each.score:.3g}" for each in ranking.scored(task)[:N_BEST]) for task in ranking.tasks
    ]
    yield from aligned([tuple(columns), *zip(*columns.values(), strict=True)], "l" + "r" * (len(columns) - 2) + "l")


def _legend(ranking: HeadRanking) -> Iterator[str]:
    """What the columns that not every ranking has say."""
    if ranking.stability is not None:
        yield (
            "again: the part of the heads that other filings are expected to name too; kept: how many stay, at least, "
            f"without one filing ({counted(ranking.stability.clusters, 'independent filing')})"
        )
    if ranking.chance is not None:
        yield "chance: what a head scores that attends to every token alike"


def _again_words(found: ListStability | None, heads: Sequence[Head], top_k: int) -> str:
    if found is None or not heads:
        return ""
    k = min(len(heads), top_k)
    return f"; first {k}: {found.overlap(heads[:k], k):.0%} again, {found.kept(k)} kept"


def _common(what: str, heads: Sequence[Head]) -> str:
    shown = " ".join(str(head) for head in heads[:N_COMMON])
    return f"{what}: {len(heads)}{': ' if heads else ''}{shown}{' ...' if len(heads) > N_COMMON else ''}"


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)


N_NAMED = 5
"""How many heads are named that a file lists and its scores do not give, or the other way round."""


def ranking_notes(ranking: HeadRanking) -> tuple[str, ...]:
    """Where lists are cut, candidates tie, a file contradicts its own scores, or what it was made from is unknown."""
    return (
        *_list_notes(ranking),
        *_disagreements(ranking),
        *_ties(ranking),
        *_stability_notes(ranking),
        *_chance_note(ranking),
        *_split_note(ranking),
    )


def _list_notes(ranking: HeadRanking) -> Iterator[str]:
    if ranking.every_task:
        yield "one list of heads serves every task"
        return
    cut = ranking.mean_scores is None
    if cut:
        yield (
            "the lists are cut after their best heads: a head missing from a task's list counts with that list's "
            "lowest score"
        )
    if cut and ranking.listed_global is not None:
        yield "global heads as the file lists them: its cut lists cannot give them exactly"
    elif ranking.samples is None:
        yield "samples unknown: every task weighs the same in the global heads"


def _disagreements(ranking: HeadRanking) -> Iterator[str]:
    """A note for shared and one for global heads, if those that a file lists do not follow from its scores."""
    if ranking.listed_shared is not None:
        yield from _disagreement("shared", ranking.listed_shared, ranking.shared())
    if ranking.listed_global is not None and ranking.mean_scores is not None:
        found = ranking.global_heads()[: len(ranking.listed_global)]
        yield from _disagreement("global", ranking.listed_global, found)


def _disagreement(
    kind: str, listed: Sequence[ScoredHead | SharedHead], found: Sequence[ScoredHead | SharedHead]
) -> Iterator[str]:
    theirs, ours = [entry.head for entry in listed], [entry.head for entry in found]
    if theirs == ours:
        return
    if sorted(theirs) == sorted(ours):
        place = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        yield (
            f"the file lists the {counted(len(ours), f'{kind} head')} in another order than follows from its scores "
            f"(place {place + 1}: {theirs[place]}, recomputed {ours[place]}); the recomputed ones are used"
        )
        return
    parts = [f"the file lists {counted(len(theirs), f'{kind} head')}, and {len(ours)} follow from its scores"]
    for what, heads in (("only listed", set(theirs) - set(ours)), ("not listed", set(ours) - set(theirs))):
        if heads:
            more = f" and {len(heads) - N_NAMED} more" if len(heads) > N_NAMED else ""
            parts.append(f"{what}: {', '.join(str(head) for head in sorted(heads)[:N_NAMED])}{more}")
    yield "; ".join([*parts, "the recomputed ones are used"])


def _ties(ranking: HeadRanking) -> Iterator[str]:
    """One note if candidates have the same score as heads that were left out."""
    tied = []
    grids = ranking.mean_scores or {}
    for task in ranking.tasks if grids else ():
        last = ranking.scored(task)[-1].score
        equal = sum(score == last for layer in grids[task] for score in layer)
        inside = sum(scored.score == last for scored in ranking.scored(task))
        if equal > inside:
            tied.append(f"{task} ({inside} of {equal} with score {last:.3g})")
    if tied:
        yield f"the last candidates tie with heads left out, chosen by layer and head: {', '.join(tied)}"


def _stability_notes(ranking: HeadRanking) -> Iterator[str]:
    """Which tasks' candidates other filings would not name, or which rest on one filing."""
    if ranking.stability is None:
        return
    weak = []
    for task, found in ranking.stability.tasks.items():
        heads = ranking.candidates(task)
        if (part := found.overlap(heads, len(heads))) < STABLE:
            weak.append(
                f"{task} ({part:.0%} of {len(heads)}; without one filing as few as {found.kept(len(heads))} stay)"
            )
    if weak:
        yield f"under {STABLE:.0%} of the heads are expected to be named by other filings too: {', '.join(weak)}"
    few = [task for task in ranking.tasks if task not in ranking.stability.tasks]
    if few:
        yield f"from fewer than {LEAST_CLUSTERS} independent filings, so nothing is known of others: {', '.join(few)}"


def _chance_note(ranking: HeadRanking) -> Iterator[str]:
    """Candidates that look at the needle hardly more than anywhere."""
    said = []
    for task in ranking.tasks:
        if heads := ranking.at_chance(task):
            more = f" and {len(heads) - N_NAMED} more" if len(heads) > N_NAMED else ""
            said.append(f"{task}: {' '.join(str(head) for head in heads[:N_NAMED])}{more}")
    if said:
        yield f"candidates at chance (they score less than {AT_CHANCE:g} times it): {'; '.join(said)}"


def _split_note(ranking: HeadRanking) -> Iterator[str]:
    if ranking.filing_hashes is None:
        yield (
            "split unknown: no hashes of the filings that made the ranking, so their rows cannot be told from others"
        )
    elif ranking.traces is None:
        yield "filings that made the ranking are known by their names alone: under other names they are not seen"


def unsettled(
    ranking: HeadRanking, heads_by_task: Mapping[str | None, Sequence[Head]], whose: GateHeads
) -> Iterator[str]:
    """A sentence where other filings are expected to name under `STABLE` of these heads; nothing where it is unknown.

    heads_by_task: the first heads of each task's list, or under `None` those of the list that `whose` names.
    """
    found = ranking.stability
    if found is None:
        return
    common = found.shared_heads if whose == "shared" else found.global_heads
    parts: dict[str, tuple[float, int, int]] = {}
    for task, heads in heads_by_task.items():
        of_list = common if task is None else found.tasks.get(task)
        if of_list is not None and heads:
            k = len(heads)
            parts[task or "all tasks"] = (of_list.overlap(heads, k), of_list.kept(k), k)
    if not parts:
        return
    mean = sum(part for part, _, _ in parts.values()) / len(parts)
    if mean < STABLE:
        task, (part, kept, k) = min(parts.items(), key=lambda each: each[1][0])
        least = f"; least of {task}, {part:.0%}" if len(parts) > 1 else ""
        yield (
            f"the ranking is not settled: other filings are expected to name {mean:.0%} of these heads{least}; without "
            f"one filing as few as {kept} of {k} stay; rank on more filings"
        )
