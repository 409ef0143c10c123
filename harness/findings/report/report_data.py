"""The words of `report.json`, schema version 1, as types: what stands where, and what may be undefined.

`report_schema.json` says the same to other programs; a test holds the two together. `None` is undefined or
unknown. An accuracy is a fraction of 1, an interval `[low, high]`, a head `[layer, head]`, a log-probability
in nats. Knows nothing of how the figures come about (`condition_results`) or of files (`report`). What gates and the
findings beside them say stands in `verdict_data`.
"""

from typing import Literal, NotRequired, TypedDict

from harness.findings.verdicts.verdict_data import Contrast, GateResult, Specificity

SCHEMA_VERSION = 1
KIND = "ablation-report"

Exit = Literal["passed", "failed", "interrupted", "error"]
Setting = str | int | float | bool | list[str] | list[int] | list[float] | None
"""A resolved setting, as far as JSON can say it."""


class RunSection(TypedDict):
    """What was run, when, and how it ended.

    `finished`: every condition has a record of every row it asked for. `missing` names those that have not.
    `out_of_memory` counts the records that were computed in smaller groups because memory had run out.
    """

    name: str
    started: str
    seconds: float
    finished: bool
    exit: Exit
    missing: list[str]
    out_of_memory: int
    commit: str | None
    command: str | None


class ModelSection(TypedDict):
    """The model that was asked; `adapter` is the content hash of one that was put on it.

    `quantization` is its bits, or how the weights of a GGUF file are kept there, which are read as full ones.
    """

    id: str
    revision: str | None
    fingerprint: str | None
    n_layers: int
    n_heads: int
    head_dim: int | None
    dtype: str | None
    attention: str | None
    device: str | None
    quantization: str | None
    adapter: str | None


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
    """Completions by what is wrong with them as text; one may have several faults, and counts once in `any`.

    Reports of before version 2 of the scoring rules do not say `hedging`, two values of a task in one answer, and
    `turn_marker`.
    """

    any: int
    empty: int
    repeating: int
    cut_off: int
    several_numbers: int
    hedging: NotRequired[int]
    turn_marker: NotRequired[int]


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


class ConditionSetup(TypedDict):
    """Which heads a condition ablates, why these, and on which rows."""

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


class ConditionResult(ConditionSetup, Rate):
    """One condition: what was ablated, on which rows, and what came of it.

    `requested` rows were asked for, `n` have a record; a row without one counts nowhere else.
    `macro_accuracy` is the mean of the tasks' accuracies. Of the log-probability changes, each is the mean of
    this condition's less the baseline's on the same row.
    """

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
