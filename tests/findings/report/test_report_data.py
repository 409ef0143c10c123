"""The models of a report: the schema made of them, and that both refuse what is wrong."""

import json
from typing import Any

import pytest
from changed_section import changed, plain_of
from fake_study import make_report, whole_report
from jsonschema import Draft202012Validator, ValidationError
from pydantic import ValidationError as BadSection

from harness.findings.report.report_data import ReportData
from harness.findings.samples import Sample

SCHEMA: dict[str, Any] = ReportData.model_json_schema()
CHECK = Draft202012Validator(SCHEMA)


def test_the_schema_is_a_schema_that_says_what_each_part_means() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    parts = {"ReportData": SCHEMA, **SCHEMA["$defs"]}
    assert all("description" in part for part in parts.values())
    rate = parts["TaskResult"]["properties"]["interval"]
    assert rate["description"] == "Wilson's, at 95 %."


def test_a_whole_study_fits_the_schema() -> None:
    CHECK.validate(plain_of(whole_report()))


def test_samples_fit_theirs() -> None:
    check = Draft202012Validator(Sample.model_json_schema())
    for sample in make_report(experiments=(), n_filings=2)[1]:
        check.validate(plain_of(sample))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions.0.matches": 99}, "at most n matches"),
        ({"conditions.0.n": 99}, "n at most the rows requested"),
        ({"model.n_heads": 1}, "ranking: heads of the model's 8 layers of 1 heads"),
        ({"ranking.mean_scores.ceo_lastname.3": [0.5]}, "ranking.mean_scores: 8 layers of 16 scores for each task"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], message: str) -> None:
    """Such figures once ended in tracebacks where intervals were worked out or maps drawn."""
    with pytest.raises(BadSection, match=message):
        changed(make_report(experiments=(), n_filings=2)[0], changes)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("schema_version", 3),
        ("run.exit", "fine"),
        ("run.more", 1),
        ("conditions.0.accuracy", 1.5),
        ("conditions.0.interval", [0.1]),
        ("conditions.0.heads", [[1, 2, 3]]),
        ("conditions.0.heads", [[1, 2], [1, 2]]),
        ("conditions.0.k", 0),
        ("conditions.0.n", "3"),
        ("conditions.0.n", True),
        ("model.n_layers", None),
    ],
)
def test_both_refuse_what_is_wrong(place: str, value: object) -> None:
    report = make_report(experiments=(), n_filings=2)[0]
    with pytest.raises(BadSection):
        changed(report, {place: value})
    plain = plain_of(report)
    *steps, last = place.split(".")
    part = plain
    for step in steps:
        part = part[int(step) if isinstance(part, list) else step]
    part[last] = value
    with pytest.raises(ValidationError):
        CHECK.validate(json.loads(json.dumps(plain)))
