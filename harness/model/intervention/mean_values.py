"""What every head puts out on average: the values of mean ablation (Wang et al. 2022, https://arxiv.org/abs/2211.00593).

For each layer the mean of the output projection's input, over the positions of a prompt but the first, then over
prompts, so that long ones count no more than short ones. The first position is left out: many heads rest their
attention on it (Xiao et al. 2023, https://arxiv.org/abs/2309.17453), and its outputs are like no others. Sums are
float64, and of each prompt only one vector a layer is kept.

Knows nothing of where the prompts come from, nor of what the means are for.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import Cache

from harness.errors import AblationError, ModelError
from harness.experiment.intervention import MeanValues
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import projection_input
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.loaded_model import LoadedModel, check_window
from harness.model.loading.pieces import pieces
from harness.retrieval.prompts import Prompt


@torch.inference_mode()
def mean_values(
    loaded: LoadedModel, prompts: Sequence[Prompt], note: Callable[[int], None] = lambda done: None
) -> MeanValues:
    """The untouched model's means over these prompts; `note` is told how many are done, after each.

    Raises:
        ModelError: no prompts; one of fewer than two tokens, or longer than the model's window.
        AblationError: an ablation is open, or a projection was not called with every token.
    """
    if not prompts:
        raise ModelError("mean values: no prompts; expected at least one")
    for prompt in prompts:
        if len(prompt.token_ids) < 2:
            raise ModelError(
                f"{prompt.row_id}: {len(prompt.token_ids)} prompt tokens; expected at least two: the first does not "
                "count towards the mean"
            )
        check_window(loaded, prompt.row_id, len(prompt.token_ids))
    means = [_Mean(output) for output in loaded.outputs]
    with Ablation(loaded.outputs, [()]), ExitStack() as hooks:  # an empty ablation: no other may be open
        for mean in means:
            handle = mean.output.module.register_forward_pre_hook(mean.add, with_kwargs=True)
            hooks.callback(handle.remove)
        for done, prompt in enumerate(prompts, start=1):
            _read(loaded, prompt)
            for mean in means:
                mean.close(prompt)
            note(done)
    return MeanValues(np.stack([mean.over(len(prompts)) for mean in means]))


def _read(loaded: LoadedModel, prompt: Prompt) -> None:
    """Run a prompt; its cache is dropped."""
    cache: Cache | None = None
    for piece in pieces(loaded, torch.tensor([prompt.token_ids], device=loaded.device)):
        output = loaded.model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values


class _Mean:
    """One projection's running sum of prompts' means, on its own device."""

    def __init__(self, output: AttentionOutput) -> None:
        self.output = output
        self._n_positions = 0
        # of the prompt under way, and of all before: (width,)
        self._prompt: torch.Tensor | float = 0.0
        self._all: torch.Tensor | float = 0.0

    def add(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pre-hook: a prompt, or the next piece of it."""
        hidden, _ = projection_input(self.output, args, kwargs)
        skipped = 1 if self._n_positions == 0 else 0
        self._prompt = self._prompt + hidden[0, skipped:].sum(dim=0, dtype=torch.float64)
        self._n_positions += hidden.shape[1]

    def close(self, prompt: Prompt) -> None:
        """The prompt is over: add its mean."""
        if self._n_positions != len(prompt.token_ids):
            raise AblationError(
                f"{self.output.name}: {self._n_positions} positions entered it of {prompt.row_id}'s "
                f"{len(prompt.token_ids)} tokens; expected all; is its projection called past its module?"
            )
        self._all = self._all + self._prompt / (self._n_positions - 1)
        self._prompt, self._n_positions = 0.0, 0

    def over(self, n_prompts: int) -> NDArray[np.float64]:
        """The mean over all prompts: (width,)."""
        return np.asarray(torch.as_tensor(self._all / n_prompts).cpu(), dtype=np.float64)
