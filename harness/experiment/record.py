"""Records: what is asked of a model, what one job gave, the text in which that is kept, and the key it is found under.

The text is JSON, which keeps every float to the last bit, also -0.0, which a column of SQLite does not. Reading takes
nothing on trust: a value of the wrong kind is an error, so that what was damaged, or written by something else, is
never a result. A key covers everything that the content depends on, so nothing that changed can return a stale answer.

Knows nothing of how completions come about (`harness.model.generation.engines`), whether they are right, or where
records are kept (`store`).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, get_args

from harness.choices import Mode, Phase
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention
from harness.experiment.plan import Job
from harness.retrieval.prompts import Prompt, PromptKind


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt, to be completed once for each head set.

    `baseline_ids` are the untouched model's tokens, end token included if it ended; where they are `None`, those of an
    empty head set, if there is one, serve all that come after it. `max_new_tokens` counts the end token too.
    """

    prompt: Prompt
    head_sets: tuple[frozenset[Head], ...]
    baseline_ids: tuple[int, ...] | None
    intervention: Intervention = ZEROED
    max_new_tokens: int = 20


@dataclass(frozen=True, slots=True)
class Completion:
    """One condition of one row.

    `token_ids` are the greedy tokens without the end token; `end_token_id` is the one that came, if any.
    `gold_logprob` is the sum of log p(gold value's tokens | prompt), `baseline_logprob` the same for the untouched
    model's completion, its end token included, `None` where that is unknown, and `baseline_logprobs` its tokens' own,
    to six decimals, so that what a part of that completion says can be judged later on; all in nats. `hooks_fired`
    counts forward calls of ablated projections. `smallest_gap` is, over all greedy steps, the least distance of the
    best two logits, in standard deviations of that step's logits: near 0 another kernel may choose the other token.
    `halvings` is how often memory ran out, and the conditions held at once were halved, before it came about.
    """

    token_ids: tuple[int, ...]
    end_token_id: int | None
    gold_logprob: float
    baseline_logprob: float | None
    hooks_fired: int
    smallest_gap: float
    halvings: int = 0
    baseline_logprobs: tuple[float, ...] | None = None

    @property
    def ended(self) -> bool:
        """Whether an end token came."""
        return self.end_token_id is not None

    @property
    def all_ids(self) -> tuple[int, ...]:
        """The tokens with the end token."""
        return self.token_ids if self.end_token_id is None else (*self.token_ids, self.end_token_id)


def noted(logprobs: Iterable[float]) -> tuple[float, ...]:
    """Tokens' log-probabilities as records keep them; below a millionth of a nat kernels differ."""
    return tuple(round(float(each), 6) for each in logprobs)


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
    return {name: getattr(record, name) for name in _NAMES[type(record)]}


_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (Record, Job, Completion)}
"""Of the fields of each kind."""


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


KEY_VERSION = 1
"""Changes whenever keys do."""


@dataclass(frozen=True, slots=True)
class RunKey:
    """What a record depends on beside prompt and heads.

    `fingerprint` is the content hash of weights, config and tokenizer, `adapter` that of an adapter; `revision` is a
    commit; `dtype` and `attention` are those that the model has, whatever was asked; `architectures` are entries beside
    the table; `engine` names the way of computing and the version of its meaning.
    """

    fingerprint: str
    revision: str | None
    dtype: str
    attention: str
    device_type: str
    engine: str
    max_new_tokens: int
    torch_version: str
    transformers_version: str
    quantization: str | None = None
    adapter: str | None = None
    architectures: tuple[str, ...] = ()


def tokens_digest(prompt_ids: Sequence[int], value_ids: Sequence[int]) -> str:
    """A SHA-256, in hex, of a prompt's tokens and the gold value's; taken once for all jobs of a prompt."""
    return hashlib.sha256(json.dumps([list(prompt_ids), list(value_ids)]).encode()).hexdigest()


def job_key(run_key: RunKey, job: Job, tokens: str, values: str | None = None) -> str:
    """The key of a job's record: a SHA-256, in hex, of everything the record depends on.

    `tokens` is the `tokens_digest` of its prompt, `values` a digest of what its heads put out instead, where that is
    not zero. The row's id is not part of the key: rows that agree in prompt and value get one answer.
    """
    parts = {
        "schema_version": KEY_VERSION,
        "run": _run_parts(run_key),
        "tokens": tokens,
        "heads": [(head.layer, head.head) for head in sorted(job.heads)],
        "prompt": job.prompt,
        "mode": job.mode,
        "phase": job.phase,
        **({} if values is None else {"values": values}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@cache
def _run_parts(run_key: RunKey) -> Mapping[str, object]:
    return asdict(run_key)


def means_key(run_key: RunKey, tokens: Iterable[str]) -> str:
    """The key of mean values: of the model, how it is computed with, and the `tokens_digest` of each prompt."""
    run = asdict(run_key)
    parts = {"run": {name: run[name] for name in run if name not in ("engine", "max_new_tokens")}, "tokens": [*tokens]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
