"""From an intervention to the values that ablated heads put out on one prompt.

Knows nothing of how the values come to their place (`ablation`, `branching`).
"""

from collections.abc import Collection, Sequence

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.experiment.intervention import Intervention, MeanValues
from harness.model.intervention.donor import run_donor
from harness.model.intervention.replacement import ZERO, Mean, Replacement
from harness.model.loading.loaded_model import LoadedModel
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
    heads = frozenset(head for heads in head_sets for head in heads)
    return run_donor(loaded, values, heads, n_prompt=len(prompt.token_ids), max_new_tokens=max_new_tokens)


def _of_this_model(loaded: LoadedModel, means: MeanValues) -> MeanValues:
    got, expected = means.vectors.shape, (len(loaded.outputs), loaded.outputs[0].n_heads * loaded.outputs[0].head_dim)
    if got != expected:
        raise AblationError(
            f"mean values: of {got[0]} layers of width {got[1]}; expected {expected[0]} of width {expected[1]}, as "
            f"{loaded.shape.id} has; compute them with this model"
        )
    return means
