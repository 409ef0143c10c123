"""Commands about heads: `heads` shows, checks, compares or converts a file of ranked ones, `identify` ranks a model's,
`export-checkpoint` writes a model without some.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from harness.choices import MethodName
from harness.commands.console import (
    Command,
    Needs,
    add_options,
    check_writable,
    given_settings,
    model_shape,
    say,
    show,
    whole_number,
)
from harness.errors import HeadsError, SettingsError, counted
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import Head, ModelShape
from harness.findings.rankings.ranking_comparison import agreement_lines
from harness.findings.rankings.ranking_summary import ranking_lines
from harness.retrieval.rows import Excluded
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.identification import (
    DEFAULT_METHOD,
    cut_to_seq_len,
    identification_rows,
    identify_heads,
    mean_outputs,
)
from harness.study.inputs import read_data
from harness.study.ray_cluster import check_ray


def _add_heads_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="ranked heads, in any known format")
    parser.add_argument(
        "--model-shape",
        type=model_shape,
        metavar="L,H",
        help="layers and heads of the model that it should fit",
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        metavar="OTHER",
        help="instead, rank correlation and common heads with other files, as of other methods",
    )
    parser.add_argument(
        "--top-k",
        type=whole_number(1),
        metavar="N",
        help="compare the N best heads (default: as many as all files have for candidates)",
    )
    parser.add_argument("--convert", type=Path, metavar="OUT", help="write it in our own format")


def _run_heads(arguments: argparse.Namespace) -> None:
    """Show a head file, alone or against others; with a shape check it, with another file convert it."""
    rankings = [read_ranking(path) for path in (arguments.file, *(arguments.against or ()))]
    shape: ModelShape | None = arguments.model_shape
    if shape is not None:
        for each in rankings:
            each.check_shape(shape)
    ranking, *others = (each.completed(shape) for each in rankings)
    lines = [*(agreement_lines([ranking, *others], top_k=arguments.top_k) if others else ranking_lines(ranking, shape))]
    if arguments.convert is not None:
        write_ranking(
            replace(ranking if shape is not None else rankings[0], model=ranking.model or shape), arguments.convert
        )
        lines.append(f"wrote {arguments.convert}")
    show(lines)


IDENTIFY_OPTIONS = (
    *("model", "revision", "dtype", "device-map", "attn", "quantization", "adapter", "architectures", "template"),
    *("data", "task-file", "tasks", "strict-rows", "split-share", "max-rows", "seq-len", "insertion", "max-new-tokens"),
    *("ray", "gpus", "ray-mixed"),
)
"""The plugin's options that `identify` has too."""
DECODING_METHODS = ("retrieval_score", "logit_contribution")
"""Methods that have the model answer."""


def _add_identify_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_options(parser, IDENTIFY_OPTIONS)
    most = max(Settings().k)
    parser.add_argument("--seed", metavar="N", help="seed of the split and of the needles' depths (default: 0)")
    parser.add_argument(
        "--top-k",
        type=whole_number(1),
        default=most,
        metavar="N",
        help=f"candidates a task (default: {most})",
    )
    parser.add_argument(
        "--method",
        choices=get_args(MethodName),
        default=DEFAULT_METHOD,
        metavar="NAME",
        help=f"how heads are scored: {', '.join(get_args(MethodName))} (default: %(default)s)",
    )
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="another rule of the method: authors, of retrieval_score; paper, of logit_contribution",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("retrieval_heads.json"), metavar="FILE", help="default: %(default)s"
    )


def _run_identify(arguments: argparse.Namespace) -> None:
    """Score all heads on the identification rows, write the ranking and show it."""
    settings = given_settings(arguments, (*IDENTIFY_OPTIONS, "seed"))
    check_writable(arguments.out, "--out")
    if settings.ray is not None:
        check_ray()
    data = read_data(settings)
    rows = identification_rows(data.rows, settings)
    filings = counted(len({row.filename for row in rows}), "filing")
    say(
        f"{settings.model}: {counted(len(rows), 'identification row')} of {filings}, {counted(len(data.tasks), 'task')}"
    )
    model = AskedModel(settings)
    if (kind := model.blueprint.quantized_file) is not None:
        say(f"{settings.model}: quantised weights ({kind}), read as full ones")
    shape = model.blueprint.shape
    if arguments.top_k > (n_heads := shape.n_layers * shape.n_heads):
        raise SettingsError(f"--top-k: {arguments.top_k}; expected at most {n_heads}, the heads of {settings.model}")
    _say_excluded(data.excluded)
    whole = rows
    rows, n_cut = cut_to_seq_len(data.prompts(model), rows)
    if n_cut:
        say(f"{counted(n_cut, 'row')} cut to {settings.seq_len} tokens, {len(rows) - n_cut} are not longer")
    ranking = identify_heads(
        model,
        data.tasks,
        rows,
        top_k=arguments.top_k,
        method=arguments.method,
        variant=arguments.variant,
        made_from=whole,
        say=say,
    )
    n_counting = sum((ranking.samples or {}).values())
    if n_counting < len(rows):
        say(f"{n_counting} of {len(rows)} rows count for {ranking.full_method}")
    write_ranking(ranking, arguments.out)
    show(ranking_lines(replace(ranking, source=str(arguments.out))))


