"""`logit_contribution`: what a head writes from the needle into the logit of the answer's tokens (LOCOS).

Source: LOCOS (https://arxiv.org/abs/2607.01002), whose code is https://github.com/aryopg/locos. The model answers
greedily. When it gives token y of the answer, position j contributes

    phi[j] = attention[j] * (u[y] . W_O[head] v[j])

to it through a head: u[y] is the token's row of the output embedding, W_O[head] the head's part of the output
projection, v[j] the head's value at j. A head's score is the sum of phi over the needle, less n_needle / n_rest times
the sum over the rest, mean over the tokens that say the value; only rows answered correctly (rule `value`) count.

By default a contribution is one to the logit: what a head writes passes the norm after attention, where there is one,
and the final norm, each as the linear map that it is at the run's scale (`direct_path`); and the rest are the
prompt's tokens but the needle's, the question's and the first, on which attention rests that looks at nothing.

`paper` is the rule of their code: the bare row, no norm at all; the rest is every other position, question, first token
and the answer so far among them; answers count if their ROUGE-1 recall (without stemming, which their scorer has) of
the value is at least 50 % (theirs: above) and say the value in some place, in whatever case. Departures: prompts are
the harness's, an answer ends at an end token or `max_new_tokens`, and positions outside a layer's window belong to the
rest, with nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import DataError, ModelError
from harness.model.identification.direct_path import Watched, check_direct, logit_directions, tolerance, watched
from harness.model.identification.method import AttentionReader, Method, Scores
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt, Trial
from harness.retrieval.scoring import matches_value, unigram_recall, value_tokens


@dataclass(frozen=True, eq=False, slots=True)
class Contributions:
    """A greedy answer's tokens, without the end token, and each head's contrast as it gave them.

    `contrasts` is (tokens, layers, heads), in logits.
    """

    token_ids: tuple[int, ...]
    contrasts: NDArray[np.float64]

    def mean(self, start: int, end: int) -> Scores:
        """Over the tokens from `start` up to `end`: (layers, heads)."""
        return np.asarray(self.contrasts[start:end].mean(axis=0))


def logit_contribution(reader: AttentionReader, trial: Trial) -> Scores | None:
    """The contribution to the logits of the value's tokens: (layers, heads); `None` where the answer is wrong."""
    loaded = reader.loaded
    check_direct(loaded)
    found = contributions(reader, trial, document_rest, normed=True)
    if not matches_value(_decoded(loaded, found.token_ids), trial.value, trial.compare):
        return None
    span = value_tokens(found.token_ids, trial.value, trial.compare, lambda ids: _decoded(loaded, ids))
    return None if span is None else found.mean(*span)


def paper_score(reader: AttentionReader, trial: Trial) -> Scores | None:
    """The rule of the authors' code: (layers, heads); `None` where too little of the value is answered, or no place."""
    loaded = reader.loaded
    found = contributions(reader, trial, every_rest, normed=False)
    if unigram_recall(_decoded(loaded, found.token_ids), trial.value) < 0.5:
        return None
    span = said_tokens(found.token_ids, trial.prompt.value_ids, trial.value, lambda ids: _decoded(loaded, ids))
    return None if span is None else found.mean(*span)


Rest = Callable[[Prompt, int], NDArray[np.bool_]]
"""Which of this many positions the needle is set against, of a prompt and what follows it."""


def document_rest(prompt: Prompt, n_positions: int) -> NDArray[np.bool_]:
    """The prompt's tokens but the needle's, the question's and the first."""
    rest = every_rest(prompt, n_positions)
    rest[prompt.question_start : prompt.question_end] = False
    rest[len(prompt.token_ids) :] = False
    rest[0] = False
    return rest


def every_rest(prompt: Prompt, n_positions: int) -> NDArray[np.bool_]:
    """Every position but the needle's."""
    rest = np.ones(n_positions, dtype=np.bool_)
    rest[prompt.needle_start : prompt.needle_end] = False
    return rest


def contributions(reader: AttentionReader, trial: Trial, rest: Rest, *, normed: bool) -> Contributions:
    """Let the model answer, and note at each token what each head writes into its logit, needle against rest.

    Raises:
        ModelError: what the heads put out is not the attention times the values that the model keeps.
    """
    prompt, loaded = trial.prompt, reader.loaded
    reader.hold(prompt.token_ids[:-1])
    token_ids: list[int] = []
    contrasts: list[NDArray[np.float64]] = []
    last = prompt.token_ids[-1]
    with watched(loaded) as seen:
        while len(token_ids) < trial.max_new_tokens:
            step = reader.read([last], lambda weights: weights)
            last = step.next_id
            if last in loaded.end_token_ids:
                break
            token_ids.append(last)
            n_positions = len(prompt.token_ids) + len(token_ids) - 1
            share = _shares(prompt, rest(prompt, n_positions))
            directions = logit_directions(loaded, seen if normed else None, last)
            contrasts.append(_contrasts(reader, seen, step.wanted[:, :, 0], directions, share))
    shape = (len(token_ids), loaded.shape.n_layers, loaded.shape.n_heads)
    return Contributions(tuple(token_ids), np.array(contrasts, dtype=np.float64).reshape(shape))


