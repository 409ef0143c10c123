"""A section of a report: a typed, frozen pydantic model whose fields say what they mean, and what JSON may hold there.

Every part of `report.json` and every line of `samples.jsonl` is one. Reading is validating (`read_section`): by the
types alone, so what a section says of its fields is said nowhere else, and `model_json_schema` says it to other
programs. A field that is added within a version gets a default, so that older files of the version still read.

Knows nothing of what sections there are. pydantic is imported here, so whatever imports this module reads or writes
reports.
"""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from harness.experiment.json_nodes import MOST, Node

T = TypeVar("T")

Real = Annotated[float, Field(ge=-MOST, le=MOST)]
"""A number small enough to be summed and squared."""
Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
"""A count of what is there at least once."""
Name = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-1, le=1)]
"""A difference of two fractions."""
Difference = Annotated[float, Field(ge=-2, le=2)]
"""A difference of two changes."""
Amount = Annotated[float, Field(ge=0, le=MOST)]
LogProbability = Annotated[float, Field(ge=-1e9, le=1e9)]
"""In nats, and small enough to be summed."""
Ends = tuple[Real, Real]
"""An interval, low and high; one of a difference may reach beyond -1 and 1."""
Span = tuple[Count, Count]
"""The fewest and the most."""
LayerHead = tuple[Count, Count]
"""A head: its layer and its number in it, from 0."""


def _each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"each once, not {value!r} twice")
    return values


EachOnce = AfterValidator(_each_once)
"""That a tuple holds nothing twice; for the schema, `UNIQUE` says it too."""
UNIQUE = Field(json_schema_extra={"uniqueItems": True})


class Section(BaseModel):
    """A part of a report. Whoever makes one with values of the wrong kind gets pydantic's ValidationError."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=Section)


def read_section(kind: type[S], text: str, node: Node, what_to_do: str) -> S:
    """The section that this JSON text holds; `node` is the same text parsed, for keys that stand twice, and for places.

    Raises an error of the node's kind: in one line the first place that is not as the section has it, what stands
    there, what is expected, and what to do.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise _bad(error, node, what_to_do) from None


def _bad(error: ValidationError, node: Node, what_to_do: str) -> Exception:
    first = error.errors(include_url=False, include_context=False)[0]
    at = node
    for step in first["loc"]:  # as far as it leads: it ends in the name of a missing field, or of a union's branch
        match at.value, step:
            case dict() as table, str() if step in table:
                at = at.part(table[step], step)
            case list() as items, int() if step < len(items):
                at = at.part(items[step], f"[{step}]")
    match first["type"]:
        case "missing" if isinstance(first["loc"][-1], str):
            return at.kind(f"{at.where}: no {first['loc'][-1]!r}; expected it there; {what_to_do}")
        case "extra_forbidden":
            return at.kind(f"{at.where}: a field that has no meaning here; expected none; {what_to_do}")
        case "json_invalid":
            return at.kind(f"{at.where}: {first['msg']}; expected JSON in UTF-8; {what_to_do}")
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return at.kind(f"{at.bad(expected)}; {what_to_do}")
