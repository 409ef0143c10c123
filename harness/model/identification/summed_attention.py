"""`summed_attention`: the last prompt token's attention, summed over the needle's tokens.

It asks where the model looks as it is about to answer, in the manner of the EDGAR haystack study
(https://github.com/dersual/EDGAR-Haystack). Unlike the retrieval score of Wu et al. (2024,
https://arxiv.org/abs/2404.15574) it does not ask what is then copied, nor whether the answer is right.
"""

import numpy as np

from harness.model.identification.method import AttentionReader, Method, Scores
from harness.retrieval.prompts import Trial


def summed_attention(reader: AttentionReader, trial: Trial) -> Scores:
    """Attention from the last prompt token to the needle, its tokens summed in float64: (layers, heads)."""
    prompt = trial.prompt
    needle = slice(prompt.needle_start, prompt.needle_end)
    reader.hold(prompt.token_ids[:-1])
    last = reader.read(prompt.token_ids[-1:], lambda weights: weights[..., needle]).wanted
    return np.asarray(last.double().sum(dim=(2, 3)).cpu(), dtype=np.float64)


def needle_share(trial: Trial) -> float:
    """The needle's part of the prompt's tokens: what uniform attention gives it."""
    return (trial.prompt.needle_end - trial.prompt.needle_start) / len(trial.prompt.token_ids)


SUMMED_ATTENTION = Method(summed_attention, chance=needle_share)