def _shares(prompt: Prompt, rest: NDArray[np.bool_]) -> torch.Tensor:
    """How each position counts: 1 in the needle, - n_needle / n_rest in the rest: (positions,)."""
    share = np.where(rest, -(prompt.needle_end - prompt.needle_start) / max(1, rest.sum()), 0.0)
    share[prompt.needle_start : prompt.needle_end] = 1.0
    return torch.from_numpy(share)


def _contrasts(
    reader: AttentionReader,
    seen: Watched,
    attention: torch.Tensor,
    directions: list[torch.Tensor],
    share: torch.Tensor,
) -> NDArray[np.float64]:
    """One step's contrast of each head, (layers, heads), from its attention, (layers, heads, positions)."""
    loaded = reader.loaded
    found = np.zeros((loaded.shape.n_layers, loaded.shape.n_heads))
    for output, direction in zip(loaded.outputs, directions, strict=True):
        values = _values(reader, output)  # (key heads, positions, head_dim)
        n_keys = values.shape[0]
        weights = attention[output.layer].to(values).view(n_keys, -1, values.shape[1])  # (key heads, group, positions)
        _check_heads(loaded, output, weights @ values, seen.heads[output.layer])
        written = values @ direction.to(values).view(n_keys, -1, output.head_dim).transpose(1, 2)
        phi = weights.double() * written.transpose(1, 2).double()
        found[output.layer] = (phi @ share.to(phi)).flatten().cpu().numpy()
    return found


def _values(reader: AttentionReader, output: AttentionOutput) -> torch.Tensor:
    """A layer's values of every position, in float32 at least: (key heads, positions, head_dim)."""
    keys, values = reader.keys_and_values(output.layer)
    attention = reader.loaded.model.get_submodule(output.name.rpartition(".")[0])
    if (expand := getattr(attention, "expand_kv", None)) is not None:  # latent attention keeps keys and values in one
        with torch.inference_mode():
            _, values = expand(keys, values)
    return values[0].to(torch.promote_types(values.dtype, torch.float32))


def _check_heads(loaded: LoadedModel, output: AttentionOutput, summed: torch.Tensor, put_out: torch.Tensor) -> None:
    """What was read must be what the heads put out, but for rounding."""
    expected = put_out.to(summed).view(-1)
    if not torch.allclose(
        summed.flatten(), expected, rtol=0, atol=tolerance(put_out.dtype) * float(expected.abs().max())
    ):
        raise ModelError(
            f"{output.name}: its heads put out something else than attention times the values kept, in "
            f"{loaded.shape.id}; expected the usual attention; use a method that reads attention alone"
        )


def said_tokens(
    token_ids: tuple[int, ...], value_ids: tuple[int, ...], value: str, decode: Callable[[list[int]], str]
) -> tuple[int, int] | None:
    """The half-open tokens that are the value's own, else those over its text, in whatever case; `None` without any."""
    n_value = len(value_ids)
    for start in range(len(token_ids) - n_value + 1):
        if token_ids[start : start + n_value] == value_ids:
            return start, start + n_value
    ends = [0]
    for token_id in token_ids:
        ends.append(ends[-1] + len(decode([token_id])))
    at = "".join(decode([token_id]) for token_id in token_ids).lower().find(value.lower())
    if at < 0:
        return None
    over = [i for i in range(len(token_ids)) if ends[i + 1] > at and ends[i] < at + len(value)]
    return (over[0], over[-1] + 1) if over else None


def _decoded(loaded: LoadedModel, token_ids: tuple[int, ...] | list[int]) -> str:
    return str(loaded.tokenizer.decode(list(token_ids), skip_special_tokens=True))


def _n_tokens(trial: Trial) -> int:
    """The prompt and the longest answer."""
    return len(trial.prompt.token_ids) + trial.max_new_tokens


def _check(trial: Trial) -> None:
    prompt = trial.prompt
    if not document_rest(prompt, len(prompt.token_ids)).any():
        raise DataError(
            f"{prompt.row_id}: no token beside the needle's, the question's and the first; expected text around the "
            "needle, which it is set against; give the row a haystack"
        )


LOGIT_CONTRIBUTION = Method(
    logit_contribution,
    _n_tokens,
    check=_check,
    counts="answered correctly",
    variants={
        "paper": Method(
            paper_score,
            _n_tokens,
            check=_check,
            counts="answered with a ROUGE-1 recall of the value of at least 50 %, and the value in some place",
        )
    },
)
