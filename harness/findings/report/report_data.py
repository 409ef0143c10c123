"""What stands where in `report.json`: one model a section, the meaning of each field below it.

An accuracy is a fraction of 1, a head `[layer, head]`, a log-probability in nats; null is undefined or unknown. Drops
and changes are paired with the baseline on the same rows. What gates and the findings beside them say stands in
`verdict_data`, what a line of `samples.jsonl` says in `harness.findings.samples`. Knows nothing of how the figures come
about (`condition_results`) or of files (`report_writing`, `reading`).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.choices import GateHeads, RandomMatch
from harness.findings.damage import DamageShare
from harness.findings.section import (
    UNIQUE,
    Amount,
    Change,
    Count,
    EachOnce,
    Fraction,
    LayerHead,
    Name,
    Number,
    Real,
    Section,
)
from harness.findings.verdicts.verdict_data import Claim, Contrast, GateResult, Specificity
from harness.retrieval.prompts import PromptKind
from harness.retrieval.traces import Seen

SCHEMA_VERSION: Literal[2] = 2
KIND: Literal["ablation-report"] = "ablation-report"

Exit = Literal["passed", "failed", "interrupted", "error"]
Setting = str | int | float | bool | list[str] | list[int] | list[float] | None
"""A resolved setting, as far as JSON can say it."""


class PartInfo(Section):
    """Which part of a study was done, of how many; the other rows are other parts'."""

    number: Number
    of: Number
    rows: Count
    """How many rows are this part's."""
    left: Count
    """Those of them that lack records."""


class RunInfo(Section):
    """When and how a run went."""

    name: Name
    started: Name
    """ISO 8601."""
    seconds: Amount
    """Until the report."""
    rows_from: Name | None = None
    """When the first row was begun, ISO 8601; null where no row was asked, or other processes asked them."""
    rows_to: Name | None = None
    """When the last one was done."""
    exit: Exit
    commit: str | None = None
    """Of the project's repository."""
    command: str | None = None
    out_of_memory: Count = 0
    """Records that were computed in smaller groups because memory had run out."""
    notices: tuple[Name, ...] = ()
    """What was told while rows were asked: where a split model's layers lay, what became of a cluster's models."""
    part: PartInfo | None = None
    """Null where the study was done whole; no gate is judged on a part."""


class RunSection(RunInfo):
    """What was run, when, how it ended, and what is missing."""

    finished: bool
    """Every condition has a record of every row it asked for."""
    missing: Annotated[tuple[Name, ...], EachOnce, UNIQUE]
    """The conditions that have not."""


class ModelSection(Section):
    """The model that was asked; what was not found out, say because no weights were loaded, is null."""

    id: Name
    n_layers: Number
    n_heads: Number
    """A layer's query heads."""
    head_dim: Number | None = None
    revision: str | None = None
    fingerprint: str | None = None
    """Of the weights."""
    dtype: str | None = None
    attention: str | None = None
    device: str | None = None
    cards: tuple[str, ...] = ()
    """Names of the devices that its answers were computed on, `cpu` for one; none where that was not noted."""
    quantization: str | None = None
    """Its bits, or how the weights of a GGUF file are kept there, which are read as full ones."""
    adapter: str | None = None
    """The content hash of one that was put on it."""


ScoredHead = tuple[Count, Count, Real]
"""[layer, head, score]."""
SharedHead = tuple[Count, Count, Count, Real]
"""[layer, head, number of tasks, mean score]."""
Grid = tuple[tuple[Real, ...], ...]
"""Layers x heads."""


class NamedAgain(Section):
    """How far one list of heads rests on which filings were drawn: `again[k - 1]` and `kept[k - 1]` are at k."""

    again: tuple[Fraction, ...]
    """The part of the first k heads that other filings are expected to name too."""
    kept: tuple[Count, ...]
    """How many of them stay, at least, where one cluster of filings is left out."""


class RankingStability(Section):
    """How far a ranking rests on its filings; a task of fewer than three clusters is not in it."""

    clusters: Number
    tasks: dict[str, NamedAgain]
    shared_heads: NamedAgain | None
    global_heads: NamedAgain | None


