"""The types of a report and its JSON Schema say the same, and a whole study's report fits both."""

import json
from importlib.resources import files
from typing import Any

import pytest
from fake_study import make_report, whole_report
from jsonschema import Draft202012Validator, ValidationError

from harness.findings import samples
from harness.findings.report import report_data
from harness.findings.verdicts import verdict_data

SCHEMA: dict[str, Any] = json.loads(
    files("harness.findings.report").joinpath("report_schema.json").read_text(encoding="utf-8")
)
CHECK = Draft202012Validator(SCHEMA)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("type_name", "definition"),
    [
        ("RunSection", "run"),
        ("ModelSection", "model"),
        ("RankingSection", "ranking"),
        ("DataSection", "data"),
        ("Rate", "rate"),
        ("Drop", "drop"),
        ("Degenerate", "degenerate"),
        ("OwnMetric", "own_metric"),
        ("GateResult", "gate"),
        ("GateMargins", "gate_margins"),
        ("CheckResult", "check"),
        ("PlainText", "plain_text"),
        ("DegenerateShares", "degenerate_shares"),
        ("TaskVerdict", "task_verdict"),
        ("Contrast", "contrast"),
        ("Specificity", "specificity"),
        ("TaskResult", "task_result"),
        ("ConditionResult", "condition"),
        ("SampleLine", "sample"),
    ],
)
def test_types_and_schema_name_the_same_fields(type_name: str, definition: str) -> None:
    home = next(module for module in (report_data, verdict_data, samples) if hasattr(module, type_name))
    found = getattr(home, type_name)
    part = SCHEMA["$defs"][definition]
    assert set(part["properties"]) == set(found.__annotations__)
    assert set(part["required"]) == found.__required_keys__
    assert part["additionalProperties"] is False


def test_the_whole_report_has_the_types_fields() -> None:
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == set(report_data.ReportData.__annotations__)


def test_a_whole_study_fits_the_schema() -> None:
    CHECK.validate(json.loads(json.dumps(whole_report(), allow_nan=False)))


def test_samples_fit_the_schema() -> None:
    check = CHECK.evolve(
        schema={**SCHEMA, **SCHEMA["$defs"]["sample"], "properties": SCHEMA["$defs"]["sample"]["properties"]}
    )
    for sample in make_report(experiments=(), n_filings=2)[1]:
        check.validate(json.loads(json.dumps(sample.line(), allow_nan=False)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("run", "exit"), "fine"),
        (("run", "more"), 1),
        (("conditions", 0, "accuracy"), 1.5),
        (("conditions", 0, "interval"), [0.1]),
        (("conditions", 0, "heads"), [[1, 2, 3]]),
        (("conditions", 1, "k"), 0),
        (("model", "n_layers"), None),
    ],
)
def test_the_schema_refuses_what_is_wrong(path: tuple[str | int, ...], value: object) -> None:
    report: Any = json.loads(json.dumps(make_report(experiments=(), n_filings=2)[0]))
    report["conditions"].append(json.loads(json.dumps(report["conditions"][0])))
    CHECK.validate(report)
    part = report
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(ValidationError):
        CHECK.validate(report)