def _say_excluded(excluded: Sequence[Excluded]) -> None:
    for row in excluded:
        say(f"excluded: {row.row_id}: {row.reason}")
    if excluded:
        say(f"{counted(len(excluded), 'row')} excluded")


EXPORT_OPTIONS = ("revision", "architectures")
"""The plugin's options that `export-checkpoint` has too."""
OF_MEANS = (
    *("dtype", "device-map", "template", "data", "task-file", "tasks", "split-share", "max-rows", "seq-len"),
    "insertion",
)
"""And those that say what the model is asked for means: nothing else runs it."""


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("model", metavar="MODEL", help="a checkpoint's folder, a hub id, or demo")
    parser.add_argument(
        "--heads", required=True, metavar="HEADS", help="a file of ranked heads, or heads themselves: L5H6,L6H4"
    )
    parser.add_argument("--list", metavar="NAME", help="of a file: a task, shared or global (default: global)")
    parser.add_argument(
        "--k", type=whole_number(1), metavar="N", help="of a file: the N best (default: all candidates)"
    )
    parser.add_argument(
        "--mode",
        choices=("zero", "mean"),
        default="zero",
        help="what the heads put out instead: nothing, or their mean over the identification rows "
        "(default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument("--seed", metavar="N", help="seed of the split and of the needles' depths (default: 0)")
    add_options(parser, (*EXPORT_OPTIONS, *OF_MEANS))


def _run_export(arguments: argparse.Namespace) -> None:
    """Write the checkpoint without the heads, and say which."""
    settings = given_settings(arguments, ("model", "seed", *EXPORT_OPTIONS, *OF_MEANS))
    heads = _chosen_heads(arguments)
    model, means = AskedModel(settings), None
    for head in heads:
        model.blueprint.shape.check(head, f"--heads {arguments.heads}")
    if arguments.mode == "mean":
        data = read_data(settings)
        rows, _ = cut_to_seq_len(data.prompts(model), identification_rows(data.rows, settings))
        say(f"{arguments.model}: means over {counted(len(rows), 'identification row')}")
        means = mean_outputs(model, data.tasks, rows)
    model.write_without(heads, arguments.out, means)
    show([f"wrote {arguments.out}: {arguments.model} without {', '.join(map(str, sorted(heads)))}"])


def _chosen_heads(arguments: argparse.Namespace) -> frozenset[Head]:
    """Heads named, or the first k of a file's list."""
    try:
        named = frozenset(Head.parse(part.strip()) for part in arguments.heads.split(","))
    except HeadsError as error:
        if not (file := Path(arguments.heads)).is_file():
            raise SettingsError(
                f"--heads: {error}; or a file of ranked heads, and there is none of this name"
            ) from None
    else:
        if arguments.list is not None or arguments.k is not None:
            option = "--list" if arguments.list is not None else "--k"
            raise SettingsError(
                f"{option}: given with heads by name, which are all meant; expected it with a file; leave it out"
            )
        return named
    ranking, listed_as = read_ranking(file), arguments.list or "global"
    match listed_as:
        case "global":
            listed = [scored.head for scored in ranking.global_candidates()]
        case "shared":
            listed = [shared.head for shared in ranking.shared()]
        case task:
            listed = [*ranking.candidates(task)]
    k = arguments.k or len(listed)
    if not 1 <= k <= len(listed):
        raise SettingsError(f"--k: {k}; expected 1 to {len(listed)}, the heads of {listed_as} in {file}")
    return frozenset(listed[:k])


HEADS = Command(
    "show, check, compare or convert a file of ranked heads",
    _add_heads_arguments,
    _run_heads,
    (Needs(("top-k",), "against"),),
)
IDENTIFY = Command(
    "rank a model's heads on the identification rows",
    _add_identify_arguments,
    _run_identify,
    (Needs(("gpus",), "ray"), Needs(("max-new-tokens",), "method", DECODING_METHODS)),
)
EXPORT_CHECKPOINT = Command(
    "write a model without some of its heads",
    _add_export_arguments,
    _run_export,
    (Needs(("seed", *OF_MEANS), "mode", ("mean",)),),
)
