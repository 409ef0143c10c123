"""Damage: what another way of ablating does of what zeroing does, to the same heads on the same rows; and all ways.

Zeroing takes away all that heads do. Kept from the needle alone they lose their reading of it, and the share of the
damage that this does is how far zeroing's is one of reading; of heads that are given back at the answer, 1 less the
share is what is recovered. A share is a ratio of mean drops, never a mean of ratios: a row that loses nothing would
make that anything.

Ways of ablating stand beside each other in a table and a file, for `retrieval-heads ways`, with what the same heads,
zeroed, cost where there is nothing to retrieve. Facts and sums need no document: of those that the untouched model
answers, how many are lost says whether heads that were taken for retrieval hold knowledge too. Plain text is gone on
with: how much less likely it is found says whether the model is broken.

Knows nothing of models, nor of how samples come about.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

from harness.choices import GateHeads, GateOutcome, Mode, Phase
from harness.errors import counted
from harness.experiment.conditions import BASELINE, RANDOM, Condition
from harness.findings.samples import Sample, TextSample, by_condition
from harness.findings.section import Amount, Count, Ends, Fraction, Name, Number, Real, Section
from harness.findings.statistics import cluster_mean, ratio_of_means
from harness.findings.wording import aligned

OUTCOMES: tuple[GateOutcome, ...] = get_args(GateOutcome)

COMPARED = ("within_task", "across_task", "general", "global", "bottom", RANDOM)
"""Experiments of which a row has one condition at each k, or draws of one."""

Unseen = Callable[[str, int], bool]
"""(row, layer) -> whether the layer's window holds no part of the needle where the answer begins."""


class DamageShare(Section):
    """What one way of ablating does of what zeroing does: drops are means over the rows that have both."""

    experiment: Name
    k: Number
    gate: GateHeads | None
    """The gate whose control draws these are; null outside gates. Draws are averaged row by row."""
    outcome: GateOutcome
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
    ours, theirs = by_condition(samples), by_condition(zeroed)
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


def _drops(samples: Mapping[str, Mapping[str, Sample]], names: Sequence[str], outcome: GateOutcome) -> dict[str, float]:
    """Each row's drop from the untouched model, the mean over those of these conditions that asked it."""
    every: dict[str, list[float]] = {}
    untouched = samples.get(BASELINE.name, {})
    for name in names:
        for row, sample in samples.get(name, {}).items():
            before, after = _level(untouched.get(row), outcome), _level(sample, outcome)
            if before is not None and after is not None:
                every.setdefault(row, []).append(before - after)
    return {row: sum(drops) / len(drops) for row, drops in every.items()}


def _level(sample: Sample | None, outcome: GateOutcome) -> float | None:
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


WORDS: Mapping[GateOutcome, str] = {"accuracy": "right answers", "likelihood": "likelihood"}


def share_text(share: DamageShare) -> str:
    """As `12 % [4 %, 21 %]`."""
    if share.share is None or share.interval is None:
        return "no share (zeroing costs nothing that is clear of 0)"
    low, high = share.interval
    return f"{share.share:.0%} [{low:.0%}, {high:.0%}]".replace("-0%", "0%")


class WayResult(Section):
    """One way of ablating beside zeroing."""

    way: Name
    mode: Mode
    phase: Phase
    shares: tuple[DamageShare, ...]


class Elsewhere(Section):
    """What one group of heads, zeroed, costs where no document is asked about; its sets are averaged."""

    experiment: Name
    k: Number
    facts: Count
    """Questions that need no document."""
    known: Count
    """How many of them the untouched model answers."""
    facts_lost: Fraction | None
    """The part of those that is lost; null where none is known."""
    facts_interval: Ends | None
    """Over facts, by their mean's t, at 95 %."""
    texts: Count
    """Documents gone on with."""
    text_change: Real | None
    """Of the mean log-probability of a token of plain text, in nats."""
    text_interval: Ends | None
    """Over filings, at 95 %."""


class WaysData(Section):
    """The same heads ablated in several ways, on the same rows of one model."""

    schema_version: Literal[1] = 1
    kind: Literal["ways-of-ablating"] = "ways-of-ablating"
    model: Name
    source: Name
    """Where the rows came from."""
    k: Number
    rows: Count
    clusters: Count
    draws: Count
    """Random sets, each of the layers of the heads that it controls for."""
    ways: tuple[WayResult, ...]
    elsewhere: tuple[Elsewhere, ...]


WHOSE: Mapping[str, str] = {"within_task": "own heads", "general": "shared heads", RANDOM: "random heads"}
"""What the groups of heads are called, by their experiment."""


