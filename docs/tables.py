"""Tables of the guide that the code already knows, written as Markdown whenever the guide is built.

What a table says stands in the code alone, so the guide cannot say something else.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiment.bench_result import Pace
    from harness.experiment.cost import ModelSize

ROOT = Path(__file__).parents[1]
BENCHMARKS = (
    ("demo-main-job", "the demo, the main job", "the plugin's own plain loop"),
    ("demo-all", "the demo, all default experiments", "the plugin's own plain loop"),
    ("smollm2-cores", "SmolLM2-135M in float32, two threads", "the plugin's own plain loop"),
    ("smollm2-one-thread", "the same, one thread", "the plugin's own plain loop"),
    ("llama-3-8b-plain", "8B shape", "a plain loop, sdpa"),
    ("llama-3-8b-plain-h100", "the same", "a plain loop, sdpa"),
    ("llama-3-8b-draws", "8B shape, a gate's 19 draws", "a plain loop, sdpa"),
    ("llama-3-8b-middle", "8B shape, 8 rows of one filing", "the engine row by row"),
    ("llama-3-8b-middle-h100", "the same", "the engine row by row"),
    ("llama-3-8b-in_place", "8 rows of one filing, needles in place", "the engine row by row"),
    ("llama-3-8b-in_place-all", "the same, with heads that hang on the task", "the engine row by row"),
    ("llama-3-8b-published", "8B shape", "the published notebook's loop"),
    ("llama-3-8b-published-h100", "the same", "the published notebook's loop"),
    ("llama-3.3-70b-within", "70B shape", "a plain loop, sdpa"),
    ("llama-3.3-70b-all", "70B shape", "the engine itself"),
)


def write_all(folder: Path) -> None:
    """Write every table into `folder`, where its text is not there yet."""
    folder.mkdir(exist_ok=True)
    for name, make in TABLES.items():
        place, text = folder / f"{name}.md", make()
        if not place.is_file() or place.read_text(encoding="utf-8") != text:
            place.write_text(text, encoding="utf-8")


def architectures() -> str:
    """Where each architecture keeps its heads, and how a tiny model of it is computed."""
    from tiny_models import MODEL_TYPES, tiny_config, tiny_loaded

    from harness.model.loading.architectures import ARCHITECTURES
    from harness.model.loading.blueprints import one_by_one

    def row(model_type: str) -> tuple[str, ...]:
        entry = ARCHITECTURES[model_type]
        alone = one_by_one(tiny_config(model_type), entry) is not None
        return (
            model_type,
            f"`{entry.layers}`",
            f"`{entry.projection}`",
            tiny_loaded(model_type).attention,
            "one by one" if alone else "together",
        )

    head = ("`model_type`", "layers", "output projection", "attention", "a row's conditions")
    return _table(head, map(row, MODEL_TYPES))


def options() -> str:
    """Every option of the plugin."""
    from harness.options import OPTIONS

    def row(name: str, metavar: str, switch: bool, text: str) -> tuple[str, ...]:
        flag = f"`--ablation-{name}`" if switch else f"`--ablation-{name} {metavar}`"
        return flag, f"`ablation_{name.replace('-', '_')}`", text

    return _table(
        ("on the command line", "in the ini file", "what it is"),
        (row(each.name, each.metavar, each.switch, each.told("--ablation-")) for each in OPTIONS),
    )


def columns() -> str:
    """The columns of a file of rows."""
    from harness.retrieval.rows import OPTIONAL, REQUIRED

    rows = [(f"`{name}`", "yes" if name in REQUIRED else "", says) for name, says in {**REQUIRED, **OPTIONAL}.items()]
    return _table(("column", "needed", "what it is"), rows)


def tasks() -> str:
    """The nine tasks."""
    from harness.retrieval.tasks import EDGAR_TASKS

    compared = {"text": "words", "number": "numbers"}
    return _table(
        ("task", "question", "answers compare as"),
        ((f"`{task.id}`", task.question, compared[task.compare]) for task in EDGAR_TASKS.values()),
    )


def experiments() -> str:
    """What each experiment zeroes, by the word that selects it."""
    from harness.experiment.experiments import EXPERIMENTS

    asked_for = {file.stem for file in (ROOT / "evals" / "on_request").glob("*.py")}

    def row(name: str, says: str) -> tuple[str, ...]:
        where = f"`pytest evals/on_request/{name}.py`" if name in asked_for else f"`pytest evals -k {name}`"
        return f"`{name}`", says, where

    return _table(
        ("experiment", "what is zeroed, on which rows", "command"),
        (row(name, _first_paragraph(builder.__doc__)) for name, builder in EXPERIMENTS.items()),
    )


def speed() -> str:
    """The committed benchmarks."""

    def row(name: str, what: str, against: str) -> tuple[str, ...]:
        found = json.loads((ROOT / "reports" / "bench" / f"{name}.json").read_text(encoding="utf-8"))
        device = f"{found['cpu_cores']} CPU cores" if "CPU" in found["device"] else f"one {found['device']}"
        ratio, least = f"{found['ratio']:.1f}", f"{1 / found['fraction_of_floor']:.1f}"
        held = found.get("held_floor_seconds")
        at_held = f"{sum(found['engine']['seconds']) / held:.1f}" if held else ""
        tokens = f"{found['prompt_tokens']} tokens"
        return f"{what}, {tokens} (`{name}.json`)", device, str(found["n_conditions"]), against, ratio, least, at_held

    head = (
        "what",
        "device",
        "conditions a row",
        "against",
        "times as fast",
        "times the least time",
        "at the held speed",
    )
    return _table(head, (row(*each) for each in BENCHMARKS))


WHOLE_COMMANDS = (
    ("whole-demo-two-cores", "the demo, 18 rows, all experiments but bottom, no gates"),
    ("whole-demo", "the demo, 189 rows, a task's own heads and random ones"),
    ("whole-demo-h200", "the same in bfloat16"),
    ("whole-smollm2-h200", "SmolLM2-135M in float32, 102 rows of filings, all experiments but bottom, no gates"),
)


def whole_commands() -> str:
    """The committed comparisons of whole commands with those of 0.1.0 (`tests.against`)."""

    def row(name: str, what: str) -> tuple[str, ...]:
        found = json.loads((ROOT / "reports" / "bench" / f"{name}.json").read_text(encoding="utf-8"))
        machine, now, old = found["machine"], found["seconds"]["this"], found["seconds"]["other"]
        device = machine["cards"][0] if machine["cards"] else f"{machine['cores']} CPU cores"
        parts = ", ".join(f"{now[part]:.1f}" for part in ("before_first_row", "rows", "after_last_row"))
        same = found["completions"]
        differ = f"{same['different']} of {same['both']:,}" + (f", {same['ties']} at ties" if same["different"] else "")
        before, after = (f"{side['seconds']:.1f} ({side['cpu_seconds']:.1f})" for side in (old, now))
        return f"{what} (`{name}.json`)", device, before, after, parts, differ

    head = (
        "what",
        "device",
        "0.1.0: seconds (computed)",
        "now",
        "of which before the first row, in rows, after the last",
        "answers that differ",
    )
    return _table(head, (row(*each) for each in WHOLE_COMMANDS))


CLUSTERS = (
    ("a laptop", "`pytest evals` (the demo), and `--ablation-dry-run` for what follows", None, None),
    ("one GPU of 24 GB", "`pytest evals`", "1xL4-24GB", None),
    ("one GPU of 80 GB", "`pytest evals`", "1xH100-80GB", None),
    ("one GPU of 141 GB", "`pytest evals`", "1xH200-141GB", None),
    ("two GPUs of 80 GB, which hold it together", "`pytest evals --ablation-device-map auto`", "2xH100-80GB", None),
    ("two GPUs of 141 GB, and one model on both", "the same", "2xH200-141GB", 2),
    (
        "four GPUs of 141 GB, in pairs",
        "`pytest evals -n auto --ablation-device-map auto --ablation-gpus 2`",
        "4xH200-141GB",
        2,
    ),
    ("eight GPUs that each hold it", "`pytest evals -n auto`", "8xH200-141GB", None),
    (
        "eight GPUs that hold it in pairs",
        "`pytest evals -n auto --ablation-device-map auto --ablation-gpus 2`",
        "8xH100-80GB",
        2,
    ),
    ("eight GPUs that hold it in fours", "the same with `--ablation-gpus 4`", "8xA100-40GB", 4),
    (
        "four machines of eight GPUs of 80 GB, and Ray",
        "`pytest evals --ablation-ray auto --ablation-gpus 2`",
        "4x8xH100-80GB",
        2,
    ),
    (
        "four machines of eight GPUs of 141 GB, and a queue of jobs",
        "`pytest evals -n auto --ablation-part I/4` on each, `retrieval-heads merge`, `pytest evals`",
        "4x8xH200-141GB",
        None,
    ),
)
"""What one has, what to type, and as which cluster a dry run would be asked about it, with so many GPUs a model."""


def clusters() -> str:
    """What to type where, and how long the study of the published size takes there."""
    from harness.option_values import as_cluster
    from harness.study.layout import lay_out

    study, size = _published_study()

    def row(have: str, type_: str, cluster: str | None, gpus: int | None) -> tuple[str, ...]:
        if cluster is None:
            return have, type_, "", ""
        (nodes,) = as_cluster(cluster)
        layout = lay_out(size, nodes, study["longest"] + study["max_new_tokens"], cards=gpus, work=study["work"])
        if layout is None:
            return have, type_, f"`{nodes}`: does not fit", ""
        paces = [pace for pace in _paces(study, layout.cards) if pace.is_of(nodes.card, nodes.gigabytes)]
        hours = f"{_study_hours(paces[0], study['flops']) / layout.models:.2g}" if paces else "not measured"
        over = "" if layout.cards == 1 else f" over {layout.cards} cards"
        models = "1 model" if layout.models == 1 else f"{layout.models} models"
        return have, type_, f"`{nodes}`: {models}{over}", hours

    return _table(("what you have", "what to type", "a 70B on it", "hours"), (row(*each) for each in CLUSTERS))


def published_study() -> str:
    """What that study costs, before and after its work is shared, on one card that holds the model."""
    study, _ = _published_study()
    paces = _paces(study, 1)

    def row(what: str, flops: float, *, shared: bool) -> tuple[str, ...]:
        return what, f"{flops:.3g}", *(f"{_study_hours(pace, flops):.1f}" if shared else "" for pace in paces)

    return _table(
        ("prompts", "operations", *(f"hours on one {pace.device}" for pace in paces)),
        [
            row("of each condition on their own", study["flops_one_by_one"], shared=False),
            row("layers shared by the conditions of a row", study["flops_apart"], shared=True),
            row("and what rows of a filing begin with", study["flops"], shared=True),
        ],
    )


def _published_study() -> "tuple[dict[str, Any], ModelSize]":
    """Its costs, as `python -m tests.published_study` found them, and the size of its model."""
    from harness.experiment.cost import LayerSize, ModelSize

    study = json.loads((ROOT / "reports" / "bench" / "published-study.json").read_text(encoding="utf-8"))
    of_model = study["size"]
    layers = tuple(LayerSize(**layer) for layer in of_model["layers"]) * of_model["n_layers"]
    return study, ModelSize(layers, of_model["n_weights"], of_model["bytes_per_number"])


def _paces(study: "dict[str, Any]", gpus: int) -> "list[Pace]":
    """The paces that were measured with a model of its size over so many cards."""
    from harness.experiment.bench_result import card_paces

    kind = (gpus, study["size"]["n_layers"], study["dtype"], None)
    return [pace for pace in card_paces() if (pace.gpus, pace.n_layers, pace.dtype, pace.quantization) == kind]


def _study_hours(pace: "Pace", flops: float) -> float:
    """With its decoding."""
    from harness.experiment.cost import decoding_bytes

    study, size = _published_study()
    return pace.hours(flops, decoding_bytes(size, study["steps"], study["positions"], 1))


def commands() -> str:
    """The help of each command."""
    from harness.cli import COMMANDS, PROGRAM

    parts = []
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(
            prog=f"{PROGRAM} {name}",
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            formatter_class=_wide,
        )
        command.add_arguments(parser)
        parts.append(f"## {name}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (
        *(architectures, options, columns, tasks, experiments),
        *(speed, whole_commands, clusters, published_study, commands),
    )
}
"""Every table by the name of its file."""


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=100)


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
