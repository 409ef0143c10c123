"""From an intervention to the values that ablated heads put out on one prompt.

Mean ablation (Wang et al. 2022, https://arxiv.org/abs/2211.00593): for each layer the mean of the output projection's
input, over the positions of a prompt but the first, then over prompts, so that long ones count no more than short ones.
The first position is left out: many heads rest their attention on it (Xiao et al. 2023,
https://arxiv.org/abs/2309.17453), and its outputs are like no others. Sums are float64, and of each prompt only one
vector a layer is kept.

Resample ablation: the untouched model runs the donor's prompt and answers it greedily; of each projection's input the
slices of the heads that are asked for are kept, position by position. For the prompt that receives them, positions are
counted from the prompts' ends: last token to last token, first new token to first new token. Where the donor's prompt
is shorter, its first position serves all that are before it; where its answer ended earlier, the last position that it
was fed serves all that come after. (The last token of an answer is never fed, so a donor with an answer of one token,
an end token say, has its prompt's last position in all of them.) Sources: causal scrubbing (Chan et al. 2022); Zhang
and Nanda 2023, https://arxiv.org/abs/2309.16042, who patch single positions of prompts of equal length; here prompts
differ in length.

Rescue: zero at every position before the prompt's last, and from there on the values of the untouched run of the same
prompt, kept as a donor's. What is fed there is the untouched answer where its likelihood is measured; a condition that
says something else is given what the heads put out over the untouched answer. Source: activation patching (Meng et al.
2022, https://arxiv.org/abs/2202.05262, who restore hidden states of a clean run in a corrupted one).

Knows nothing of where prompts come from, how a donor is chosen, or how the values come to their place.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import Cache

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import Edges, Intervention, MeanValues, Rescue
from harness.model.intervention.ablation import check_heads, claimed
from harness.model.intervention.attention_edges import AttentionEdges
from harness.model.intervention.projection_input import ZERO, Mean, Replacement, projection_input
from harness.model.intervention.thread_hooks import hooked
from harness.model.loading.architectures import AttentionOutput
from harness.model.loading.loaded_model import LoadedModel, check_window, pieces
from harness.retrieval.prompts import Prompt


def replacement_of(
    loaded: LoadedModel,
    prompt: Prompt,
    head_sets: Sequence[Collection[Head]],
    intervention: Intervention,
    *,
    max_new_tokens: int,
) -> Replacement:
    """What the heads of these sets put out on this prompt instead; a donor is run for it, for as many new tokens.

    Raises:
        ModelError: the donor is longer than the model's window.
        AblationError: means of another shape than the model's; what running a donor raises.
    """
    values = intervention.values
    if values is None:
        return ZERO
    if isinstance(values, MeanValues):
        return Mean(_of_this_model(loaded, values))
    heads, n_prompt = frozenset(head for heads in head_sets for head in heads), len(prompt.token_ids)
    if isinstance(values, Edges):
        check_heads(loaded.outputs, [heads])
        return AttentionEdges(loaded, values, heads, first=intervention.first_ablated(n_prompt))
    donor = prompt if isinstance(values, Rescue) else values
    found = run_donor(loaded, donor, heads, n_prompt=n_prompt, max_new_tokens=max_new_tokens)
    return Rescued(found, first=n_prompt - 1) if isinstance(values, Rescue) else found


def _of_this_model(loaded: LoadedModel, means: MeanValues) -> MeanValues:
    got, expected = means.vectors.shape, (len(loaded.outputs), loaded.outputs[0].n_heads * loaded.outputs[0].head_dim)
    if got != expected:
        raise AblationError(
            f"mean values: of {got[0]} layers of width {got[1]}; expected {expected[0]} of width {expected[1]}, as "
            f"{loaded.shape.id} has; compute them with this model"
        )
    return means


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
    with claimed(loaded.outputs), ExitStack() as hooks:
        for mean in means:
            hooks.enter_context(hooked(mean.output.module, mean.add))
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


class Donor(Replacement):
    """A donor's values for a prompt of `n_prompt` tokens (`harness.model.intervention.projection_input.Replacement`).

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
        """(1, positions, width); 0 for heads that were not asked for."""
        kept, n_positions = self._kept[output.layer].to(like), like.shape[1]
        places = torch.arange(start, start + n_positions, device=like.device) + self._shift
        values = like.new_zeros(n_positions, output.n_heads, output.head_dim)
        values[:, self._heads[output.layer]] = kept[places.clamp(0, len(kept) - 1)]
        return values.reshape(1, n_positions, -1)


class Rescued(Replacement):
    """0 before position `first`, and from there on what the untouched run of the same prompt had."""

    name = "0, and from the prompt's last token on the untouched run's values"
    steady = False

    def __init__(self, untouched: Donor, *, first: int) -> None:
        self._untouched = untouched
        self._first = first

    def values(self, output: AttentionOutput, start: int, like: torch.Tensor) -> torch.Tensor:
        """(1, positions, width)."""
        values = self._untouched.values(output, start, like)
        values[:, : max(0, self._first - start)] = 0
        return values


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
    check_heads(loaded.outputs, [heads])
    of_layer = {head.layer: [other.head for other in sorted(heads) if other.layer == head.layer] for head in heads}
    slices = [_Slices(loaded.outputs[layer], of_layer[layer]) for layer in sorted(of_layer)]
    with claimed(loaded.outputs), ExitStack() as hooks:
        for each in slices:
            hooks.enter_context(hooked(each.output.module, each.keep))
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
