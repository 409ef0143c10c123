"""A dry run: what a study would compute and what that would cost, before anyone rents a GPU.

Needs rows, ranking, config and tokenizer, but neither weights nor a GPU. Costs are those of `harness.experiment.cost`;
hours come from a benchmark that was measured, and are not given without one. Knows nothing of pytest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.asked_model import load_size
from harness.errors import ModelError, ReportError, SettingsError
from harness.experiment.bench_result import Pace, read_pace
from harness.experiment.conditions import Condition
from harness.experiment.cost import ModelSize, decoding_bytes, shared_flops, single_flops
from harness.experiment.heads import Head
from harness.experiment.plan import Plan, layer_passes
from harness.retrieval.prompts import PromptKind
from harness.run import Run


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be done, and what it costs.

    `weights_here` is whether the store could be asked. Passes and operations are of prompts, one by one and with equal
    ones shared; `value_flops` of finding what ablated heads put out instead, where that is not zero; `read_bytes` of
    decoding each row's conditions together, none of them ending early.
    """

    n_rows: int
    n_conditions: int
    plan: Plan
    weights_here: bool
    tokens: tuple[int, ...]
    passes: tuple[int, int]
    flops: tuple[float, float]
    value_flops: float
    read_bytes: float
    size: ModelSize
    dtype: str
    pace: Pace | None

    def fits(self, pace: Pace) -> bool:
        """Whether a pace was measured on as many layers in the same dtype: small models reach far less of a device."""
        return (pace.n_layers, pace.dtype) == (len(self.size.layers), self.dtype)

    @property
    def hours(self) -> float | None:
        """At the benchmark's pace; `None` without one, or where it measured another size of model or dtype."""
        return (
            None
            if self.pace is None or not self.fits(self.pace)
            else self.pace.hours(self.flops[1] + self.value_flops, self.read_bytes)
        )


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
    blueprint = run.inputs.blueprint
    size = load_size(settings, blueprint)
    n_layers = run.inputs.shape.n_layers
    steps = settings.max_new_tokens
    tokens, passes, flops, read_bytes = [], [0, 0], [0.0, 0.0], 0.0
    for row_id, kind, head_sets in _prompts(plan):
        tokens.append(len(run.prompt(row_id, kind).token_ids))
        # the prompt's own work; what its last token costs each condition is decoding's
        read = [frozenset[Head]()] if settings.phase == "decode" else head_sets
        passes[0] += layer_passes(head_sets, n_layers).one_by_one
        passes[1] += layer_passes(read, n_layers).distinct
        flops[0] += len(head_sets) * single_flops(size, tokens[-1])
        flops[1] += shared_flops(size, read, tokens[-1])
        read_bytes += decoding_bytes(size, steps, steps * len(head_sets), tokens[-1])
    return Forecast(
        n_rows=len(run.inputs.rows),
        n_conditions=len(conditions),
        plan=plan,
        weights_here=weights_here,
        tokens=tuple(tokens),
        passes=(passes[0], passes[1]),
        flops=(flops[0], flops[1]),
        value_flops=_value_flops(run, plan, size, weights_here=weights_here),
        read_bytes=read_bytes,
        size=size,
        dtype=blueprint.dtype,
        pace=pace,
    )


def _value_flops(run: Run, plan: Plan, size: ModelSize, *, weights_here: bool) -> float:
    """Operations of running the donors' prompts, or those of means that are not in the store."""
    found, jobs = run.interventions, [job for work in plan.work for job in work.jobs]
    given = dict.fromkeys((job.row_id, job.prompt) for job in jobs if job.mode == "resample")
    prompts = [found.donor(row_id, kind) for row_id, kind in given]
    if any(job.mode == "mean" for job in jobs) and not (weights_here and found.means is not None):
        prompts += found.mean_prompts
    return sum(single_flops(size, len(prompt.token_ids)) for prompt in prompts)


def _read_pace(path: Path) -> Pace:
    try:
        return read_pace(path)
    except ReportError as error:
        raise SettingsError(f"bench: {error}; give a file that `retrieval-heads bench --json` wrote") from None


def _prompts(plan: Plan) -> Iterator[tuple[str, PromptKind, list[frozenset[Head]]]]:
    """Each prompt of the work, and what is asked of it: only jobs of one prompt can share anything."""
    for work in plan.work:
        kinds = dict.fromkeys(job.prompt for job in work.jobs)
        for kind in kinds:
            yield work.row.id, kind, [job.heads for job in work.jobs if job.prompt == kind]


def forecast_lines(found: Forecast) -> list[str]:
    """The forecast as text."""
    plan = found.plan
    stored = f"{plan.stored} of them stored" if found.weights_here else "the weights are not here to look any up by"
    lines = [
        f"{found.n_rows} rows, {found.n_conditions} conditions: {plan.requested} completions requested, "
        f"{plan.distinct} distinct, {stored}"
    ]
    if not plan.work:
        return [*lines, "to do: nothing"]
    number = found.size.bytes_per_number
    lines += [
        f"to do: {len(plan.work)} rows; prompts of {min(found.tokens)}-{max(found.tokens)} tokens, "
        f"{sum(found.tokens):,} in all",
        f"layer passes: {found.passes[0]:,} one by one, {found.passes[1]:,} with equal ones shared; operations of the "
        f"prompts: {found.flops[0]:.3g}, {found.flops[1]:.3g} shared ({found.flops[0] / found.flops[1]:.2f} x fewer)",
        f"memory: {_gib(found.size.weight_bytes)} of weights ({found.size.n_weights / 1e6:,.0f} million of "
        f"{number:g} bytes), {_gib(max(found.tokens) * found.size.cached_bytes)} of keys and values for each "
        "condition held at once at the longest prompt",
    ]
    if found.value_flops:
        lines.append(f"and {found.value_flops:.3g} operations to find what ablated heads put out instead of zero")
    if found.pace is None:
        lines.append("hours: not known; give --ablation-bench FILE, as `retrieval-heads bench --json FILE` writes it")
    elif found.hours is None:
        lines.append(
            f"hours: not known; the benchmark measured {found.pace.model}, {found.pace.n_layers} layers in "
            f"{found.pace.dtype}, and this is {len(found.size.layers)} layers in {found.dtype}; measure the like"
        )
    else:
        lines.append(
            f"hours: {found.hours:.2g} on {found.pace.device}, at the {found.pace.fraction_of_floor:.0%} of its best "
            f"that the benchmark reached with prompts of {found.pace.prompt_tokens} tokens, no answer ending early"
        )
    return lines


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:.1f} MiB"
