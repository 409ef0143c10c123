"""Weight surgery: the oracle of an ablation. A head's part of the output projection's weight is zero for a while.

Zeroing a head's slice of the projection's input and zeroing the weights that read this slice give the same output to
the last bit, by different means: a hook that misses, or hits the wrong columns, is found out. Only tests do this; a
run never touches weights.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers.pytorch_utils import Conv1D

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.architectures import AttentionOutput, base_layer


@contextmanager
def weights_cut(outputs: Sequence[AttentionOutput], heads: Collection[Head]) -> Iterator[None]:
    """The model without these heads' weights while the context is open; restored to the bit on every way out.

    What is zeroed: of a Linear, the weight's columns that read the head; of GPT-2's Conv1D, its rows; of a LoRA
    adapter around the projection, the same columns of its first matrix, which reads the same input.

    Raises:
        AblationError: a projection whose weight is quantised, or not resident on a device.
    """
    saved: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        for output in outputs:
            for head in sorted(each for each in heads if each.layer == output.layer):
                for part in _parts(output, head):
                    saved.append((part, part.clone()))
                    part.zero_()
        yield
    finally:
        for part, values in reversed(saved):
            part.copy_(values)


def _parts(output: AttentionOutput, head: Head) -> Iterator[torch.Tensor]:
    """Views of the weights that read the head's slice of the projection's input."""
    base = base_layer(output.module)
    columns = slice(head.head * output.head_dim, (head.head + 1) * output.head_dim)
    for module in (base, *getattr(output.module, "lora_A", {}).values()):
        weight = module.weight
        if not isinstance(weight, torch.Tensor) or not weight.is_floating_point() or weight.is_meta:
            raise AblationError(
                f"{output.name}: its weight is quantised or offloaded; expected plain numbers on a device; check the "
                "hooks on a model that is loaded whole"
            )
        yield weight[columns, :] if isinstance(module, Conv1D) else weight[:, columns]
