"""How figures and summaries say what was done to the heads of a report's conditions.

Reports older than the choice do not name it: there, heads were zeroed at every token.
"""

from harness.findings.report.report_data import ReportData

PARTICIPLES = {"zero": "zeroed", "mean": "set to their mean", "resample": "resampled"}
"""What is done to heads, by the setting `mode`."""


def participle(report: ReportData) -> str:
    """What was done to the heads, as a participle: `zeroed`."""
    return PARTICIPLES[str(report.configuration.get("mode", "zero"))]


def manner_note(report: ReportData) -> str | None:
    """What was done to the heads and when, where it is not the usual."""
    decode_only = report.configuration.get("phase", "all") == "decode"
    if participle(report) == PARTICIPLES["zero"] and not decode_only:
        return None
    return f"heads {participle(report)}" + (" from the prompt's last token on" if decode_only else "")
