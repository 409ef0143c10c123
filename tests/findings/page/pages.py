"""A report with gates, and one whose every text is hostile."""

from fake_study import make_report
from two_reports import source, with_gates

from harness.findings.page.page_data import page_data
from harness.findings.page.page_writing import page_text
from harness.findings.report.report_data import ReportData
from harness.findings.report.row_texts import RowText
from harness.findings.samples import Sample

HOSTILE = (
    '</script><script>document.title="broken"</script><img src=x onerror="document.title=1">\u202e"\'&amp;{{ 7*7 }}'
)
LONG = "long" * 25_000
"""One word: broken anywhere, it would hold a browser up for minutes."""
VERDICTS = {
    "gate[a]": "pass",
    "gate[b]": "fail",
    "gate[c]": "inconclusive",
    "gate[<d>]": "invalid",
}


def whole() -> tuple[ReportData, tuple[Sample, ...]]:
    """Two tasks, all experiments."""
    return make_report(("ceo_lastname", "incorporation_year"), (1, 5), None, 6)


def judged() -> ReportData:
    """A gate of every verdict."""
    return with_gates(source(), VERDICTS).data  # type: ignore[arg-type]  # of verdicts


def hostile_page() -> str:
    """The page of a report whose rows, answers, model and command are hostile; one answer has 100,000 characters."""
    report, samples = whole()
    named = [sample.model_copy(update={"row": f"{sample.row}{HOSTILE}", "completion": HOSTILE}) for sample in samples]
    named[0] = named[0].model_copy(update={"completion": LONG, "value": HOSTILE, "filename": HOSTILE})
    texts = [
        RowText(row=named[0].row, question=HOSTILE, needle=HOSTILE, before=HOSTILE, after=LONG, depth=0.5),
    ]
    assert report.model is not None
    changes = {
        "run": report.run.model_copy(update={"name": HOSTILE, "command": HOSTILE}),
        "model": report.model.model_copy(update={"id": HOSTILE}),
    }
    report = report.model_copy(update=changes)
    return page_text(report, page_data(report, named, texts))
