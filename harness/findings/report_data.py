"""The words of `report.json`, schema version 1, as types: what stands where, and what may be undefined.

`report_schema.json` says the same to other programs; a test holds the two together. `None` is undefined or
unknown. An accuracy is a fraction of 1, an interval `[low, high]`, a head `[layer, head]`, a log-probability
in nats. Knows nothing of how the figures come about (`condition_results`) or of files (`report`).
"""

from typing import Literal, TypedDict

from harness.findings.gates import Kind

SCHEMA_VERSION = 1
KIND = "ablation-report"

Exit = Literal["passed", "failed", "interrupted", "error"]
Damage = Literal["lost retrieval", "broken model", "none", "unknown"]
"""What a gate's heads took from the model."""
Setting = str | int | float | bool | list[str] | list[int] | list[float] | None
"""A resolved setting, as far as JSON can say it."""


class RunSection(TypedDict):
    """What was run, when, and how it ended.

    `finished`: every condition has a record of every row it asked for. `missing` names those that have not.
    """

    name: str
    started: str
    seconds: float
    finished: bool
    exit: Exit
    missing: list[str]
    commit: str | None
    command: str | None


class ModelSection(TypedDict):
    """The model that was asked."""

    id: str
    revision: str | None
    fingerprint: str | None
    n_layers: int
    n_heads: int
    head_dim: int | None
    dtype: str | None
    attention: str | None
    device: str | None


RankingSection = TypedDict(  # in this form because "global" is a word of Python's
    "RankingSection",
    {
        "source": str,
        "method": str | None,
        "top_k": int,
        "tasks": dict[str, list[list[float]]],
        "shared": list[list[float]],
        "global": list[list[float]],
        "mean_scores": dict[str, list[list[float]]] | None,
        "pool": int | None,
        "notes": list[str],
    },
)
"""The ranking that chose the heads, best first.

`tasks` and `global` (its first `top_k`) hold [layer, head, score], `shared` [layer, head, frequency, score],
`mean_scores` each task's layers x heads, where all are known. Random controls are drawn from `pool` heads.
"""


class ExcludedRow(TypedDict):
    """A row that was left out, and why."""

    row: str
    reason: str


class TaskRows(TypedDict):
    """How many rows a task has, and the part of them that always saying the commonest value would answer."""

    rows: int
    majority_floor: float | None


class DataSection(TypedDict):
    """The rows that were asked. `ranking_overlap`: how many of their filings also made the ranking.

    `filings` is `None` in a report of published counts, which do not say them. `cut`: how many rows lost text to the
    length asked for, `None` where none was.
    """

    source: str
    rows: int
    filings: int | None
    split_seed: int | None
    excluded: list[ExcludedRow]
    tasks: dict[str, TaskRows]
    ranking_overlap: int | None
    cut: int | None


class Rate(TypedDict):
    """Matches by one scoring rule; the interval is Wilson's, at 95 %."""

    matches: int
    accuracy: float | None
    interval: list[float] | None


class Drop(TypedDict):
    """A condition against the baseline, on the `n` rows that have both.

    `estimate` = (lost - gained) / n. `permutation_p`: the sign-permutation test on filings' sums.
    """

    estimate: float
    lost: int
    gained: int
    n: int
    filings: int
    permutation_p: float | None


class Degenerate(TypedDict):
    """Completions by what is wrong with them as text; one may have several faults, and counts once in `any`."""

    any: int
    empty: int
    repeating: int
    cut_off: int
    several_numbers: int


class OwnMetric(TypedDict):
    """A user's own metric: its mean over the n rows where it is finite."""

    n: int
    mean: float | None


class TaskResult(Rate):
    """One task's part of a condition. `mcnemar_p` only where each filing has one row."""

    requested: int
    n: int
    published: Rate
    disagreements: int
    drop: float | None
    lost: int | None
    gained: int | None
    mcnemar_p: float | None
    gold_logprob_change: float | None
    baseline_logprob_change: float | None


class ConditionResult(Rate):
    """One condition: what was ablated, on which rows, and what came of it.

    `requested` rows were asked for, `n` have a record; a row without one counts nowhere else.
    `macro_accuracy` is the mean of the tasks' accuracies. Of the log-probability changes, each is the mean of
    this condition's less the baseline's on the same row.
    """

    name: str
    experiment: str
    setting: str
    k: int | None
    k_effective: int
    heads: list[list[int]]
    tasks: list[str] | None
    prompt: str
    source_task: str | None
    seed: int | None
    match: str | None
    overlap: int | None
    mismatches: int | None
    controls_for: str | None
    requested: int
    n: int
    filings: int | None
    macro_accuracy: float | None
    published: Rate
    disagreements: int
    drop: Drop | None
    degenerate: Degenerate | None
    gold_logprob_change: float | None
    baseline_logprob_change: float | None
    own: dict[str, OwnMetric]
    per_task: dict[str, TaskResult]


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

    `k_effective`: the fewest and the most heads that a task has. `mismatches`: for each draw, how many control heads
    come from another layer than those they control for. `split_known`: whether the ranking says which filings it was
    made from. `conditions` names all that were compared.
    """

    name: str
    experiment: str
    k: int
    k_effective: list[int]
    match: str | None
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

    finding: Literal["specific", "shared", "inconclusive"]
    k: int
    n: int
    filings: int
    own_drop: float
    other_drop: float
    difference: float
    interval: list[float]
    overlap: float


class ReportData(TypedDict):
    """A whole `report.json`."""

    schema_version: int
    kind: str
    run: RunSection
    configuration: dict[str, Setting]
    versions: dict[str, str | None]
    model: ModelSection | None
    ranking: RankingSection | None
    data: DataSection
    conditions: list[ConditionResult]
    gates: list[GateResult]
    contrasts: list[Contrast]
    specificity: Specificity | None


class SampleLine(TypedDict):
    """A line of `samples.jsonl`: one row under one condition."""

    condition: str
    row: str
    filename: str
    task: str
    depth: float | None
    value: str
    completion: str
    match: bool
    published_match: bool
    ended: bool
    faults: list[str]
    tokens: int
    gold_logprob: float | None
    baseline_logprob: float | None
    own: dict[str, float | None]
