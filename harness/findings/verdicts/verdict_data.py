"""What `report.json` says of gates and of the findings beside them.

Drops are the untouched model's accuracy less the condition's, on the same rows, and `None` is undefined. How the
figures come about is `gates`'s, `gate_results`'s, `validity`'s and `contrasts`'s.
"""

from typing import Annotated, Literal

from harness.choices import GateHeads, RandomMatch
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
    Section,
    Span,
)

Kind = Literal["pass", "fail", "inconclusive", "invalid"]
"""A verdict."""
Damage = Literal["lost retrieval", "broken model", "none", "unknown"]
"""What a gate's heads took from the model."""
Finding = Literal["specific", "shared", "inconclusive"]
"""Whether a task's own heads cost its rows more than other tasks' heads do."""


class Margins(Section):
    """What a gate's verdict is measured by, as parts of 1."""

    margin: Fraction = 0.10
    """By how much the judged heads' drop must exceed the controls'."""
    flat: Fraction = 0.10
    """How much the controls may cost at most."""
    floor: Fraction = 0.50
    """What the untouched model must reach at least."""


class Check(Section):
    """One condition of `pass`. Value and bound are null where too little is known, and it does not hold."""

    holds: bool
    value: float | None
    """What is held against the bound."""
    bound: float | None
    """What the value must be above; or, for the flat control, at most."""


UNKNOWN = Check(holds=False, value=None, bound=None)
"""Where too little is known."""


class Verdict(Section):
    """A verdict, and every figure it rests on."""

    verdict: Kind
    reasons: tuple[str, ...]
    """Why the verdict is not `pass`."""
    needed_filings: Count | None
    """How many filings would decide, in all; null where they would not, or nothing is undecided."""
    needed_draws: Count | None
    """How many random draws would decide, in all."""
    n: Count
    """Rows that are compared."""
    filings: Count
    """Their filings."""
    baseline: Fraction | None
    """The untouched model's accuracy."""
    needle_absent: Fraction | None
    """The same with the needle left out."""
    drop: Change | None
    """By the judged heads."""
    random_drop: Change | None
    """By the controls, in the mean."""
    random_interval: Ends | None
    """The t interval of that, at 95 %."""
    draw_drops: tuple[Change, ...]
    """By each control."""
    draw_sd: Amount | None
    """The standard deviation of these."""
    difference: Difference | None
    """The judged heads' drop less the controls'."""
    standard_error: Amount | None
    """Of the difference, over filings and draws."""
    df: Amount | None
    """Satterthwaite's degrees of freedom."""
    interval: Ends | None
    """The t interval of the difference, at 95 %."""
    bca: Ends | None
    """The bootstrap interval (BCa) of the difference over filings, shown beside it; no verdict rests on it."""
    above_margin: Check
    """(a): the interval's lower end is above the margin."""
    outside_draws: Check
    """(b): the drop lies outside what one more draw would give."""
    flat_control: Check
    """(c): the upper end of the controls' mean drop is at most `flat`."""
    rank_p: Fraction | None
    """(1 + draws that cost at least as much) / (draws + 1)."""
    least_rank_p: Fraction | None
    """What that p cannot be less than."""


class PlainText(Section):
    """How likely the model finds plain text: log-probability in nats a token, a mean over n rows."""

    n: Number
    filings: Number
    untouched: float
    change: float
    """Under the judged heads, less untouched."""
    draw_changes: tuple[float, ...]
    """Under each control, less untouched."""


class DegenerateShares(Section):
    """The parts of a gate's completions that are degenerate."""

    untouched: Fraction
    retrieval: Fraction
    """Under the judged heads."""
    draws: Fraction
    """Under the controls, in the mean."""


class TaskVerdict(Section):
    """A gate's verdict on one task's rows."""

    task: Name
    verdict: Kind
    n: Count
    filings: Count
    drop: Change | None
    random_drop: Change | None
    difference: Difference | None
    interval: Ends | None
    p: Fraction | None
    """One-sided, against the margin."""
    adjusted_p: Fraction | None
    """Holm's, over the tasks."""


class GateSetup(Section):
    """What a gate judges."""

    name: Name
    """As in a test's id: `gate[own-all-k20]`."""
    heads: GateHeads
    experiment: Name
    """The experiment that zeroes these heads: `within_task` or `general`."""
    k: Number
    """How many heads were asked for."""
    k_effective: Span
    """The fewest and the most heads that a task has."""
    random_match: RandomMatch | None
    """How the controls' heads are drawn."""
    control_heads: Count
    """How many heads a draw has, over all tasks."""
    mismatches: tuple[Count, ...]
    """How many of them, for each draw, come from another layer than those they control for."""
    margins: Margins


class GateResult(Verdict, GateSetup):
    """A gate: what was judged, the verdict, and whether the model is whole."""

    split_known: bool
    """Whether the ranking says which filings it was made from."""
    plain_text: PlainText | None
    degenerate: DegenerateShares | None
    damage: Damage
    tasks: tuple[TaskVerdict, ...]
    conditions: Annotated[tuple[Name, ...], EachOnce, UNIQUE]
    """The names of all that were compared."""


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