class RankingSection(Section):
    """The ranking that chose the heads, best first."""

    source: str
    method: str | None
    top_k: Number
    tasks: dict[str, tuple[ScoredHead, ...]]
    """Each task's candidates."""
    shared_heads: tuple[SharedHead, ...]
    """Those among the candidates of 7 in 9 tasks."""
    global_heads: tuple[ScoredHead, ...]
    """The first `top_k` by mean score over all rows."""
    mean_scores: dict[str, Grid] | None
    """Each task's layers x heads, where all are known."""
    pool: Count | None
    """How many heads random controls are drawn from."""
    notes: tuple[str, ...]
    """What a reader of results should know of the ranking."""
    chance: dict[str, Real] | None = None
    """By task, what a head scores that attends to every token alike; null where the method or the file knows none."""
    stability: RankingStability | None = None
    """Null where the file does not say it."""


class ExcludedRow(Section):
    """A row that was left out, and why."""

    row: str
    reason: str


class TaskRows(Section):
    """One task's rows."""

    rows: Count
    majority_floor: Fraction | None
    """The part of them that always saying the commonest value would answer."""


class DataInfo(Section):
    """Where the rows came from, and what was done with them."""

    source: str
    split_seed: int | None = None
    excluded: tuple[ExcludedRow, ...] = ()
    ranking_overlap: Count | None = None
    """Filings of these rows that also made the ranking; null where that is unknown."""
    known_by: dict[Seen, Count] = Field(default_factory=dict)
    """By what those were known again: their name, their cluster, their text, or one half the same."""
    cut: Count | None = None
    """Rows that lost text to the length asked for; null where none was."""
    value_recurs: Annotated[tuple[Name, ...], EachOnce, UNIQUE] | None = None
    """The rows whose value stands in their document without the needle, so that they may be answered all the same; null
    in a report of published counts, and in old ones."""


class DataSection(DataInfo):
    """The rows that were asked."""

    rows: Count
    filings: Count | None
    """Null in a report of published counts, which do not say them."""
    clusters: Count | None = None
    """Independent filings: those of one company or of one text are one."""
    tasks: dict[str, TaskRows]


class Rate(Section):
    """Right answers by one scoring rule."""

    matches: Count
    accuracy: Fraction | None
    interval: tuple[Fraction, Fraction] | None
    """Wilson's, at 95 %."""


class Drop(Section):
    """A condition against the baseline, on the `n` rows that have both."""

    estimate: Change
    """(lost - gained) / n."""
    lost: Count
    gained: Count
    n: Number
    filings: Number
    permutation_p: Fraction | None
    """The sign-permutation test on filings' sums."""


class Degenerate(Section):
    """Completions by what is wrong with them as text; one may have several faults."""

    any: Count
    """Each counts once here."""
    empty: Count
    repeating: Count
    cut_off: Count
    several_numbers: Count
    hedging: Count
    """Two values of a task in one answer."""
    turn_marker: Count
    """The model went on into another turn."""


class OwnMetric(Section):
    """A user's own metric."""

    n: Count
    """Rows where it is finite."""
    mean: Real | None


class Likelihood(Section):
    """How likely the model finds the right value where its own untouched answer says it: a mean over rows.

    Only rows that the untouched model answers rightly have such a place; a condition is set beside the untouched model
    on the same rows.
    """

    n: Count
    """Rows on which both were measured."""
    missing: Count
    """Rows that the untouched model answers rightly and that lack it: of an older store, or none to be cut out."""
    untouched: Fraction | None
    """The mean probability of the value's tokens."""
    probability: Fraction | None
    """The same under this condition."""
    logprob_change: Real | None
    """The mean of the log-probability less the untouched model's, in nats."""


class Tally(Rate):
    """Right answers of `n` rows, by either scoring rule. A row without a sound record counts in `requested` alone."""

    requested: Count
    """Rows asked for."""
    n: Count
    """Rows with a sound record."""
    published_rule: Rate
    """By the published scoring rule."""
    disagreements: Count
    """Rows on which the two scoring rules differ."""

    @model_validator(mode="after")
    def _no_more_right_than_there_are(self) -> Self:
        if not max(self.matches, self.published_rule.matches) <= self.n <= self.requested:
            raise ValueError("at most n matches, and n at most the rows requested")
        return self


