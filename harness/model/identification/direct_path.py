"""The direct path: what an attention head writes, straight to a token's logit, past all that later layers make of it.

A head's output passes the attention's output projection, in some architectures a norm after attention (gemma 2 and 3,
olmo 2 and 3, glm4), then the stream that layers add to, the final norm and the token's row of the output embedding.
Norms are taken as the linear maps that they are at the run's own scale: the root mean square, or the standard
deviation, that they divided by at that position stays as it was. Which module is which is found as the model runs, and
what each norm does is measured on probes and compared with what it did, so a norm of another kind is refused.

Left out: constants that multiply all logits alike, or what every layer writes (cohere, granite), and gemma 2's soft-cap
of logits; neither changes an order of heads.

Source of the linear reading: Elhage et al. 2021, A mathematical framework for transformer circuits
(https://transformer-circuits.pub/2021/framework). Knows nothing of needles or of attention.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import ModelError
from harness.model.loading.architectures import AttentionOutput, base_layer
from harness.model.loading.loaded_model import LoadedModel

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""How far a measured norm may be from the model's own, relative to its largest value; coarser types have 5 %."""


def tolerance(dtype: torch.dtype) -> float:
    """What rounding may do in a model of this type, relative to the largest value."""
    return _TOLERANCE.get(dtype, 0.05)


@dataclass(frozen=True, eq=False, slots=True)
class NormPass:
    """One norm at one position: what entered and what came out, (width,)."""

    name: str
    norm: nn.Module
    entered: torch.Tensor
    left: torch.Tensor

    def back(self, direction: torch.Tensor) -> torch.Tensor:
        """The direction, (width,), before the norm that `direction` is after it, at the scale of this pass.

        Raises:
            ModelError: the norm is no root-mean-square or layer norm.
        """
        width, like = self.entered.shape[0], self.entered
        probe = torch.ones_like(like)
        probe[1::2] = -1
        up, down, flat, flat_down = (
            self.norm.forward(each.view(1, 1, width)).view(-1).float()
            for each in (probe, -probe, torch.ones_like(like), -torch.ones_like(like))
        )
        weight, bias = (up - down) / 2 * probe.float(), (up + down) / 2
        # a layer norm makes nothing of what is the same everywhere
        centred = bool(((flat - flat_down).abs().max() <= weight.abs().max() * 1e-2).item())
        entered = self.entered.float()
        moved = weight * (entered - entered.mean() if centred else entered)
        left = self.left.float() - bias
        scale = (moved @ left) / (moved @ moved)
        if not torch.allclose(moved * scale, left, rtol=0, atol=tolerance(like.dtype) * float(left.abs().max())):
            raise ModelError(
                f"{self.name}: a {type(self.norm).__name__} that is no root-mean-square or layer norm; expected one, "
                "for contributions to logits pass it as a linear map; use a method that reads attention alone"
            )
        before: torch.Tensor = weight * direction.to(weight) * scale
        return before - before.mean() if centred else before


@dataclass(eq=False)
class Watched:
    """What the last pass did at its last position; renewed by each pass.

    `heads` are what entered each layer's projection, (n_heads x head_dim,), `after` the norms right after attention by
    layer, `final` the last norm before the logits.
    """

    heads: dict[int, torch.Tensor] = field(default_factory=dict)
    after: dict[int, NormPass] = field(default_factory=dict)
    final: NormPass | None = None


