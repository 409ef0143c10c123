"""Writing the page: one file that opens from disk, with all that it shows in it.

The frame is a Jinja2 template that escapes whatever it is given; verdicts and figures stand in it as HTML and SVG, and
the rest as compressed JSON (`page_data`), which the page's own program (`parts.js` and `page.js`) unpacks and shows as
text. A content security policy lets nothing else run and nothing be fetched. Two reports side by side are a page of the
same parts (`comparing.comparison_page`). Knows nothing of how figures are drawn: it is given them.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from harness.errors import ReportError
from harness.files import write_text
from harness.findings.page.page_data import PageData
from harness.findings.report.gate_message import gate_facts
from harness.findings.report.report_data import ReportData
from harness.findings.report.report_files import PAGE_FILE
from harness.findings.report.summary import summary_lines
from harness.findings.section import Section

CAPTIONS = {
    "accuracy_by_k": "Accuracy against the number of heads ablated, with 95 % intervals and the baseline",
    "accuracy_by_task": "The same curves, task by task",
    "retrieval_against_random": "Retrieval heads against as many random heads",
    "forest": "The drop beyond that by as many random heads, with intervals and the gates' verdicts",
    "transfer_map": "Accuracy left on one task without another task's heads",
}
"""What each figure shows, in words, by its file's name. The page has a map of heads of its own."""
CHECKS = ("what", "difference", "(a)", "(b)", "(c)")
"""What is told of a gate at once; the rest is folded away."""
_GROUP_ID = re.compile(r'<g id="[^"]*"')


@dataclass(frozen=True, slots=True)
class ShownFigure:
    """A figure as the page has it: its file's name, what it shows, and its SVG."""

    name: str
    caption: str
    svg: Markup


def read_figures(paths: Iterable[Path]) -> Iterator[ShownFigure]:
    """Those of the drawn figures that are SVG files, without what only a file of its own needs.

    Names of groups are left out: two figures in one page have the same.
    """
    for path in paths:
        if path.suffix == ".svg" and path.stem in CAPTIONS:
            text = path.read_text(encoding="utf-8")
            svg = _GROUP_ID.sub("<g", text[text.index("<svg") :])
            yield ShownFigure(path.stem, CAPTIONS[path.stem], Markup(svg))  # our own


def page_text(report: ReportData, data: PageData, figures: Iterable[ShownFigure] = ()) -> str:
    """The page as HTML."""
    return rendered(
        "page",
        data,
        report=report,
        mark=_mark(report),
        gates=[(gate, list(gate_facts(gate))) for gate in report.gates],
        CHECKS=CHECKS,
        summary=list(summary_lines(report)),
        figures=list(figures),
        heads=data.heads,
        has_samples=bool(data.rows),
    )


def _mark(report: ReportData) -> str:
    return hashlib.sha256(report.model_dump_json().encode()).hexdigest()


def is_page_of(path: Path, report: ReportData) -> bool:
    """Whether a page is there and was made of this very report, whenever that was: a checkout's times say nothing."""
    try:
        return f'<meta name="report" content="{_mark(report)}">' in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def rendered(kind: Literal["page", "compare"], data: Section, **shown: object) -> str:
    """A page of this kind, with the data that its program unpacks and what its template shows itself."""
    names = {"frame": "frame.html.j2", kind: f"{kind}.html.j2"}
    environment = Environment(
        loader=DictLoader({name: _source(file) for name, file in names.items()}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _source("parts.js") + _source(f"{kind}.js")
    return environment.get_template(kind).render(
        data=base64.b64encode(zlib.compress(data.model_dump_json().encode(), 9)).decode(),
        style=Markup(_source("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **shown,
    )


def _source(file: str) -> str:
    return files(__package__).joinpath(file).read_text(encoding="utf-8")


def embedded(page: str) -> PageData:
    """The data that a report's page holds, read back.

    Raises ValueError where it holds none.
    """
    found = re.search(r'<script id="data"[^>]*>([^<]*)</script>', page)
    if found is None:
        raise ValueError("no page of ours: it holds no data")
    return PageData.model_validate_json(zlib.decompress(base64.b64decode(found[1])))


def write_page(report: ReportData, data: PageData, folder: Path, figures: Iterable[ShownFigure] = ()) -> Path:
    """Write `index.html` into a report's folder, which is there; return its path.

    Raises ReportError where it cannot be written.
    """
    path = folder / PAGE_FILE
    try:
        write_text(path, page_text(report, data, figures))
    except OSError as error:
        raise ReportError(
            f"{path}: the page cannot be written ({error.strerror or error}); expected room in a folder that can be "
            "written; the report stands: write it again with `retrieval-heads show`"
        ) from error
    return path
