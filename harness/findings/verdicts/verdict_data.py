"""What `report.json` says of gates and of the findings beside them.

Drops are the untouched model's accuracy less the condition's, on the same rows, and `None` is undefined. How the
figures come about is `gates`'s, `gate_results`'s and `contrasts`'s.
"""

from typing import Annotated, Literal

from pydantic import Field

from harness.choices import GateHeads, GateOutcome
from harness.experiment.json_nodes import MOST
from harness.findings.section import (
    UNIQUE,
    Amount,
    Change,
    Count,
    Difference,
    EachOnce,
    Ends,
    Fraction,
    Name,
    Number,
    Real,
    Section,
    Span,
)

Kind = Literal["pass", "fail", "inconclusive", "invalid"]
"""A verdict."""
Damage = Literal["lost answers", "broken model", "none", "unknown"]
"""What a gate's heads took from the model."""
Finding = Literal["specific", "shared", "inconclusive"]
"""Whether a task's own heads cost its rows more than other tasks' heads do."""


class Margins(Section):
    """What a gate's verdict is measured by, as shares of what the untouched model gets right."""

    margin: Fraction = 0.10
    """By how much the judged heads must cost more than the controls do."""
    flat: Fraction = 0.10
    """How much the controls may cost at most."""


class Check(Section):
    """One condition of `pass`. Value and bound are null where too little is known, and it does not hold."""

    holds: bool
    value: Real | None
    """What is held against the bound."""
    bound: Real | None
    """What the value must be above, for (a); at most, for (b) and (c)."""


UNKNOWN = Check(holds=False, value=None, bound=None)
"""Where too little is known."""


class Lowest(Section):
    """As many lowest-scoring heads, as a comparison: whether a pass says anything of the ranking."""

    drop: Change
    would_pass: bool
    """Whether (a), (b) and (c) would hold of these heads beside the same controls and permutations."""


class Verdict(Section):
    """A verdict, and every figure it rests on. Drops are of all rows unless it is said which, shares of what the
    untouched model gets right."""

    verdict: Kind
    reasons: tuple[str, ...]
    """Why the verdict is not `pass`."""
    needed_clusters: Count | None
    """How many clusters would decide, in all; null where they would not, or nothing is undecided."""
    needed_draws: Count | None
    """How many draws would decide, in all."""
    n: Count
    """Rows that are compared."""
    clusters: Count
    """Their clusters."""
    right: Count
    """Answers that are right untouched, and wrong with the needle left out."""
    baseline: Fraction | None
    """The untouched model's accuracy, or mean probability where likelihood is judged."""
    needle_absent: Fraction | None
    """The accuracy with the needle left out."""
    drop: Change | None
    """By the judged heads."""
    control_drop: Change | None
    """By the controls, in the mean."""
    control_drops: tuple[Change, ...]
    """By each control."""
    answered: Count | None = None
    """Of the rows, those that the untouched model answers rightly: permutations are compared on these alone."""
    answered_drop: Change | None = None
    """By the judged heads, on these rows: what (b) holds against the permutations'."""
    permutation_drops: tuple[Change, ...]
    """By each permutation, on the same rows."""
    difference: Difference | None
    """The judged heads' drop less the controls'."""
    share: Real | None
    """The same as a share of what the untouched model gets right: what (a) rests on."""
    standard_error: Amount | None
    """Of the share, over clusters and draws."""
    df: Amount | None
    """Satterthwaite's degrees of freedom."""
    interval: Ends | None
    """The t interval of the share, at 95 %."""
    bca: Ends | None
    """The bootstrap interval (BCa) of the share over clusters, shown beside it; no verdict rests on it."""
    control_share: Real | None
    """The controls' mean drop as a share: what (c) rests on."""
    control_interval: Ends | None
    """The t interval of that, at 95 %."""
    above_margin: Check
    """(a): the lower end of the share's interval is above the margin."""
    unusual: Check
    """(b): the rank p is at most 0.05."""
    flat_control: Check
    """(c): the controls' share is at most `flat`."""
    rank_p: Fraction | None
    """(1 + permutations that cost at least as much) / (permutations + 1)."""
    least_rank_p: Fraction | None
    """What that p cannot be less than."""
    lowest: Lowest | None
    """Null where not all scores are known."""


class PlainText(Section):
    """How likely the model finds plain text: log-probability in nats a token, a mean over n rows."""

    n: Number
    filings: Number
    untouched: Real
    change: Real
    """Under the judged heads, less untouched."""
    control_changes: tuple[Real, ...]
    """Under each of some controls, less untouched."""


