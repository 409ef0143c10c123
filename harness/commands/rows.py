"""`rows`: the demo's rows as a file. `filings`: rows from real annual reports, or the same again from a manifest."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.commands.console import (
    Apart,
    Command,
    Needs,
    add_options,
    check_writable,
    given_settings,
    say,
    show,
    whole_number,
)
from harness.demo.filings import DEMO_FILINGS, DEMO_SEED, DEMO_SENTENCES, demo_rows
from harness.errors import DataError, counted
from harness.retrieval.chat_templates import read_arguments
from harness.retrieval.prompts import build_prompt
from harness.retrieval.row_files import write_records
from harness.retrieval.rows import Row, SplitName, write_rows
from harness.retrieval.tasks import EDGAR_TASKS, select_tasks
from harness.settings import Settings

if TYPE_CHECKING:  # read where they are needed: no other command needs them
    from harness.retrieval.filings.building import Length, Recipe
    from harness.retrieval.filings.candidates import Candidate


def _add_rows_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    number = whole_number(1)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .jsonl, .csv or .parquet file")
    parser.add_argument(
        "--filings", type=number, default=DEMO_FILINGS, metavar="N", help="filings (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=DEMO_SEED,
        metavar="S",
        help="their seed (default: %(default)s)",
    )
    parser.add_argument(
        "--sentences",
        type=number,
        default=DEMO_SENTENCES,
        metavar="N",
        help="sentences each (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=get_args(SplitName),
        help="put every row on this side of the split (default: by hash)",
    )


def _run_rows(arguments: argparse.Namespace) -> None:
    """Compose filings of the demo's world and write their rows."""
    rows = demo_rows(arguments.filings, seed=arguments.seed, n_sentences=arguments.sentences)
    write_rows([replace(row, split=arguments.split) for row in rows], arguments.out)
    show([f"wrote {arguments.out}: {counted(len(rows), 'row')} of {counted(arguments.filings, 'filing')}"])


_OF_LENGTH = ("revision", "template", "depth", "insertion")
"""Options that matter where prompts are cut to a length, and nowhere else."""
FILINGS_OPTIONS = ("model", "revision", "template", "seq-len", "depth", "insertion", "tasks")
"""The plugin's options that `filings` has too."""
COLUMNS = ("filing", "task", "value", "reason", "note", "section", "start", "end", "sentence")
"""Of the file of candidates."""
DRAWN_COLUMNS = ("task", "value", "filing", "section", "start", "end", "right", "reason")
"""Of the file of drawn rows; the last two are for whoever judges them."""
N_DRAWN = 60


def _add_filings_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="FILINGS",
        help="a folder or .zip of JSON files, or a .parquet file, as EDGAR-CORPUS or edgar-crawler write them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .jsonl, .csv or .parquet file")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="leave the needle where the filing has it, and all else too: values then recur in the haystack, so that "
        "a prompt without its needle is no control",
    )
    parser.add_argument(
        "--candidates",
        type=Path,
        metavar="FILE",
        help="list all sentences that were considered, with the reason of each that was rejected: "
        "a .jsonl, .csv or .parquet file",
    )
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="FILE",
        help=f"draw {N_DRAWN} of the rows, to be judged by eye: a .csv, .jsonl or .parquet file without any text",
    )
    parser.add_argument("--draw-seed", type=whole_number(0), metavar="S", help="the draw's seed (default: 0)")
    manifest = parser.add_mutually_exclusive_group()
    manifest.add_argument(
        "--write-manifest", type=Path, metavar="FILE", help="write a JSON file from which the same rows are made again"
    )
    manifest.add_argument(
        "--manifest", type=Path, metavar="FILE", help="make the rows of this manifest again, letter for letter"
    )
    add_options(parser, FILINGS_OPTIONS)


def _run_filings(arguments: argparse.Namespace) -> None:
    """Read the filings, make the rows, and write what was asked for."""
    from harness.retrieval.filings.filing import read_filings

    settings = given_settings(arguments, FILINGS_OPTIONS)
    for option in ("out", "candidates", "draw", "write_manifest"):
        if (file := getattr(arguments, option)) is not None:
            check_writable(file, f"--{option.replace('_', '-')}")
    if arguments.manifest is not None:
        from harness.retrieval.filings.manifest import rows_of_manifest

        rows = rows_of_manifest(arguments.manifest, read_filings(arguments.source))
        write_rows(rows, arguments.out)
        show([f"wrote {arguments.out}: {counted(len(rows), 'row')}, each as {arguments.manifest} has it"])
        return
    _build(arguments, settings)