@contextmanager
def watched(loaded: LoadedModel) -> Iterator[Watched]:
    """Watch the model's passes of one row while the context is open."""
    seen, written = Watched(), dict[int, torch.Tensor]()
    within = {output.layer: f"{loaded.architecture.layers}.{output.layer}." for output in loaded.outputs}
    width = output_rows(loaded.model).shape[-1]

    def projected(output: AttentionOutput) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], result: torch.Tensor) -> None:
            seen.heads[output.layer], written[output.layer] = args[0][0, -1], result

        return note

    def normed(name: str, layer: int | None) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
            entered = args[0]
            if layer is None:
                seen.final = NormPass(name, module, entered[0, -1], result[0, -1])
            elif layer in written and entered.data_ptr() == written[layer].data_ptr():
                seen.after[layer] = NormPass(name, module, entered[0, -1], result[0, -1])

        return note

    with ExitStack() as hooks:
        for output in loaded.outputs:
            hooks.callback(output.module.register_forward_hook(projected(output)).remove)
        for name, module in loaded.model.named_modules():
            if _is_norm(module, width):
                layer = next((layer for layer, prefix in within.items() if name.startswith(prefix)), None)
                hooks.callback(module.register_forward_hook(normed(name, layer)).remove)
        yield seen


def output_rows(model: PreTrainedModel) -> torch.Tensor:
    """The output embedding: a row a token, (tokens, width)."""
    rows: torch.Tensor = model.get_output_embeddings().weight  # type: ignore[no-untyped-call]  # the library's
    return rows


def check_direct(loaded: LoadedModel) -> None:
    """Raise a ModelError, by name, unless what heads write is added to a stream that one last norm leads to logits."""
    config, rows = loaded.model.config.get_text_config(), output_rows(loaded.model)
    wrong = None
    if rows.dim() != 2 or not rows.is_floating_point() or rows.is_meta:
        wrong = "its output embedding is quantised or offloaded"
    elif rows.shape[1] != config.hidden_size:
        wrong = "a projection stands between its layers and its output embedding"
    elif getattr(config, "apply_residual_connection_post_layernorm", False):
        wrong = "its layers add to what a norm has made of the stream (apply_residual_connection_post_layernorm)"
    elif getattr(config, "do_layer_norm_before", True) is False:
        wrong = "its layers add to what a norm has made of the stream (do_layer_norm_before)"
    if wrong is not None:
        raise ModelError(
            f"{loaded.shape.id}: {wrong}; expected heads whose output is added up to the last norm; use a method that "
            "reads attention alone"
        )


def logit_directions(loaded: LoadedModel, seen: Watched | None, token_id: int) -> list[torch.Tensor]:
    """For each layer, how each number of its heads' outputs counts for the token's logit: (n_heads, head_dim) each.

    With what was `seen` at the position, norms stand between; without, the token's row is read by the projection alone.

    Raises:
        ModelError: a norm that is not linear at a given scale, or none before the logits.
    """
    row = output_rows(loaded.model)[token_id].float()
    if seen is not None and seen.final is None:
        raise ModelError(
            f"{loaded.shape.id}: no norm was seen before its logits; expected one; use a method that reads attention "
            "alone"
        )
    stream = row if seen is None or seen.final is None else seen.final.back(row)
    found = []
    for output in loaded.outputs:
        after = None if seen is None else seen.after.get(output.layer)
        direction = stream if after is None else after.back(stream)
        found.append(_through(output, direction, loaded.model.dtype).view(output.n_heads, output.head_dim))
    return found


@torch.inference_mode()
def _through(output: AttentionOutput, direction: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The direction before the projection, (width,): the product with its transposed weight.

    Where that is packed, offloaded, or has an adapter beside it, the projection is asked what it makes of unit inputs.
    """
    module: Any = output.module
    weight: torch.Tensor = module.weight
    if module is base_layer(module) and weight.is_floating_point() and not weight.is_meta:
        of_type = direction.to(weight)
        return (weight @ of_type if isinstance(module, Conv1D) else of_type @ weight).float()
    width = output.n_heads * output.head_dim
    device = direction.device if weight.is_meta else weight.device
    units = torch.eye(width, dtype=dtype, device=device)[None]
    made: torch.Tensor = (module.forward(units) - module.forward(torch.zeros_like(units[:, :1])))[0]
    return made.float() @ direction.to(made.device)


def _is_norm(module: nn.Module, width: int) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.dim() == 1 and weight.numel() == width