def elsewhere(
    members: Sequence[Condition], facts: Iterable[Sample], texts: Iterable[TextSample], *, untouched: tuple[str, str]
) -> Elsewhere:
    """What sets of heads, the conditions of one experiment and k, cost over facts and over plain text.

    Samples of a set are known by its condition's name; `untouched` are the names of the untouched model's, over facts
    and over plain text.
    """
    of_facts, of_texts = untouched
    right: dict[str, dict[str, bool]] = {}
    for fact in facts:
        right.setdefault(fact.condition, {})[fact.row] = fact.match
    likely: dict[str, dict[str, TextSample]] = {}
    for text in texts:
        likely.setdefault(text.condition, {})[text.row] = text
    names = [member.name for member in members]
    before = right.get(of_facts, {})
    lost = {
        row: _mean([float(not right[name][row]) for name in names if row in right.get(name, {})])
        for row, known in before.items()
        if known
    }
    found = {row: value for row, value in lost.items() if value is not None}
    changes: dict[str, float] = {}
    for row, text in likely.get(of_texts, {}).items():
        change = _mean([likely[n][row].per_token - text.per_token for n in names if row in likely.get(n, {})])
        if change is not None:
            changes[row] = change
    filings = [likely[of_texts][row].filename for row in changes]
    over_facts, over_texts = cluster_mean([*found.values()], [*found]), cluster_mean([*changes.values()], filings)
    first = members[0]
    return Elsewhere(
        experiment=first.experiment,
        k=first.k or len(first.heads),
        facts=len(before),
        known=sum(before.values()),
        facts_lost=_mean([*found.values()]),
        facts_interval=None if over_facts is None else over_facts.interval().ends,
        texts=len(set(filings)),
        text_change=_mean([*changes.values()]),
        text_interval=None if over_texts is None else over_texts.interval().ends,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def ways_lines(data: WaysData) -> Iterator[str]:
    """A table for each group of heads, a line a way: what it costs, and the share of what zeroing costs."""
    rows, clusters = counted(data.rows, "row"), counted(data.clusters, "cluster")
    yield f"{data.model}, k={data.k}, {rows} in {clusters} of {data.source}"
    apart = {(each.experiment, each.k): each for each in data.elsewhere}
    for experiment, k in groups_of(data):
        draws = f", mean of {counted(data.draws, 'draw')}" if experiment == RANDOM else ""
        yield f"{WHOSE.get(experiment, experiment)} (k={k}{draws})"
        table: list[tuple[str, ...]] = [("", "right answers lost", "of zeroing's", "nats lost", "of zeroing's", "")]
        for way in data.ways:
            of = of_group(way, experiment, k)
            cells = [cell for outcome in OUTCOMES for cell in _cells(of.get(outcome))]
            blind = next((share.blind for share in of.values() if share.blind), None)
            table.append((f"  {way.way}", *cells, "" if blind is None else f"{blind:.0%} see no needle"))
        yield from aligned(table, "lrrrrl")
        if (experiment, k) in apart:
            yield f"  zeroed, {elsewhere_text(apart[experiment, k])}"


def elsewhere_text(found: Elsewhere) -> str:
    """As `facts and sums: 3 % [0 %, 8 %] of the 40 known lost; plain text: -0.02 nats a token [-0.03, -0.01]`."""
    if found.facts_lost is None:
        facts = f"facts and sums: the untouched model answers none of {found.facts}"
    else:
        ends = "" if found.facts_interval is None else " [{:.0%}, {:.0%}]".format(*found.facts_interval)
        facts = f"facts and sums: {found.facts_lost:.0%}{ends} lost of the {found.known} of {found.facts} known"
    if found.text_change is None:
        return f"{facts}; plain text: not measured"
    ends = "" if found.text_interval is None else " [{:+.2f}, {:+.2f}]".format(*found.text_interval)
    return f"{facts}; plain text: {found.text_change:+.2f}{ends} nats a token"


def groups_of(data: WaysData) -> tuple[tuple[str, int], ...]:
    """The groups of heads, by experiment and k, in the order in which they were asked."""
    return tuple(dict.fromkeys((share.experiment, share.k) for way in data.ways for share in way.shares))


def of_group(way: WayResult, experiment: str, k: int) -> dict[GateOutcome, DamageShare]:
    """What a way costs one group of heads, by outcome."""
    return {share.outcome: share for share in way.shares if (share.experiment, share.k) == (experiment, k)}


def _cells(share: DamageShare | None) -> tuple[str, str]:
    if share is None:
        return "not measured", ""
    scale, unit = (100, " points") if share.outcome == "accuracy" else (1, "")
    cost = f"{scale * share.drop:+.1f}{unit}"
    if share.drop_interval is not None:
        cost += f" [{scale * share.drop_interval[0]:+.1f}, {scale * share.drop_interval[1]:+.1f}]"
    cost = cost.replace("-0.0", "+0.0")
    return cost, "" if share.share is None else share_text(share)
