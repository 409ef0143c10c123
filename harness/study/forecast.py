"""A dry run: what a study would compute and what that would cost, before anyone rents a GPU.

Needs rows, ranking, config and tokenizer, but neither weights nor a GPU. Costs are those of `harness.experiment.cost`;
hours come from a benchmark that was measured, and are not given without one. Memory is told as this machine would take
it, and where that is a CPU that nobody asked for, also as a GPU would. Knows nothing of pytest.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.choices import DONOR_MODES, EDGE_MODES, Nodes
from harness.errors import ModelError, ReportError, SettingsError
from harness.experiment.bench_result import Pace, card_paces, read_pace
from harness.experiment.conditions import Condition
from harness.experiment.cost import ModelSize, decoding_bytes, group_flops, shared_flops, single_flops
from harness.experiment.heads import Head
from harness.experiment.plan import Plan, RowWork, by_filing, rounds
from harness.experiment.prefix_tree import LEAST_SHARED, prefix_tree, token_trie
from harness.retrieval.prompts import PromptKind
from harness.study.layout import Layout, lay_out
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
    `facts` are those asked beside the study, which `plan` and all else do not count. `work` counts the tokens that each
    layer is given, and `alone_flops` the operations of prompts, where rows of a filing are read apart. `layouts` say
    how the model lies on each kind of a cluster's nodes, and at which measured pace.
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
    work: tuple[int, ...] = ()
    alone_flops: float = 0.0
    layouts: "tuple[OnNodes, ...]" = ()
    facts: "Forecast | None" = None

    @property
    def hours(self) -> float | None:
        """At the benchmark's pace, facts included; `None` without one, or where it measured another size of model,
        dtype or bits.

        Small models reach far less of a device.
        """
        return None if self.pace is None else self.hours_at(self.pace)

    def hours_at(self, pace: Pace, *, apart: bool = False) -> float | None:
        """One model's, at this pace; `apart` if rows of a filing shared nothing."""
        kept = next((kept for kept in self.kept if self.fits(pace, kept)), None)
        if kept is None:
            return None
        beside = 0.0 if self.facts is None else self.facts.hours_at(pace) or 0.0
        read_bytes = decoding_bytes(kept.size, self.steps, self.positions, 1)
        return beside + pace.hours((self.alone_flops if apart else self.flops[1]) + self.value_flops, read_bytes)

    def fits(self, pace: Pace, kept: Kept) -> bool:
        """Whether the pace was measured with this size of model in these numbers."""
        measured = (pace.n_layers, pace.dtype, pace.quantization)
        return measured == (len(kept.size.layers), kept.dtype, self.quantization)

    @property
    def cluster_hours(self) -> float | None:
        """Of all models of the cluster together, rows shared out evenly; `None` where a pace was not measured."""
        rates = []
        for each in self.layouts:
            if each.layout is None:
                continue
            hours = None if each.pace is None else self.hours_at(each.pace)
            if hours is None:
                return None
            rates.append(each.layout.models / hours if hours else math.inf)
        return 1 / sum(rates) if rates else None


@dataclass(frozen=True, slots=True)
class OnNodes:
    """How the model lies on nodes of one kind, and the pace that was measured of one that lies so; `None` for none.

    `cards` is how many one model was asked to take; `None` where nobody said.
    """

    nodes: Nodes
    layout: Layout | None
    pace: Pace | None
    cards: int | None = None


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
    tokens, work = list[int](), [0] * n_layers
    passes, flops, alone, positions, n_fed, n_prompts = [0, 0], [0.0, 0.0], 0.0, 0, 0, 0
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
                nodes = [len(level.parents) for level in prefix_tree(sets[-1], n_layers).levels]
                passes[1] += sum(nodes)
                work = [done + n * len(prompts[-1]) for done, n in zip(work, nodes, strict=True)]
                flops[0] += len(head_sets) * single_flops(size, len(prompts[-1]))
                positions += settings.max_new_tokens * len(head_sets) * len(prompts[-1])
            flops[1] += group_flops(size, prompts, sets, least=least)
            alone += sum(shared_flops(size, asked, len(read)) for read, asked in zip(prompts, sets, strict=True))
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
        work=tuple(work),
        alone_flops=alone,
        layouts=_layouts(run, kept[-1], max(tokens, default=1), work, pace),
    )


def _layouts(run: Run, kept: Kept, longest: int, work: Sequence[int], given: Pace | None) -> tuple[OnNodes, ...]:
    """The model on the nodes that were asked about, as a GPU keeps it; a pace that was given goes first."""
    settings = run.inputs.settings
    paces = ([] if given is None else [given]) + [*(card_paces() if settings.cluster else ())]

    def pace_of(layout: Layout) -> Pace | None:
        kind = (layout.cards, len(kept.size.layers), kept.dtype, settings.quantization)
        for pace in paces:
            measured = (pace.gpus, pace.n_layers, pace.dtype, pace.quantization)
            if measured == kind and pace.is_of(layout.nodes.card, layout.nodes.gigabytes):
                return pace
        return None

    found = []
    for nodes in settings.cluster:
        layout = lay_out(
            kept.size, nodes, longest + settings.max_new_tokens, cards=settings.gpus, work=work if any(work) else ()
        )
        found.append(OnNodes(nodes, layout, None if layout is None else pace_of(layout), settings.gpus))
    return tuple(found)


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
        raise SettingsError(
            f"bench: {error}; give a file that `retrieval-heads bench --json FILE` wrote, without --whole"
        ) from None


def _prompts(group: Sequence[RowWork]) -> Iterator[tuple[str, PromptKind, list[frozenset[Head]]]]:
    """Each prompt of the work, and what is asked of it: only jobs of one prompt can share anything."""
    for work in group:
        kinds = dict.fromkeys(job.prompt for job in work.jobs)
        for kind in kinds:
            yield work.row.id, kind, [job.heads for job in work.jobs if job.prompt == kind]
