"""Ways of ablating beside each other, and what the same heads cost where there is nothing to retrieve.

A table and a file for `retrieval-heads ways`. Facts and sums need no document: of those that the untouched model
answers, how many are lost says whether heads that were taken for retrieval hold knowledge too. Plain text is gone on
with: how much less likely it is found says whether the model is broken. Both are of zeroed heads.

Knows nothing of models, nor of how samples come about.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from harness.choices import Mode, Phase
from harness.errors import counted
from harness.experiment.conditions import Condition
from harness.findings.damage import OUTCOMES, DamageShare, Outcome, share_text
from harness.findings.samples import Sample, TextSample
from harness.findings.section import Count, Ends, Fraction, Name, Number, Real, Section
from harness.findings.statistics import cluster_mean
from harness.findings.wording import aligned


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


WHOSE: Mapping[str, str] = {"within_task": "own heads", "general": "shared heads", "random_control": "random heads"}
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
        draws = f", mean of {counted(data.draws, 'draw')}" if experiment == "random_control" else ""
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


def of_group(way: WayResult, experiment: str, k: int) -> dict[Outcome, DamageShare]:
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
