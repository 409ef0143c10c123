"""Sections with other figures: they are frozen, and what is changed is checked as a file would be."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from harness.findings.section import Section

S = TypeVar("S", bound=Section)


def changed(section: S, changes: Mapping[str, object]) -> S:
    """The section with other values at these places, as `conditions.0.per_task.city.n`; sections may be values."""
    plain = plain_of(section)
    for place, value in changes.items():
        *steps, last = place.split(".")
        part = plain
        for step in steps:
            part = part[int(step) if isinstance(part, list) else step]
        part[int(last) if isinstance(part, list) else last] = value
    return type(section).model_validate_json(json.dumps(plain, default=plain_of))


def plain_of(section: Section) -> Any:
    """The section as JSON has it."""
    return json.loads(json.dumps(section.model_dump()))
