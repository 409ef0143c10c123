"""Keys: under what a job's record, or mean values, are found.

A key covers everything that the content depends on, so nothing that changed can return a stale answer. Knows nothing of
where records are kept.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from harness.experiment.plan import Job

SCHEMA_VERSION = 1
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
        "schema_version": SCHEMA_VERSION,
        "run": asdict(run_key),
        "tokens": tokens,
        "heads": [(head.layer, head.head) for head in sorted(job.heads)],
        "prompt": job.prompt,
        "mode": job.mode,
        "phase": job.phase,
        **({} if values is None else {"values": values}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def means_key(run_key: RunKey, tokens: Iterable[str]) -> str:
    """The key of mean values: of the model, how it is computed with, and the `tokens_digest` of each prompt."""
    run = asdict(run_key)
    parts = {"run": {name: run[name] for name in run if name not in ("engine", "max_new_tokens")}, "tokens": [*tokens]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
