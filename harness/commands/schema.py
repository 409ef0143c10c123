"""`schema`: the JSON Schema of a report, or of a line of its samples, made of the models that write and read them."""

import argparse
import json

from harness.commands.output import show

HELP = "print the JSON Schema of report.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--samples", action="store_true", help="of a line of samples.jsonl instead")


def run(arguments: argparse.Namespace) -> None:
    """Print it, with what every field means."""
    from harness.findings.report.report_data import ReportData
    from harness.findings.samples import Sample

    model = Sample if arguments.samples else ReportData
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    show(json.dumps(draft | model.model_json_schema(), ensure_ascii=False, indent=1).splitlines())
