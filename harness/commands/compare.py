"""Several runs beside each other: `compare` says what differs between two reports, and whether that fails a CI job;
`merge` puts stores together that several machines filled, each with a part of a study.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.console import Command, check_writable, say, show
from harness.errors import counted
from harness.files import write_text
from harness.findings.report.report_files import SAMPLES_FILE

if TYPE_CHECKING:  # parsing reads neither reports nor stores
    from harness.experiment.store_merge import Merged
    from harness.findings.comparing.compare import Source

EXIT_FAILED = 1
KEEP = ("first", "last")
"""The values of `harness.experiment.store_merge.Keep`."""


def _add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("before", type=Path, metavar="A", help="a report.json, or its folder: what was")
    parser.add_argument("after", type=Path, metavar="B", help="another one: what is now")
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="EXPR",
        help="exit with 1 if one of these checks fails: config, versions, missing, answers, verdict, or a limit as in "
        "accuracy>0.05, fall>0.05, rise>0.05, drop>0.05, p<0.01 or within_task:drop>0.1; commas between several",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the whole comparison")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page that shows what changed, row by row, in a browser"
    )


def _run_compare(arguments: argparse.Namespace) -> int:
    """Show what differs from A to B; 1 where a check of --fail-on fails."""
    from harness.findings.comparing.compare import compare
    from harness.findings.comparing.comparison_text import comparison_lines
    from harness.findings.comparing.fail_expression import failures, parse_checks

    checks = tuple(check for expression in arguments.fail_on for check in parse_checks(expression))
    for option, file in (("--json", arguments.json), ("--html", arguments.html)):
        if file is not None:
            check_writable(file, option)
    before, after = _source(arguments.before), _source(arguments.after)
    comparison = compare(before, after)
    failed = failures(checks, comparison)
    show(comparison_lines(comparison))
    if arguments.json is not None:
        text = json.dumps(comparison.as_json(), ensure_ascii=False, allow_nan=False, indent=1)
        write_text(arguments.json, text + "\n")
        show([f"wrote {arguments.json}"])
    if arguments.html is not None:
        from harness.findings.comparing.comparison_page import comparison_page
        from harness.findings.report.row_texts import read_row_texts

        texts = [text for path in (arguments.before, arguments.after) for text in read_row_texts(_folder(path))]
        write_text(arguments.html, comparison_page(comparison, before, after, texts))
        show([f"wrote {arguments.html}"])
    for failure in failed:
        say(f"failed: {failure.check}: {failure.reason}")
    return EXIT_FAILED if failed else 0


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _source(path: Path) -> "Source":
    """A report with its samples, where they stand beside it and are any."""
    from harness.findings.comparing.compare import Source
    from harness.findings.report.reading import load

    report = load(path)
    has_samples = report.path.with_name(SAMPLES_FILE).is_file()
    return Source(str(path), report.data, (report.sample_lines() or None) if has_samples else None)


def _add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "stores", nargs="+", type=Path, metavar="STORE", help="stores to put together; they are read only"
    )
    parser.add_argument(
        "--into",
        type=Path,
        required=True,
        metavar="STORE",
        help="store to put them into, beside what it holds already; it is made where there is none",
    )
    parser.add_argument(
        "--keep",
        choices=KEEP,
        help="whose answer to keep where two stores answer the same question differently: that of the store named "
        "first, or last; what --into holds is before all others (default: say which questions they are, and merge "
        "nothing)",
    )


def _run_merge(arguments: argparse.Namespace) -> None:
    """Merge, and say what came of each store."""
    from harness.experiment.store_merge import merge_stores

    merged = merge_stores(arguments.stores, arguments.into, keep=arguments.keep)
    show(merged_lines(merged, arguments.into, arguments.keep))


ANSWERS_KEPT = {"first": "which was not taken", "last": "which took the place of the one before"}
MEANS_KEPT = {
    "first": "its mean values differ and were not taken: what rests on them will be computed again",
    "last": "its mean values differ and took the place of others: what rests on those will be computed again",
}
"""What became of what differs, by `--keep`."""


def merged_lines(merged: "Sequence[Merged]", into: Path, keep: str | None) -> Iterator[str]:
    """A line a store, and what is to be done next; `keep` is said where anything differs."""
    for each in merged:
        notes = [f"{counted(each.there, 'record')} there already"] * bool(each.there)
        notes += [f"{each.different:,} of them with another answer, {ANSWERS_KEPT[keep or 'first']}"] * bool(
            each.different
        )
        notes += [MEANS_KEPT[keep or "first"]] * bool(each.means)
        notes += [f"{counted(each.damaged, 'record')} damaged and left behind"] * bool(each.damaged)
        added = counted(each.added, "record")
        yield f"{each.path}: {'; '.join([f'{added} added', *notes])}"
    yield f"store: {into}; run the study again with it, without --ablation-part: what is stored is not computed again"


COMPARE = Command("compare two reports, condition by condition and row by row", _add_compare_arguments, _run_compare)
MERGE = Command(
    "put stores of records together that machines filled, each with a part of a study",
    _add_merge_arguments,
    _run_merge,
)
