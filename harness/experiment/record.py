"""A record: what one job gave, and the text in which it is kept.

The text is JSON, which keeps every float to the last bit, also -0.0, which a column of SQLite does not. Reading takes
nothing on trust: a value of the wrong kind is an error, so that what was damaged, or written by something else, is
never a result. Knows nothing of where records are kept (`store`).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from harness.choices import Mode, Phase
from harness.experiment.completion import Completion
from harness.experiment.heads import Head
from harness.experiment.plan import Job
from harness.retrieval.prompts import PromptKind


@dataclass(frozen=True, slots=True)
class Record:
    """What one job gave: the completion, and `text`, what its tokens say.

    `seconds` is the job's share of the time that the jobs computed with it took; `device` names the card it was
    computed on, or `cpu`, and is `None` where that was not noted.
    """

    job: Job
    completion: Completion
    text: str
    seconds: float
    device: str | None = None


def record_text(record: Record) -> str:
    """The record as JSON; `read_record` gives back an equal one, to the last bit."""
    job = {**_fields(record.job), "heads": [str(head) for head in sorted(record.job.heads)]}
    return json.dumps({**_fields(record), "job": job, "completion": _fields(record.completion)})


def _fields(record: Record | Job | Completion) -> dict[str, object]:
    """As `asdict`, without the copies that it makes of everything below: a study writes a record a completion."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def read_record(text: str | bytes) -> Record:
    """The record of this text. Raises ValueError where it holds none, or a value of another kind than expected."""
    record = _object(json.loads(text))
    job, completion = _object(record.pop("job", None)), _object(record.pop("completion", None))
    heads, token_ids = _strings(job.pop("heads", None)), _integers(completion.pop("token_ids", None))
    of_baseline = completion.pop("baseline_logprobs", None)
    try:
        found = Record(
            job=Job(heads=frozenset(map(Head.parse, heads)), **job),
            completion=Completion(
                token_ids=tuple(token_ids),
                baseline_logprobs=None if of_baseline is None else _numbers(of_baseline),
                **completion,
            ),
            **record,
        )
    except TypeError as error:
        raise ValueError(str(error)) from None
    _check(found)
    return found


def upgraded(text: str | bytes) -> str:
    """A record of version 1 of the store, in which the completion's fields stood beside the others, as it is kept now.

    Raises ValueError where it is none.
    """
    old = _object(json.loads(text))
    gap = old.get("smallest_gap", math.nan)
    completion = {
        "token_ids": old.pop("token_ids", None),
        "end_token_id": old.pop("end_token_id", None),
        "gold_logprob": old.pop("gold_logprob", None),
        "baseline_logprob": old.pop("baseline_logprob", None),
        "hooks_fired": old.pop("hooks_fired", None),
        "smallest_gap": math.inf if gap is None else gap,
        "halvings": old.pop("halvings", 0),
    }
    old.pop("smallest_gap", None)
    return record_text(read_record(json.dumps({**old, "completion": completion})))


def _check(record: Record) -> None:
    """Raise ValueError where a field is not of its kind: JSON knows no dataclasses."""
    job, completion = record.job, record.completion
    numbers = (completion.gold_logprob, completion.smallest_gap, record.seconds)
    integers = (completion.hooks_fired, completion.halvings)
    sound = (
        isinstance(job.row_id, str)
        and job.prompt in get_args(PromptKind)
        and job.mode in get_args(Mode)
        and job.phase in get_args(Phase)
        and isinstance(record.text, str)
        and (record.device is None or isinstance(record.device, str))
        and all(map(_is_number, numbers))
        and (completion.baseline_logprob is None or _is_number(completion.baseline_logprob))
        and all(map(_is_integer, integers))
        and (completion.end_token_id is None or _is_integer(completion.end_token_id))
    )
    if not sound:
        raise ValueError("a field of another kind than expected")


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("no object")
    return dict(value)


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("no list of texts")
    return value


def _integers(value: object) -> list[int]:
    if not isinstance(value, list) or not all(map(_is_integer, value)):
        raise ValueError("no list of integers")
    return value


def _numbers(value: object) -> tuple[float, ...]:
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise ValueError("no list of numbers")
    return tuple(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
