"""Tables of the guide that the code already knows, written as Markdown whenever the guide is built.

What a table says stands in the code alone, so the guide cannot say something else.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
BENCHMARKS = (
    ("demo-main-job", "the demo, the main job", "the plugin's own plain loop"),
    ("demo-all", "the demo, all default experiments", "the plugin's own plain loop"),
    ("llama-3-8b-published", "8B shape", "the published notebook's loop"),
    ("llama-3-8b-plain", "8B shape", "a plain loop, sdpa"),
    ("llama-3.3-70b-within", "70B shape", "a plain loop, sdpa"),
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
        (row(each.name, each.metavar, each.switch, each.help) for each in OPTIONS),
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
        tokens = f"{found['prompt_tokens']} tokens"
        return f"{what}, {tokens} (`{name}.json`)", device, str(found["n_conditions"]), against, ratio, least

    head = ("what", "device", "conditions a row", "against", "times as fast", "times the least time")
    return _table(head, (row(*each) for each in BENCHMARKS))


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
    each.__name__: each for each in (architectures, options, columns, tasks, experiments, speed, commands)
}
"""Every table by the name of its file."""


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=100)


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
