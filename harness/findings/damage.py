"""Damage: what another way of ablating does of what zeroing does, to the same heads on the same rows.

Zeroing takes away all that heads do. Kept from the needle alone they lose their reading of it, and the share of the
damage that this does is how far zeroing's is one of reading; of heads that are given back at the answer, 1 less the
share is what is recovered. A share is a ratio of mean drops, never a mean of ratios: a row that loses nothing would
make that anything.

Knows nothing of models, nor of how samples come about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from harness.choices import GateHeads
from harness.errors import counted
from harness.experiment.conditions import BASELINE, Condition
from harness.findings.samples import Sample
from harness.findings.section import Amount, Count, Ends, Name, Number, Real, Section
from harness.findings.statistics import cluster_mean, ratio_of_means

Outcome = Literal["accuracy", "likelihood"]
OUTCOMES: tuple[Outcome, ...] = ("accuracy", "likelihood")

COMPARED = ("within_task", "across_task", "general", "global", "bottom", "random_control")
"""Experiments of which a row has one condition at each k, or draws of one."""

Unseen = Callable[[str, int], bool]
"""(row, layer) -> whether the layer's window holds no part of the needle where the answer begins."""


class DamageShare(Section):
    """What one way of ablating does of what zeroing does: drops are means over the rows that have both."""

    experiment: Name
    k: Number
    gate: GateHeads | None
    """The gate whose control draws these are; null outside gates. Draws are averaged row by row."""
    outcome: Outcome
    """`accuracy`: right answers, as a part of 1. `likelihood`: of the right value where the untouched model says it, in
    nats."""
    n: Count
    clusters: Count
    drop: Real
    """What this way of ablating costs."""
    drop_interval: Ends | None
    """Cluster-robust, at 95 %."""
    zeroed: Real
    """What zeroing costs at every token."""
    share: Real | None
    """The first over the second; null where the second's interval holds 0."""
    interval: Ends | None
    """Fieller's, of clusters, at 95 %."""
    blind: Amount | None = None
    """Of the pairs of a row and a head, the part whose layer's window holds no part of the needle where the answer
    begins; null where needles are nothing to this way of ablating."""


def damage_shares(
    conditions: Iterable[Condition], samples: Iterable[Sample], zeroed: Iterable[Sample], unseen: Unseen | None = None
) -> tuple[DamageShare, ...]:
    """A share for each experiment, k and outcome that has rows in both."""
    groups: dict[tuple[str, int, GateHeads | None], list[Condition]] = {}
    for condition in conditions:
        if condition.experiment in COMPARED and condition.k is not None and condition.prompt == "full":
            groups.setdefault((condition.experiment, condition.k, condition.gate), []).append(condition)
    ours, theirs = _by_condition(samples), _by_condition(zeroed)
    found = []
    for (experiment, k, gate), members in groups.items():
        names = [member.name for member in members]
        for outcome in OUTCOMES:
            drops, zero = _drops(ours, names, outcome), _drops(theirs, names, outcome)
            rows = [row for row in drops if row in zero]
            if not rows:
                continue
            clusters = [ours[BASELINE.name][row].cluster for row in rows]
            pair = [drops[row] for row in rows], [zero[row] for row in rows]
            ratio, mean = ratio_of_means(*pair, clusters), cluster_mean(pair[0], clusters)
            found.append(
                DamageShare(
                    experiment=experiment,
                    k=k,
                    gate=gate,
                    outcome=outcome,
                    n=len(rows),
                    clusters=len(set(clusters)),
                    drop=sum(pair[0]) / len(rows),
                    drop_interval=None if mean is None else mean.interval().ends,
                    zeroed=sum(pair[1]) / len(rows),
                    share=None if ratio is None else ratio.estimate,
                    interval=None if ratio is None else ratio.interval.ends,
                    blind=None if unseen is None else _blind(members, ours, unseen),
                )
            )
    return tuple(found)


def _by_condition(samples: Iterable[Sample]) -> dict[str, dict[str, Sample]]:
    found: dict[str, dict[str, Sample]] = {BASELINE.name: {}}
    for sample in samples:
        found.setdefault(sample.condition, {})[sample.row] = sample
    return found


def _drops(samples: Mapping[str, Mapping[str, Sample]], names: Sequence[str], outcome: Outcome) -> dict[str, float]:
    """Each row's drop from the untouched model, the mean over those of these conditions that asked it."""
    every: dict[str, list[float]] = {}
    for name in names:
        for row, sample in samples.get(name, {}).items():
            before, after = _level(samples[BASELINE.name].get(row), outcome), _level(sample, outcome)
            if before is not None and after is not None:
                every.setdefault(row, []).append(before - after)
    return {row: sum(drops) / len(drops) for row, drops in every.items()}


def _level(sample: Sample | None, outcome: Outcome) -> float | None:
    if sample is None:
        return None
    return float(sample.match) if outcome == "accuracy" else sample.value_logprob


def _blind(members: Sequence[Condition], samples: Mapping[str, Mapping[str, Sample]], unseen: Unseen) -> float:
    pairs = [
        unseen(row, head.layer) for member in members for row in samples.get(member.name, {}) for head in member.heads
    ]
    return sum(pairs) / len(pairs) if pairs else 0.0


def damage_lines(shares: Sequence[DamageShare]) -> Iterator[str]:
    """A line an experiment, at its largest k, for a summary."""
    largest = {share.experiment: share.k for share in sorted(shares, key=lambda share: share.k) if share.gate is None}
    for experiment, k in largest.items():
        of = {
            share.outcome: share for share in shares if (share.experiment, share.k, share.gate) == (experiment, k, None)
        }
        parts = [f"{share_text(of[outcome])} of the {WORDS[outcome]}" for outcome in OUTCOMES if outcome in of]
        (first, *_) = of.values()
        blind = f"; {first.blind:.0%} of its heads' windows hold no needle" if first.blind else ""
        yield (
            f"{experiment:<16} {f'k={k}':>5}  of what zeroing costs: {', '.join(parts)}, over "
            f"{counted(first.n, 'row')}{blind}"
        )


WORDS: Mapping[Outcome, str] = {"accuracy": "right answers", "likelihood": "likelihood"}


def share_text(share: DamageShare) -> str:
    """As `12 % [4 %, 21 %]`."""
    if share.share is None or share.interval is None:
        return "no share (zeroing costs nothing that is clear of 0)"
    low, high = share.interval
    return f"{share.share:.0%} [{low:.0%}, {high:.0%}]"
