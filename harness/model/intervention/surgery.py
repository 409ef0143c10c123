"""Surgery: the oracles of an ablation. A head's part of the output projection's weight is zero for a while.

Zeroing a head's slice of the projection's input and zeroing the weights that read this slice give the same output to
the last bit, by different means: a hook that misses, or hits the wrong columns, is found out. Weights in 8 or 4 bits,
or that wait in memory or on disk, cannot be cut: there the projection itself forgets the head, without any hook. Only
tests do either; a run never touches weights.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from harness.errors import AblationError
from harness.experiment.heads import Head
from harness.model.loading.architectures import AttentionOutput, base_layer


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


def can_be_cut(outputs: Sequence[AttentionOutput]) -> bool:
    """Whether all weights that read heads are plain numbers on a device."""
    return all(_is_plain(module.weight) for output in outputs for module in _readers(output))


@contextmanager
def heads_forgotten(outputs: Sequence[AttentionOutput], head_sets: Sequence[Collection[Head]]) -> Iterator[None]:
    """The model whose projections forget, in row `i` of each batch, what the heads of `head_sets[i]` put out.

    What is replaced for a while is the projection's `forward`, quantised and offloaded as it may be: of a copy of its
    input, (rows, positions, width), the head's part is 0. All that is computed together stays together, on which 8-bit
    products depend.
    """

    def forgetful(output: AttentionOutput, forward: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        def forget(hidden: torch.Tensor) -> torch.Tensor:
            by_head = hidden.clone(memory_format=torch.contiguous_format).view(
                *hidden.shape[:2], output.n_heads, output.head_dim
            )
            for row, heads in enumerate(head_sets):
                for head in heads:
                    if head.layer == output.layer:
                        by_head[row, :, head.head] = 0
            return forward(by_head.flatten(-2))

        return forget

    with ExitStack() as put_back:
        for output in outputs:
            # a library that moves weights has put its own on the object
            own = {key: value for key, value in vars(output.module).items() if key == "forward"}
            put_back.callback(vars(output.module).update, own)
            vars(output.module)["forward"] = forgetful(output, output.module.forward)
            put_back.callback(vars(output.module).pop, "forward")
        yield


def _readers(output: AttentionOutput) -> tuple[Any, ...]:
    """The modules that read the projection's input: it, or what an adapter was put around, and the adapter's first."""
    return base_layer(output.module), *getattr(output.module, "lora_A", {}).values()


def _is_plain(weight: object) -> bool:
    return isinstance(weight, torch.Tensor) and weight.is_floating_point() and not weight.is_meta


def _parts(output: AttentionOutput, head: Head) -> Iterator[torch.Tensor]:
    """Views of the weights that read the head's slice of the projection's input."""
    columns = slice(head.head * output.head_dim, (head.head + 1) * output.head_dim)
    for module in _readers(output):
        weight: torch.Tensor = module.weight
        if not _is_plain(weight):
            raise AblationError(
                f"{output.name}: its weight is quantised or offloaded; expected plain numbers on a device; let the "
                "projection forget the heads instead"
            )
        yield weight[columns, :] if isinstance(module, Conv1D) else weight[:, columns]
