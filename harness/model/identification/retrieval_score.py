"""`retrieval_score`: how much of the answer a head copied out of the needle.

Source: Wu et al. 2024, Retrieval head mechanistically explains long-context factuality
(https://arxiv.org/abs/2404.15574), whose code is https://github.com/nightdessert/Retrieval_Head
(`retrieval_head_detection.py`). The model answers greedily. At a decoding step a head *copies* if, of all
tokens that it sees, generated ones included, the one that it attends to most (the first of equals) stands in
the needle and is the token generated at that step.

The paper's rule: the share of the gold value's distinct tokens that a head copied at least once; only answers
that give the value (rule `value`) count. Departures: the paper divides by the needle's tokens, where its
model repeats the needle; ours is asked for the value alone. Tokens are compared as texts without the spaces
around them, since an answer in a chat begins without the space that the same word has in a sentence.

`authors` is the rule of their code: every copying step counts, a token repeated included, over the number of
the value's tokens; tokens are equal by id; answers count if their ROUGE-1 recall (without stemming, which
their scorer has) of the value is above 50 %. Their needle span is the answer's phrase, ours the needle's
sentence; they stop at a line's end or 50 tokens, ours at an end token or `max_new_tokens`.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.model.identification.method import AttentionReader, Method, Scores
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt, Trial
from harness.retrieval.scoring import matches_value, unigram_recall

Key = Callable[[int], Hashable]
"""Two tokens are the same where this is."""


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """A greedy answer: its tokens, without the end token, and where each head looked as it gave them.

    `looked_at` holds positions: (tokens, layers, heads).
    """

    token_ids: tuple[int, ...]
    looked_at: NDArray[np.int64]


def retrieval_score(reader: AttentionReader, trial: Trial) -> Scores | None:
    """The paper's rule: (layers, heads); `None` where the answer is wrong."""
    answer = answered(reader, trial)
    if not matches_value(_text(reader.loaded, answer), trial.value, trial.compare):
        return None
    return share_copied(answer, trial.prompt, lambda token_id: _bare(reader.loaded, token_id))


def authors_score(reader: AttentionReader, trial: Trial) -> Scores | None:
    """The rule of the authors' code: (layers, heads); `None` where too little of the value is in the answer."""
    answer = answered(reader, trial)
    if unigram_recall(_text(reader.loaded, answer), trial.value) <= 0.5:
        return None
    return copies_counted(answer, trial.prompt)


def share_copied(answer: Answer, prompt: Prompt, key: Key) -> Scores:
    """The distinct keys of the value's tokens that a head copied, over all of them: (layers, heads)."""
    wanted = {key(token_id) for token_id in prompt.value_ids}
    copied = {each: np.zeros(answer.looked_at.shape[1:], dtype=bool) for each in wanted}
    for token_id, hits in zip(answer.token_ids, _copying(answer, prompt, key), strict=True):
        if key(token_id) in wanted:
            copied[key(token_id)] |= hits
    return np.asarray(np.sum(list(copied.values()), axis=0) / len(wanted), dtype=np.float64)


def copies_counted(answer: Answer, prompt: Prompt) -> Scores:
    """Steps at which a head copied, over the number of the value's tokens: (layers, heads); may exceed 1."""
    steps = _copying(answer, prompt, lambda token_id: token_id).sum(axis=0)
    return np.asarray(steps / len(prompt.value_ids), dtype=np.float64)


def answered(reader: AttentionReader, trial: Trial) -> Answer:
    """Let the model answer, and note at each step the position that each head attends to most."""
    prompt, loaded = trial.prompt, reader.loaded
    reader.hold(prompt.token_ids[:-1])
    token_ids: list[int] = []
    looked_at: list[NDArray[np.int64]] = []
    last = prompt.token_ids[-1]
    while len(token_ids) < trial.max_new_tokens:
        step = reader.read([last], lambda weights: weights.argmax(dim=-1))
        last = step.next_id
        if last in loaded.end_token_ids:
            break
        token_ids.append(last)
        looked_at.append(step.wanted[..., 0].cpu().numpy())
    shape = (len(token_ids), loaded.shape.n_layers, loaded.shape.n_heads)
    return Answer(tuple(token_ids), np.array(looked_at, dtype=np.int64).reshape(shape))


def _copying(answer: Answer, prompt: Prompt, key: Key) -> NDArray[np.bool_]:
    """Whether each head copied at each step: (tokens, layers, heads)."""
    copied = np.zeros(answer.looked_at.shape, dtype=bool)
    sources = {position: key(prompt.token_ids[position]) for position in range(prompt.needle_start, prompt.needle_end)}
    for step, token_id in enumerate(answer.token_ids):
        same = [position for position, source in sources.items() if source == key(token_id)]
        copied[step] = np.isin(answer.looked_at[step], same)
    return copied


def _text(loaded: LoadedModel, answer: Answer) -> str:
    return str(loaded.tokenizer.decode(list(answer.token_ids), skip_special_tokens=True))


def _bare(loaded: LoadedModel, token_id: int) -> Hashable:
    """A token's text without spaces around it; its id where that is no text: a lone space, part of a letter."""
    text = str(loaded.tokenizer.decode([token_id])).strip()
    return text if text and "\N{REPLACEMENT CHARACTER}" not in text else token_id


def _n_tokens(trial: Trial) -> int:
    """The prompt and the longest answer."""
    return len(trial.prompt.token_ids) + trial.max_new_tokens


RETRIEVAL_SCORE = Method(
    retrieval_score,
    _n_tokens,
    counts="answered correctly",
    variants={
        "authors": Method(authors_score, _n_tokens, counts="answered with a ROUGE-1 recall of the value above 50 %")
    },
)
