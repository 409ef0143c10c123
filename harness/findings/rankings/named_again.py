"""Named again: how far the very heads that a gate judges rest on which filings ranked them."""

from collections.abc import Iterator, Mapping, Sequence

from harness.choices import GateHeads
from harness.experiment.heads import Head
from harness.experiment.rankings import HeadRanking
from harness.experiment.stability import STABLE


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
