"""Notes on a ranking of heads: what a reader of results should know about it, a sentence each.

Everything comes from the ranking alone.
"""

from collections.abc import Iterator, Sequence

from harness.counting import counted
from harness.experiment.rankings import HeadRanking, ScoredHead, SharedHead

N_NAMED = 5
"""How many heads are named that a file lists and its scores do not give, or the other way round."""


def ranking_notes(ranking: HeadRanking) -> tuple[str, ...]:
    """Where lists are cut, candidates tie, a file contradicts its own scores, or what it was made from is unknown."""
    return (*_list_notes(ranking), *_disagreements(ranking), *_ties(ranking), *_split_note(ranking))


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
    if set(theirs) == set(ours):
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


def _split_note(ranking: HeadRanking) -> Iterator[str]:
    if ranking.filing_hashes is None:
        yield (
            "split unknown: no hashes of the filings that made the ranking, so their rows cannot be told from others"
        )
