"""A dry run: what a study would compute and what that would cost, before anyone rents a GPU.

Needs rows, ranking, config and tokenizer, but neither weights nor a GPU. Costs are those of `harness.experiment.cost`;
hours come from a benchmark that was measured, and are not given without one. Memory is told as this machine would take
it, and where that is a CPU that nobody asked for, also as a GPU would. Knows nothing of pytest.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.choices import DONOR_MODES, EDGE_MODES
from harness.errors import ModelError, ReportError, SettingsError, counted
from harness.experiment.bench_result import Pace, read_pace
from harness.experiment.conditions import Condition
from harness.experiment.cost import ModelSize, decoding_bytes, group_flops, single_flops
from harness.experiment.heads import Head
from harness.experiment.plan import Plan, RowWork, by_filing, rounds
from harness.experiment.prefix_tree import LEAST_SHARED, prefix_tree, token_trie
from harness.findings.wording import span
from harness.retrieval.prompts import PromptKind
from harness.study.run import Run


@dataclass(frozen=True, slots=True)
class Kept:
    """How the model's numbers are kept: in which dtype, why, and the size that follows."""

    dtype: str
    why: str
    size: ModelSize


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be done, and what it costs, at most: as if the untouched model answered every row rightly.

    `weights_here` is whether the store could be asked. Of all `tokens` of the prompts `n_fed` are read, the others with
    those of a row of the same filing. Passes and operations are of prompts, one by one and with equal
    ones shared; `value_flops` of finding what ablated heads put out instead, where that is not zero. `steps` is how
    often decoding reads all weights, and `positions` how many positions' keys and values, where each row's conditions
    are decoded together, none of them ending early. `kept` is how this machine keeps the model, and a GPU would.
    `facts` are those asked beside the study, which `plan` and all else do not count.
    """

    n_rows: int
    n_conditions: int
    plan: Plan
    weights_here: bool
    tokens: tuple[int, ...]
    n_fed: int
    passes: tuple[int, int]
    flops: tuple[float, float]
    value_flops: float
    steps: int
    positions: int
    kept: tuple[Kept, ...]
    quantization: str | None
    pace: Pace | None
    facts: "Forecast | None" = None

    @property
    def hours(self) -> float | None:
        """At the benchmark's pace, facts included; `None` without one, or where it measured another size of model,
        dtype or bits.

        Small models reach far less of a device.
        """
        beside = 0.0 if self.facts is None else self.facts.hours or 0.0
        for kept in self.kept:
            measured = (len(kept.size.layers), kept.dtype, self.quantization)
            if self.pace is not None and (self.pace.n_layers, self.pace.dtype, self.pace.quantization) == measured:
                read_bytes = decoding_bytes(kept.size, self.steps, self.positions, 1)
                return beside + self.pace.hours(self.flops[1] + self.value_flops, read_bytes)
        return None


def forecast(run: Run, conditions: Sequence[Condition]) -> Forecast:
    """Plan without loading a model.

    Raises:
        HarnessError: a prompt cannot be built, or the benchmark's file cannot be read.
    """
    settings = run.inputs.settings
    pace = None if settings.bench is None else _read_pace(settings.bench)
    try:
        plan, weights_here = run.plan(conditions), True
    except ModelError:
        # the one error that a plan alone can meet: no weights, so no content to look up by
        plan, weights_here = run.plan(conditions, from_nothing=True), False
    mine, kept = run.part_of_rows(conditions), _kept(run)
    size = kept[0].size
    n_layers = run.inputs.shape.n_layers
    tokens: list[int] = []
    passes, flops, positions, n_fed, n_prompts = [0, 0], [0.0, 0.0], 0, 0, 0
    # a donor's outputs hang on the row: nothing is shared there
    least = LEAST_SHARED if settings.mode not in DONOR_MODES else sys.maxsize
    for group in by_filing(plan.work):
        read = [run.prompt(row_id, kind).token_ids for row_id, kind, _ in _prompts(group)]
        tokens += map(len, read)
        n_fed += sum(node.n_tokens for root in token_trie(read, least=least) for node in root.nodes())
        for asked in filter(None, rounds(group)):
            prompts, sets = [], []
            for row_id, kind, head_sets in _prompts(asked):
                prompts.append(run.prompt(row_id, kind).token_ids)
                # the prompt's own work; what its last token costs each condition is decoding's
                sets.append([frozenset[Head]()] if settings.phase == "decode" else head_sets)
                passes[0] += len(head_sets) * n_layers
                passes[1] += prefix_tree(sets[-1], n_layers).n_nodes
                flops[0] += len(head_sets) * single_flops(size, len(prompts[-1]))
                positions += settings.max_new_tokens * len(head_sets) * len(prompts[-1])
            flops[1] += group_flops(size, prompts, sets, least=least)
            n_prompts += len(prompts)
    return Forecast(
        n_rows=len(run.inputs.rows if mine is None else mine),
        n_conditions=len(conditions),
        plan=plan,
        weights_here=weights_here,
        tokens=tuple(tokens),
        n_fed=n_fed,
        passes=(passes[0], passes[1]),
        flops=(flops[0], flops[1]),
        value_flops=_value_flops(run, plan, size, weights_here=weights_here),
        steps=settings.max_new_tokens * n_prompts,
        positions=positions,
        kept=kept,
        quantization=settings.quantization,
        pace=pace,
    )


def _kept(run: Run) -> tuple[Kept, ...]:
    settings, model, blueprint = run.inputs.settings, run.inputs.model, run.inputs.blueprint
    here = "GPU" if blueprint.device_type == "cuda" else "CPU"
    ways = {blueprint.dtype: f"as on this {here}" if settings.dtype is None else "as asked"}
    if blueprint.gpu_dtype is not None:
        ways.setdefault(blueprint.gpu_dtype, "as on a GPU")
    return tuple(Kept(dtype, why, model.size(dtype)) for dtype, why in ways.items())


def _value_flops(run: Run, plan: Plan, size: ModelSize, *, weights_here: bool) -> float:
    """Operations of running the donors' prompts, or those of means that are not in the store; or, of heads that lose
    edges, of their attention computed twice more at each new token, none of the answers ending early."""
    found, jobs = run.interventions, [job for work in plan.work for job in (*work.jobs, *work.if_right)]
    given = dict.fromkeys((job.row_id, job.prompt) for job in jobs if job.mode in DONOR_MODES)
    prompts = [found.donor(row_id, kind) for row_id, kind in given]
    rescued = dict.fromkeys((job.row_id, job.prompt) for job in jobs if job.mode == "rescue")
    prompts += [run.prompt(row_id, kind) for row_id, kind in rescued]
    if any(job.mode == "mean" for job in jobs) and not (weights_here and found.means is not None):
        prompts += found.mean_prompts
    of_edges = 0.0
    if run.inputs.settings.mode in EDGE_MODES:
        width = size.layers[0].width / run.inputs.shape.n_heads
        for job in jobs:
            n_tokens = len(run.prompt(job.row_id, job.prompt).token_ids)
            of_edges += 2 * 4 * len(job.heads) * width * n_tokens * run.inputs.settings.max_new_tokens
    return of_edges + sum(single_flops(size, len(prompt.token_ids)) for prompt in prompts)


def _read_pace(path: Path) -> Pace:
    try:
        return read_pace(path)
    except ReportError as error:
        raise SettingsError(f"bench: {error}; give a file that `retrieval-heads bench --json` wrote") from None


def _prompts(group: Sequence[RowWork]) -> Iterator[tuple[str, PromptKind, list[frozenset[Head]]]]:
    """Each prompt of the work, and what is asked of it: only jobs of one prompt can share anything."""
    for work in group:
        kinds = dict.fromkeys(job.prompt for job in work.jobs)
        for kind in kinds:
            yield work.row.id, kind, [job.heads for job in work.jobs if job.prompt == kind]


def forecast_lines(found: Forecast) -> list[str]:
    """The forecast as text."""
    plan = found.plan
    stored = f"{plan.stored:,} of them stored" if found.weights_here else "the weights are not here to look any up by"
    most = "at most " if plan.if_right else ""
    lines = [
        f"{counted(found.n_rows, 'row')}, {counted(found.n_conditions, 'condition')}: "
        f"{most}{counted(plan.requested, 'completion')} requested, "
        f"{plan.distinct:,} distinct, {stored}"
    ]
    if plan.if_right:
        lines.append(f"{plan.if_right:,} of them only where the untouched model, asked first, answers rightly")
    if found.facts is not None:
        lines += _facts_lines(found.facts)
    if not plan.work:
        if found.facts is None or not found.facts.plan.work:
            return [*lines, "to do: nothing"]
        return [*lines, "to do: nothing but the facts", _hours_line(found)]
    lines += [
        f"to do: {counted(len(plan.work), 'row')}; prompts of {span(min(found.tokens), max(found.tokens))} tokens, "
        f"{sum(found.tokens):,} in all, {found.n_fed:,} where what rows of a filing begin with is read once",
        f"layer passes: {found.passes[0]:,} one by one, {found.passes[1]:,} with equal ones shared; operations of the "
        f"prompts: {found.flops[0]:.3g}, {found.flops[1]:.3g} shared ({found.flops[0] / found.flops[1]:.2f} x fewer)",
    ]
    for kept in found.kept:
        weights, cached = kept.size.weight_bytes, max(found.tokens) * kept.size.cached_bytes
        lines.append(
            f"memory in {_numbers(found.quantization, kept.dtype)}, {kept.why}: {_gib(weights)} of weights "
            f"({kept.size.n_weights / 1e6:,.0f} million), {_gib(cached)} of keys and values for each condition held "
            "at once at the longest prompt"
        )
    if found.value_flops:
        lines.append(f"and {found.value_flops:.3g} operations to find what ablated heads put out instead of zero")
    return [*lines, _hours_line(found)]


def _facts_lines(found: Forecast) -> list[str]:
    """What is asked beside the study."""
    plan = found.plan
    stored = f", {plan.stored:,} of them stored" if found.weights_here else ""
    sets = f"{counted(found.n_conditions, 'set')} of heads (none among them)"
    line = f"beside them {counted(found.n_rows, 'fact')}, {sets}: {counted(plan.distinct, 'completion')}{stored}"
    if not plan.work:
        return [line]
    return [
        line,
        f"their prompts: {span(min(found.tokens), max(found.tokens))} tokens, {found.flops[1]:.3g} operations",
    ]


def _hours_line(found: Forecast) -> str:
    pace, hours = found.pace, found.hours
    if pace is None:
        return "hours: not known; give --ablation-bench FILE, as `retrieval-heads bench --json FILE` writes it"
    measured = _numbers(pace.quantization, pace.dtype)
    if hours is None:
        this = " or ".join(_numbers(found.quantization, kept.dtype) for kept in found.kept)
        return (
            f"hours: not known; the benchmark measured {pace.model}, {pace.n_layers} layers in {measured}, and this is "
            f"{len(found.kept[0].size.layers)} layers in {this}; measure the like"
        )
    return (
        f"hours: {hours:.2g} on {pace.device} in {measured}, at the {pace.fraction_of_floor:.0%} of its best that the "
        f"benchmark reached with prompts of {pace.prompt_tokens} tokens, no answer ending early"
    )


def _numbers(quantization: str | None, dtype: str) -> str:
    return dtype if quantization is None else f"{quantization} and {dtype}"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:.1f} MiB"
