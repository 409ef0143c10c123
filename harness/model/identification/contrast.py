"""`contrast`: summed attention less what uniform attention over the same prompt gives the needle.

A head scores 0 that looks everywhere alike, less where it looks away from the needle. Uniform is meant over what the
layer lets the head see: all of the prompt, or its window's last tokens; a needle partly behind the window counts with
the tokens that are seen. In a model without windows this takes the same number off every head of a row, so heads keep
the order of `summed_attention`; what changes is that chance is 0, in short prompts and in long ones.
"""

import numpy as np
import torch

from harness.model.identification.method import AttentionReader, Method, Scores
from harness.retrieval.prompts import Prompt, Trial


def contrast(reader: AttentionReader, trial: Trial) -> Scores:
    """The last prompt token's attention to the needle less uniform attention's: (layers, heads)."""
    prompt = trial.prompt
    reader.hold(prompt.token_ids[:-1])
    last = reader.read(prompt.token_ids[-1:], lambda weights: above_uniform(weights[:, 0], prompt)[:, None])
    return np.asarray(last.wanted[..., 0].cpu(), dtype=np.float64)


def above_uniform(weights: torch.Tensor, prompt: Prompt) -> torch.Tensor:
    """From one layer's attention, (heads, positions), to each head's contrast, (heads,), in float64.

    What a layer's window hides has a weight of exactly 0 in every head.
    """
    needle = slice(prompt.needle_start, prompt.needle_end)
    seen = (weights != 0).any(dim=0).cumsum(0) > 0  # from the first position that some head sees
    uniform = seen[needle].sum().double() / seen.sum()
    return weights[:, needle].double().sum(dim=-1) - uniform


CONTRAST = Method(contrast)
