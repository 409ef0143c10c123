"""What lies in a report's folder, by name: `report.json`, a line a sample beside it, and tables with figures."""

REPORT_FILE = "report.json"
SAMPLES_FILE = "samples.jsonl"
PLOTS = "plots"
"""The folder of tables and figures."""