def _build(arguments: argparse.Namespace, settings: Settings) -> None:
    from harness.retrieval.filings.building import build_rows, draw
    from harness.retrieval.filings.filing import read_filings
    from harness.retrieval.filings.manifest import write_manifest

    tasks = select_tasks(EDGAR_TASKS, settings.tasks or tuple(EDGAR_TASKS))
    length = _length(settings)
    filings = read_filings(arguments.source)
    say(f"{arguments.source}: {counted(len(filings), 'filing')}")
    built = build_rows(filings, tasks, in_place=arguments.in_place, length=length)
    if arguments.candidates is not None:
        write_records(arguments.candidates, COLUMNS, [_record(each) for each in built.candidates])
    if not built.rows:
        raise DataError(
            f"{arguments.source}: {counted(len(filings), 'filing')} and no row; expected sentences that state values "
            f"of {', '.join(tasks)}; list those that were rejected, and why, with --candidates"
        )
    write_rows(built.rows, arguments.out)
    if arguments.draw is not None:
        drawn = draw(built.recipes, N_DRAWN, seed=arguments.draw_seed or 0)
        write_records(arguments.draw, DRAWN_COLUMNS, [_drawn(each) for each in drawn])
    if arguments.write_manifest is not None:
        write_manifest(arguments.write_manifest, built.recipes, filings, made_by=_made_by(arguments, settings))
    show(_summary(arguments, built.rows, built.candidates))


def _length(settings: Settings) -> "Length | None":
    """How long a prompt may be, by the model's tokenizer, with the needle where the settings put it."""
    from harness.retrieval.filings.building import Length
    from harness.study.asked_model import AskedModel

    if settings.seq_len is None:
        return None
    tokenizer, arguments = AskedModel(settings).tokenizer, read_arguments(settings.template)

    def count(row: Row) -> int:
        task, insertion = EDGAR_TASKS[row.task], settings.insertion
        prompts = (
            build_prompt(row, task, tokenizer, depth=depth, insertion=insertion, arguments=arguments)
            for depth in settings.depth
        )
        return max(len(prompt.token_ids) for prompt in prompts)

    return Length(settings.seq_len, count)


def _record(candidate: "Candidate") -> list[str | int | None]:
    sentence = candidate.sentence
    return [
        *(candidate.filing, candidate.task, candidate.value or None, candidate.reason, candidate.note),
        *(sentence.section, sentence.start, sentence.end, sentence.text),
    ]


def _drawn(recipe: "Recipe") -> list[str | int | None]:
    needle = recipe.needle
    return [recipe.task, recipe.value, recipe.filing, needle.section, needle.start, needle.end, None, None]


def _made_by(arguments: argparse.Namespace, settings: Settings) -> str:
    """The options that rows depend on, as they would be typed; no paths of this machine."""
    parts = ["retrieval-heads filings", arguments.source.name]
    if arguments.in_place:
        parts.append("--in-place")
    if settings.tasks:
        parts.append(f"--tasks {','.join(settings.tasks)}")
    if settings.seq_len is not None:
        depths = ",".join(map(repr, settings.depth))
        parts.append(f"--model {Path(settings.model).name} --seq-len {settings.seq_len} --depth {depths}")
        parts.append(f"--insertion {settings.insertion}")
    return " ".join(parts)


def _summary(arguments: argparse.Namespace, rows: Sequence[Row], candidates: "Sequence[Candidate]") -> list[str]:
    """What was found, task by task, and what the source's own fields say otherwise."""
    n_filings, n_clusters = len({row.filename for row in rows}), len({row.cluster for row in rows})
    made, rejected = Counter(row.task for row in rows), Counter(each.task for each in candidates if each.reason)
    stated = Counter(task for task, _ in {(each.task, each.filing) for each in candidates if not each.reason})
    width = max(map(len, EDGAR_TASKS))
    lines = [
        f"wrote {arguments.out}: {counted(len(rows), 'row')} of {counted(n_filings, 'filing')} in "
        f"{counted(n_clusters, 'cluster')}",
        f"{'task':{width}}  rows  filings that state it  sentences rejected",
        *(
            f"{task:{width}}  {made[task]:4}  {stated[task]:21}  {rejected[task]:18}"
            for task in EDGAR_TASKS
            if stated[task] or rejected[task]
        ),
    ]
    notes = [each for each in candidates if each.note]
    for each in notes:
        lines.append(f"{each.filing}: {each.task}: the filing states {each.value}, its field {each.note}")
    if arguments.in_place:
        lines.append("in place: values recur in the haystacks; a prompt without its needle is no control")
    return lines


ROWS = Command("write the demo's rows in the format for rows of one's own", _add_rows_arguments, _run_rows)
FILINGS = Command(
    "make rows of real 10-K filings, from sentences that state a value",
    _add_filings_arguments,
    _run_filings,
    (
        Apart(
            ("candidates", "draw", "in-place", "tasks", "seq-len", "model", *_OF_LENGTH),
            "manifest",
            "a manifest says all of it itself",
        ),
        Needs(("seq-len",), "model"),
        Needs(("model", *_OF_LENGTH), "seq-len"),
        Needs(("draw-seed",), "draw"),
    ),
)
