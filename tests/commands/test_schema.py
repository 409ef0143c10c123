"""The schema that other programs read reports by."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from harness.cli import main

from .refusals import Capture


def printed(capsys: Capture, *argv: str) -> Draft202012Validator:
    assert main(["schema", *argv]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_a_report_and_its_samples_are_as_their_schemas_say(folder: Path, capsys: Capture) -> None:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    printed(capsys).validate(report)
    check = printed(capsys, "--samples")
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        check.validate(json.loads(line))
    with pytest.raises(ValidationError):
        check.validate(report)
