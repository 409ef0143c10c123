"""Trials: rows as methods that score heads see them: the prompt, how an answer is judged, a question without content.

Knows nothing of heads, models or of what is scored.
"""

from dataclasses import dataclass, replace

from harness.retrieval.placement import Insertion
from harness.retrieval.prompts import Prompt, Tokenizer, build_prompt, identification_depth
from harness.retrieval.rows import Row
from harness.retrieval.scoring import Compare
from harness.retrieval.tasks import Task

NULL_QUERY = "N/A"
"""The question without content of Zhang et al. (2025, https://arxiv.org/abs/2506.09944)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One row to score heads on.

    `value` and `compare` judge an answer of at most `max_new_tokens` tokens. `null_prompt` is the same prompt
    with `NULL_QUERY` for a question; `None` where no method needs it.
    """

    prompt: Prompt
    value: str
    compare: Compare
    max_new_tokens: int
    null_prompt: Prompt | None = None


def build_trial(
    row: Row,
    task: Task,
    tokenizer: Tokenizer,
    *,
    seed: int,
    insertion: Insertion,
    max_new_tokens: int,
    null_query: bool,
) -> Trial:
    """The trial of one row; its needle stands at the row's identification depth by `seed`.

    Raises:
        DataError, ModelError: as `build_prompt`.
    """
    depth = identification_depth(row, seed)
    blank = replace(task, question=NULL_QUERY)
    return Trial(
        prompt=build_prompt(row, task, tokenizer, depth=depth, insertion=insertion),
        value=row.needle_value,
        compare=task.compare,
        max_new_tokens=max_new_tokens,
        null_prompt=build_prompt(row, blank, tokenizer, depth=depth, insertion=insertion) if null_query else None,
    )
