"""What `report.json` says of gates and of the findings beside them, as types.

Part of the report's words (`report_data`), in the same units; a test holds them and `report_schema.json` together.
"""

from typing import Literal, TypedDict

from harness.findings.verdicts.gates import Kind

Damage = Literal["lost retrieval", "broken model", "none", "unknown"]
"""What a gate's heads took from the model."""
Finding = Literal["specific", "shared", "inconclusive"]
"""Whether a task's own heads cost its rows more than other tasks' heads do."""


class GateMargins(TypedDict):
    """What a gate's verdict is measured by, as parts of 1 (`gates.Margins`)."""

    margin: float
    flat: float
    floor: float


class CheckResult(TypedDict):
    """One condition of `pass`: the value, and the bound it is held against."""

    holds: bool
    value: float | None
    bound: float | None


class PlainText(TypedDict):
    """The log-probability of plain text in nats a token, a mean over n rows: untouched, and by how much it changes."""

    n: int
    filings: int
    untouched: float
    change: float
    draw_changes: list[float]


class DegenerateShares(TypedDict):
    """The parts of a gate's completions that are degenerate; `draws` is the mean of the random draws."""

    untouched: float
    retrieval: float
    draws: float


class TaskVerdict(TypedDict):
    """A gate's verdict on one task's rows; `adjusted_p` is Holm's over the tasks, one-sided against the margin."""

    task: str
    verdict: Kind
    n: int
    filings: int
    drop: float | None
    random_drop: float | None
    difference: float | None
    interval: list[float] | None
    p: float | None
    adjusted_p: float | None


class VerdictFigures(TypedDict):
    """A verdict and the figures it rests on (`gates.Verdict`, which says what each is)."""

    verdict: Kind
    reasons: list[str]
    needed_filings: int | None
    needed_draws: int | None
    n: int
    filings: int
    baseline: float | None
    needle_absent: float | None
    drop: float | None
    random_drop: float | None
    random_interval: list[float] | None
    draw_drops: list[float]
    draw_sd: float | None
    difference: float | None
    standard_error: float | None
    df: float | None
    interval: list[float] | None
    bca: list[float] | None
    above_margin: CheckResult
    outside_draws: CheckResult
    flat_control: CheckResult
    rank_p: float | None
    least_rank_p: float | None


class GateResult(VerdictFigures):
    """A gate: what was judged, the verdict, and whether the model is whole.

    `k_effective`: the fewest and the most heads that a task has. `control_heads`: how many heads a draw has, over
    all tasks; `mismatches`: how many of them, for each draw, come from another layer than those they control for.
    `split_known`: whether the ranking says which filings it was made from. `conditions` names all that were compared.
    """

    name: str
    experiment: str
    k: int
    k_effective: list[int]
    match: str | None
    control_heads: int
    mismatches: list[int]
    margins: GateMargins
    split_known: bool
    plain_text: PlainText | None
    degenerate: DegenerateShares | None
    damage: Damage
    tasks: list[TaskVerdict]
    conditions: list[str]


class Contrast(TypedDict):
    """An experiment at one k against as many random heads on the same rows: a finding, no verdict.

    `k_effective`: the fewest and the most heads that a condition has. `difference` is the drop less the mean of the
    draws'; `draw_differences` less each draw's.
    """

    experiment: str
    k: int
    k_effective: list[int]
    n: int
    filings: int
    drop: float
    random_drop: float
    difference: float
    interval: list[float] | None
    draw_differences: list[float]


class Specificity(TypedDict):
    """Whether a task's own heads cost its rows more than other tasks' heads do, at the k `k`.

    `difference` is, a row, the drop by its own task's heads less the mean drop by the others'; `overlap` the mean
    number of heads that another task's set shares with the row's own.
    """

    finding: Finding
    k: int
    n: int
    filings: int
    own_drop: float
    other_drop: float
    difference: float
    interval: list[float]
    overlap: float
