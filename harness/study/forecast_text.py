"""The forecast of a study as lines of text, for whoever is about to rent GPUs.

Everything that is said comes from the forecast; nothing is worked out here.
"""

from collections.abc import Iterator
from functools import partial

from harness.errors import counted
from harness.experiment.bench_result import Pace
from harness.findings.wording import span
from harness.study.forecast import Forecast, OnNodes


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
    return [*lines, _hours_line(found), *map(partial(_nodes_line, found), found.layouts), *_cluster_lines(found)]


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
        f"hours: {hours:.3g} on {pace.device} in {measured}, at the {pace.fraction_of_floor:.0%} of its best that the "
        f"benchmark reached with prompts of {pace.prompt_tokens} tokens, no answer ending early{_apart(found, pace)}"
    )


def _apart(found: Forecast, pace: Pace) -> str:
    """The hours without what rows of a filing share, where they share anything."""
    hours, apart = found.hours_at(pace), found.hours_at(pace, apart=True)
    differs = hours is not None and apart is not None and apart > hours
    return f" ({apart:.3g} if rows of a filing were read apart)" if differs else ""


def _nodes_line(found: Forecast, each: OnNodes) -> str:
    """How the model lies on one kind of nodes, and what one such model takes."""
    nodes, layout, kept = each.nodes, each.layout, found.kept[-1]
    where = f"on {counted(nodes.n, 'node')} of {nodes.gpus} x {nodes.card}-{nodes.gigabytes}GB"
    if layout is None:
        most = min(nodes.gpus, len(kept.size.layers))
        if each.cards is not None and each.cards > most:
            has = f"a node has {counted(most, 'card')}" if most == nodes.gpus else f"the model has {most} layers"
            return f"{where}: no model, for {has}; expected {each.cards} cards for one; set gpus to {most} or fewer"
        return (
            f"{where}: the model does not fit, {_gib(kept.size.weight_bytes)} of weights in "
            f"{_numbers(found.quantization, kept.dtype)} and a row beside them; take more cards a node or a model "
            "(--ablation-gpus), larger ones, or fewer bits (--ablation-quantization)"
        )
    over = "a card each"
    if layout.cards > 1:
        layers = "-".join(map(str, layout.layers))
        over = f"each over {layout.cards} cards ({layers} layers), {counted(layout.in_flight, 'row')} in flight"
    pace = "pace not measured"
    if each.pace is not None:
        hours = f"{found.hours_at(each.pace):.3g} hours for one{_apart(found, each.pace)}"
        pace = f"{hours}, as measured on {each.pace.device}"
    free = f"{_gib(layout.left)} beside the weights on the fullest card"
    return f"{where}: {counted(layout.models, 'model')}, {over}, {free}; {pace}"


def _cluster_lines(found: Forecast) -> Iterator[str]:
    """What the cluster takes, all its models together."""
    if (hours := found.cluster_hours) is not None:
        yield f"hours on the cluster: {hours:.3g}, rows shared out evenly, no answer ending early"
        return
    lacking = [
        f"{each.layout.cards} x {each.nodes.card}-{each.nodes.gigabytes}GB"
        for each in found.layouts
        if each.layout is not None and each.pace is None
    ]
    if lacking:
        yield (
            f"hours on the cluster: not measured with such a model on {', '.join(lacking)}; measure there with "
            "`retrieval-heads bench --json FILE`, and give --ablation-bench FILE"
        )


def _numbers(quantization: str | None, dtype: str) -> str:
    return dtype if quantization is None else f"{quantization} and {dtype}"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:.1f} MiB"
