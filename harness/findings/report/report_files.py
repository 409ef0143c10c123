"""What lies in a report's folder, by name: `report.json`, a line a sample and a line a row beside it, a page to look at
in a browser, a summary for a comment, and tables with figures."""

REPORT_FILE = "report.json"
SAMPLES_FILE = "samples.jsonl"
ROWS_FILE = "rows.jsonl"
PAGE_FILE = "index.html"
SUMMARY_FILE = "summary.md"
PLOTS = "plots"
"""The folder of tables and figures."""
INSPECT_FILE = "samples.eval"
"""Written on request alone."""