class DegenerateShares(Section):
    """The parts of a gate's completions that are degenerate."""

    untouched: Fraction
    judged: Fraction
    """Under the judged heads."""
    controls: Fraction
    """Under the controls, in the mean."""


class TaskVerdict(Section):
    """A gate's verdict on one task's rows."""

    task: Name
    verdict: Kind
    n: Count
    clusters: Count
    drop: Change | None
    control_drop: Change | None
    difference: Difference | None
    share: Real | None
    interval: Ends | None
    """Of the share."""
    p: Fraction | None
    """One-sided, against the margin."""
    adjusted_p: Fraction | None
    """Holm's, over the tasks."""


class Permuted(Section):
    """What a gate's permutations can show, whatever the model does."""

    layers: Number | None
    """Neighbouring layers of a stratum, within which heads are permuted; null for the whole model."""
    sets: Annotated[float, Field(ge=1, le=MOST)]
    """How many different sets there are, the judged one among them."""
    all_taken: bool
    """Whether all of them were: where there are at most 200."""
    held: Fraction
    """The share of the judged heads that a permutation holds in the mean."""
    one_head_p: Fraction
    """The least rank p that the gate would give if one of the judged heads cost everything alone."""


class GateSetup(Section):
    """What a gate judges."""

    name: Name
    """As in a test's id: `gate[own-all-k20]`."""
    heads: GateHeads
    experiment: Name
    """The experiment that zeroes these heads: `within_task`, `general` or `global`."""
    k: Number
    """How many heads were asked for; of a band the most."""
    ks: tuple[Number, ...]
    """The k that are judged together, each with the same weight: one, or all of the band."""
    k_effective: Span
    """The fewest and the most heads that a task has, at the largest k."""
    control_heads: Count
    """How many heads a control has, over all tasks, at the largest k."""
    mismatches: tuple[Count, ...]
    """How many of them, for each control, come from another layer than those they control for."""
    permuted: Permuted
    margins: Margins
    outcome: GateOutcome
    """What is judged: right answers, or the probability of the right value where the untouched model says it."""


class FactsLost(Section):
    """What a gate's heads, zeroed, cost of questions that need no document; their sets are averaged."""

    asked: Number
    known: Count
    """How many of them the untouched model answers."""
    lost: Fraction | None
    """The part of those that is lost; null where none is known."""
    interval: Ends | None
    """Over facts, by their mean's t, at 95 %."""
    controls_lost: Fraction | None
    """By some of the gate's controls."""


class GateResult(Verdict, GateSetup):
    """A gate: what was judged, the verdict, and whether the model is whole."""

    split_known: bool
    """Whether the ranking says which filings it was made from."""
    plain_text: PlainText | None
    degenerate: DegenerateShares | None
    damage: Damage
    facts: FactsLost | None = None
    """Null where no facts were asked."""
    tasks: tuple[TaskVerdict, ...]
    notes: tuple[str, ...]
    """What else there is to know before one believes the verdict, a sentence each."""
    conditions: Annotated[tuple[Name, ...], EachOnce, UNIQUE]
    """The names of all that were compared."""


class ClaimPart(Section):
    """One gate's part in the claim of several."""

    gate: Name
    adjusted_p: Fraction
    """One-sided against the margin, Holm's over the gates; asked for: at most 0.025."""
    adjusted_rank_p: Fraction
    """(1 + permutations under which *any* of the gates' heads cost as much) / (permutations + 1); at most 0.05."""
    holds: bool
    """Whether the gate passes with both corrections."""


class Claim(Section):
    """Several gates stated as one claim: the chance that any of them passes falsely is no greater than one gate's."""

    parts: tuple[ClaimPart, ...]


class Contrast(Section):
    """An experiment at one k against as many random heads on the same rows: a finding, no verdict."""

    experiment: Name
    k: Number
    k_effective: Span
    """The fewest and the most heads that a condition has."""
    n: Number
    filings: Number
    drop: Change
    random_drop: Change
    """By the draws, in the mean."""
    difference: Difference
    """The drop less the draws'."""
    interval: Ends | None
    """Its t interval over filings and draws, at 95 %."""
    draw_differences: tuple[Difference, ...]
    """The drop less each draw's."""


class Specificity(Section):
    """Whether a task's own heads cost its rows more than other tasks' heads do, at one k."""

    finding: Finding
    k: Number
    n: Number
    filings: Number
    own_drop: Change
    other_drop: Change
    """The mean over the other tasks' heads."""
    difference: Difference
    """Row by row, the drop by its own task's heads less the mean drop by the others'."""
    interval: Ends
    overlap: Amount
    """The mean number of heads that another task's set shares with the row's own."""