class TaskResult(Tally):
    """One task's part of a condition."""

    drop: Change | None
    lost: Count | None
    gained: Count | None
    mcnemar_p: Fraction | None
    """Only where each filing has one row."""
    gold_logprob_change: Real | None
    baseline_logprob_change: Real | None
    likelihood: Likelihood | None = None
    """Of the right value where the untouched model says it."""


class ConditionSetup(Section):
    """Which heads a condition ablates, why these, and on which rows."""

    name: Name
    experiment: Name
    setting: str
    k: Number | None
    """How many heads were asked for."""
    k_effective: Count
    """How many there were."""
    heads: Annotated[tuple[LayerHead, ...], EachOnce, UNIQUE]
    tasks: Annotated[tuple[Name, ...], EachOnce, UNIQUE] | None
    """Null: every task."""
    prompt: PromptKind
    source_task: str | None
    """The task whose heads they are."""
    seed: int | None
    """Which random draw it is."""
    random_match: RandomMatch | None
    """How its random heads are drawn."""
    overlap: Count | None
    """How many of the heads are among the own top k of the task asked."""
    mismatches: Count | None
    """How many control heads come from another layer than the heads they control for."""
    controls_for: str | None
    """The name of the condition whose heads a control controls for."""
    gate: GateHeads | None
    """The gate to which a control belongs; null outside gates."""
    only_right: bool = False
    """Whether only rows were asked that the untouched model answers rightly, as of a gate's permutations."""


class ConditionResult(Tally, ConditionSetup):
    """One condition: what was ablated, on which rows, and what came of it.

    Of the log-probability changes, each is the mean of this condition's less the baseline's on the same row.
    """

    filings: Count | None
    macro_accuracy: Fraction | None
    """The mean of the tasks' accuracies."""
    drop: Drop | None
    degenerate: Degenerate | None
    gold_logprob_change: Real | None
    """Of the right value's tokens after the prompt."""
    baseline_logprob_change: Real | None
    """Of the untouched model's completion."""
    likelihood: Likelihood | None = None
    """Of the right value where the untouched model says it; null where another prompt was given."""
    own: dict[str, OwnMetric]
    """A user's own metrics."""
    per_task: dict[str, TaskResult]


class SamplesFile(Section):
    """What the `samples.jsonl` beside a report is: another one beside it is not the report's."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of its bytes."""
    lines: Count


class ReportData(Section):
    """A whole `report.json`."""

    schema_version: Literal[2]
    kind: Literal["ablation-report"]
    run: RunSection
    configuration: dict[str, Setting]
    """The resolved settings."""
    versions: dict[str, str | None]
    """The programs' by name."""
    model: ModelSection | None
    ranking: RankingSection | None
    data: DataSection
    conditions: tuple[ConditionResult, ...]
    gates: tuple[GateResult, ...]
    claim: Claim | None
    """The gates together; null with fewer than two, or where figures of one are unknown."""
    contrasts: tuple[Contrast, ...]
    specificity: Specificity | None
    damage: tuple[DamageShare, ...] = ()
    """What this way of ablating does of what zeroing does, where the store holds that too."""
    samples: SamplesFile | None = None
    """Null until the report is written, and in old ones."""

    @model_validator(mode="after")
    def _heads_are_the_models(self) -> Self:
        if self.model is not None and self.ranking is not None:
            n_layers, n_heads = self.model.n_layers, self.model.n_heads
            listed = (*self.ranking.tasks.values(), self.ranking.global_heads)
            if any(layer >= n_layers or head >= n_heads for heads in listed for layer, head, _ in heads):
                raise ValueError(f"ranking: heads of the model's {n_layers} layers of {n_heads} heads")
            for grid in (self.ranking.mean_scores or {}).values():
                if [len(layer) for layer in grid] != [n_heads] * n_layers:
                    raise ValueError(f"ranking.mean_scores: {n_layers} layers of {n_heads} scores for each task")
        return self
