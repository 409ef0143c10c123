"""`qr_score`: attention from the question to the needle, less that of a question without content.

Source: Zhang et al. 2025, Query-focused retrieval heads improve long-context reasoning and re-ranking
(https://arxiv.org/abs/2506.09944), whose code is https://github.com/princeton-pli/QRHead. What is done here:

1. Each needle token's weight is the attention it gets from the question's tokens, mean over them.
2. The same for the same prompt with "N/A" for a question is taken off, token by token.
3. Tokens that are then below mean - 2 SD over the needle's tokens, head by head, count 0; the others are
   summed. The SD has n - 1 in its denominator, as in their code, and a needle of one token is never masked.

Departures: the document that counts is the needle's sentence, not a passage among others; queries are the
question's own tokens (the paper's definition), where their code also reads the instruction before them and
the chat's markup after; prompts are the harness's. A score may be negative.
"""

from itertools import takewhile

import numpy as np
import torch

from harness.errors import DataError
from harness.model.identification.method import AttentionReader, Method, Scores
from harness.retrieval.prompts import Prompt, Trial


def qr_score(reader: AttentionReader, trial: Trial) -> Scores:
    """The calibrated attention from the question to the needle: (layers, heads).

    What both prompts have in common is run once.
    """
    _check(trial)
    question, nothing = (_from_question(reader, prompt) for prompt in _both(trial))
    return calibrated(question, nothing)


def calibrated(question: torch.Tensor, nothing: torch.Tensor) -> Scores:
    """Steps 2 and 3 from both prompts' attention, (layers, heads, needle tokens), to (layers, heads)."""
    rest = question.double() - nothing.double()
    spread = rest.std(dim=-1) if rest.shape[-1] > 1 else torch.zeros_like(rest[..., 0])
    counted = rest >= (rest.mean(dim=-1) - 2 * spread)[..., None]
    return np.asarray(torch.where(counted, rest, 0.0).sum(dim=-1).cpu(), dtype=np.float64)


def _from_question(reader: AttentionReader, prompt: Prompt) -> torch.Tensor:
    """Attention from the question's tokens, mean over them: (layers, heads, needle tokens), float64."""
    needle = slice(prompt.needle_start, prompt.needle_end)
    reader.hold(prompt.token_ids[: prompt.question_start])
    question = prompt.token_ids[prompt.question_start : prompt.question_end]
    return reader.read(question, lambda weights: weights[..., needle]).wanted.double().mean(dim=2)


def _both(trial: Trial) -> tuple[Prompt, Prompt]:
    if trial.null_prompt is None:
        raise DataError(f"{trial.prompt.row_id}: no prompt without a question; expected one; build the trial with it")
    return trial.prompt, trial.null_prompt


def _check(trial: Trial) -> None:
    """Raise a DataError unless the needle is among what both prompts begin with, before either's question."""
    asked, blank = _both(trial)
    before = [prompt.token_ids[: prompt.question_start] for prompt in (asked, blank)]
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*before, strict=False)))
    if any(prompt.needle_end > common for prompt in (asked, blank)):
        raise DataError(
            f"{asked.row_id}: the needle ends at token {asked.needle_end}, after the question's first, "
            f"{asked.question_start}; expected it before the question, whose attention to it is scored; put "
            "{context} before {question} in the task's template"
        )


QR_SCORE = Method(qr_score, check=_check, null_query=True)
