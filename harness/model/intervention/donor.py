"""What heads put out on another prompt: the values of resample ablation.

The untouched model runs the donor's prompt and answers it greedily; of each projection's input the slices of the heads
that are asked for are kept, position by position. For the prompt that receives them, positions are counted from the
prompts' ends: last token to last token, first new token to first new token. Where the donor's prompt is shorter, its
first position serves all that are before it; where its answer ended earlier, the last position that it was fed serves
all that come after. (The last token of an answer is never fed, so a donor with an answer of one token, an end token
say, has its prompt's last position in all of them.)

Sources: causal scrubbing (Chan et al. 2022); Zhang and Nanda 2023, https://arxiv.org/abs/2309.16042, who patch single
positions of prompts of equal length; here prompts differ in length.

Knows nothing of how a donor is chosen.
"""

from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from transformers import Cache

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import projection_input
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.loaded_model import LoadedModel, check_window
from harness.model.loading.pieces import pieces
from harness.retrieval.prompts import Prompt


class Donor:
    """A donor's values for a prompt of `n_prompt` tokens (`harness.model.intervention.replacement.Replacement`).

    `kept[layer]` are the values of the layer's heads `heads[layer]`: (positions, heads, head_dim).
    """

    name = "the donor's values"
    steady = False

    def __init__(
        self, heads: dict[int, list[int]], kept: dict[int, torch.Tensor], *, n_donor: int, n_prompt: int
    ) -> None:
        self._heads = heads
        self._kept = kept
        self._shift = n_donor - n_prompt

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(positions, width); 0 for heads that were not asked for."""
        kept, n_positions = self._kept[output.layer].to(like), like.shape[1]
        places = torch.arange(start, start + n_positions, device=like.device) + self._shift
        values = like.new_zeros(n_positions, output.n_heads, output.head_dim)
        values[:, self._heads[output.layer]] = kept[places.clamp(0, len(kept) - 1)]
        return values.reshape(n_positions, -1)


@torch.inference_mode()
def run_donor(
    loaded: LoadedModel, donor: Prompt, heads: Collection[Head], *, n_prompt: int, max_new_tokens: int
) -> Donor:
    """Run the donor, and keep what these heads put out.

    Raises:
        ModelError: the donor is longer than the model's window.
        AblationError: an unknown head; an ablation is open; a projection was not called with every token.
    """
    check_window(loaded, donor.row_id, len(donor.token_ids) + max_new_tokens)
    Ablation(loaded.outputs, [heads])  # every head exists
    of_layer = {head.layer: [other.head for other in sorted(heads) if other.layer == head.layer] for head in heads}
    slices = [_Slices(loaded.outputs[layer], of_layer[layer]) for layer in sorted(of_layer)]
    with Ablation(loaded.outputs, [()]), ExitStack() as hooks:  # an empty ablation: no other may be open
        for each in slices:
            handle = each.output.module.register_forward_pre_hook(each.keep, with_kwargs=True)
            hooks.callback(handle.remove)
        n_fed = _answer(loaded, donor, max_new_tokens)
    kept = {each.output.layer: each.whole(n_fed) for each in slices}
    return Donor(of_layer, kept, n_donor=len(donor.token_ids), n_prompt=n_prompt)


def _answer(loaded: LoadedModel, donor: Prompt, max_new_tokens: int) -> int:
    """Greedy, to its end; how many tokens were fed."""
    cache: Cache | None = None
    n_fed, feed = 0, pieces(loaded, torch.tensor([donor.token_ids], device=loaded.device))
    for _ in range(max_new_tokens):
        for ids in feed:
            output = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            n_fed, cache = n_fed + ids.shape[1], output.past_key_values
        token_id = int(output.logits[0, -1].argmax())
        if token_id in loaded.end_token_ids:
            break
        feed = iter([torch.tensor([[token_id]], device=loaded.device)])
    return n_fed


class _Slices:
    """Some heads' parts of one projection's input, call by call."""

    def __init__(self, output: AttentionOutput, heads: list[int]) -> None:
        self.output = output
        self._heads = heads
        self._parts: list[torch.Tensor] = []

    def keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pre-hook: a copy of the slices of one call."""
        hidden, _ = projection_input(self.output, args, kwargs)
        by_head = hidden[0].reshape(-1, self.output.n_heads, self.output.head_dim)
        self._parts.append(by_head[:, self._heads])

    def whole(self, n_fed: int) -> torch.Tensor:
        """All positions: (positions, heads, head_dim)."""
        n_kept = sum(len(part) for part in self._parts)
        if n_kept != n_fed:
            raise AblationError(
                f"{self.output.name}: {n_kept} positions entered it of {n_fed} tokens that the donor was fed; expected "
                "all; is its projection called past its module?"
            )
        return torch.cat(self._parts)
