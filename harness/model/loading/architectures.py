"""What is known of each architecture: where it keeps its attention heads, and how it computes.

One table by `model_type`, a row an architecture: the paths of the decoder layers and of the attention's output
projection in a layer, and the facts that sharing work or saving memory rests on. Everything else is derived from the
model and checked, layer by layer. The width of a head is the projection's input size / heads, never
`hidden_size / heads`, which is another number for Qwen3, Gemma or Mistral-Nemo. Each row is verified by tests that
measure its facts on a model.

A model outside the table is served by an entry of the user's, one line of text (`with_entries`); what the entry
leads to is checked like the rest. Heads must be in every layer: hybrid models, some of whose layers have no
attention, are refused.

One token tells whether such an entry leads to attention's output projections. A lone token attends to itself alone, so
what enters a layer's projection is then, head by head, the value that the layer has cached. A query projection or a
feed-forward module, given by mistake, reads something else, and would be ablated without a word; so would heads that
are mixed before the projection. Signs are compared: some models let a part of the attention go nowhere, others weaken
each number by a gate.

Knows nothing of how models are loaded, nor of what is done to the projections. Module names are those of
transformers 5 (https://github.com/huggingface/transformers, `models/<model_type>/modeling_<model_type>.py`).
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import ModelError
from harness.experiment.heads import ModelShape


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture's row.

    `layers` is the path of the list of layers from the causal model, `projection` that of the output projection from a
    layer. `one_by_one` says why a row's conditions must each be computed alone; `None` where its layers may be run for
    several branches of a prompt at once, as a test has done and compared. `returns_tuple`: a layer returns a tuple that
    begins with the hidden states, not these bare. `static`: a decoding step that never changes its shape has been
    compared with the model's own, where every layer attends to all. `writes_masks`: a mask of positions x positions is
    written out whatever the attention. `doubles_alibi`: its eager attention adds the bias of alibi twice (transformers
    5.17 to 5.23), its sdpa attention once. `own_attention`: its layers compute attention themselves, and not through
    the library's attention interface.
    """

    layers: str
    projection: str
    one_by_one: str | None = None
    returns_tuple: bool = False
    static: bool = False
    writes_masks: bool = False
    doubles_alibi: bool = False
    own_attention: bool = False


BIASED = "its positions are a bias made for each row of a batch"
"""Why models with alibi are computed one by one."""

_USUAL = Architecture("model.layers", "self_attn.o_proj")
_STATIC = replace(_USUAL, static=True)
_FUSED = Architecture("transformer.h", "self_attention.dense", returns_tuple=True, own_attention=True)

ARCHITECTURES: Mapping[str, Architecture] = {
    "bloom": replace(_FUSED, one_by_one=BIASED),
    "cohere": _USUAL,
    "cohere2": _USUAL,
    "deepseek_v2": _USUAL,
    "deepseek_v3": _USUAL,
    # a mask of its own, or its alibi's bias
    "falcon": replace(_FUSED, writes_masks=True, doubles_alibi=True),
    "gemma": _USUAL,
    "gemma2": _USUAL,
    "gemma3": replace(_USUAL, layers="model.language_model.layers"),
    "gemma3_text": _USUAL,
    "glm4": _USUAL,
    "glm4_moe": _USUAL,
    "gpt2": Architecture("transformer.h", "attn.c_proj"),
    "gpt_neox": Architecture("gpt_neox.layers", "attention.dense"),
    "gpt_oss": _USUAL,
    "granite": _STATIC,
    "llama": _STATIC,
    "mistral": _STATIC,
    "mixtral": _USUAL,
    "olmo2": _STATIC,
    "olmo3": _USUAL,
    "olmoe": _USUAL,
    "opt": Architecture("model.decoder.layers", "self_attn.out_proj"),
    "phi3": _STATIC,
    "qwen2": _STATIC,
    # the mask of a window that no layer has
    "qwen2_moe": replace(_USUAL, writes_masks=True),
    "qwen3": _STATIC,
    "qwen3_moe": _USUAL,
    "smollm3": _USUAL,
    "starcoder2": _USUAL,
}

ATTENTION_KINDS = (None, "full_attention", "sliding_attention", "chunked_attention", "attention")
"""Words of a config's `layer_types` for layers whose heads are those of softmax attention; `None` where it has none."""


@dataclass(frozen=True, eq=False, slots=True)
class AttentionOutput:
    """One layer's output projection; its input is (rows, positions, n_heads x head_dim), head after head.

    `name` is the module's path in the model, for messages.
    """

    layer: int
    name: str
    module: nn.Module
    n_heads: int
    head_dim: int


def with_entries(lines: Sequence[str]) -> dict[str, Architecture]:
    """The table and the user's own entries, each as `model_type = layers, projection`.

    Raises:
        ModelError: an entry for an architecture that the table has.
    """
    table = dict(ARCHITECTURES)
    for line in lines:
        model_type, layers, projection = (part.strip() for part in line.replace("=", ",").split(","))
        if model_type in table:
            raise ModelError(
                f"architectures: {model_type!r} is known already; expected model types outside the table; leave it out"
            )
        alone = f"no test has branched the layers of {model_type}"
        table[model_type] = Architecture(layers, projection, one_by_one=alone)
    return table


def architecture_of(
    config: PreTrainedConfig, *, architectures: Mapping[str, Architecture] = ARCHITECTURES
) -> Architecture:
    """The table's entry for a model's config.

    Raises:
        ModelError: the table has none; says what is in it and how to add one.
    """
    entry = architectures.get(config.model_type)
    if entry is None:
        raise ModelError(
            f"model_type {config.model_type!r}: where it keeps its attention heads is not known; expected one of "
            f"{', '.join(architectures)}; say where its list of layers is, and in a layer the attention's output "
            f"projection, as in --ablation-architectures '{config.model_type} = model.layers, self_attn.o_proj'"
        )
    return entry


def attention_outputs(model: PreTrainedModel, architecture: Architecture | None = None) -> tuple[AttentionOutput, ...]:
    """Every layer's output projection, first layer first; the weights may be anywhere, or not there yet.

    `architecture` is the table's by default.

    Raises:
        ModelError: an architecture outside the table, a path that leads nowhere, layers without attention or with
            one projection in common, a projection whose input is no multiple of the number of heads or disagrees
            with the config's width of a head, or that is sharded over processes: then a local column is not the
            head that its index says.
    """
    entry = architecture or architecture_of(model.config)
    where = type(model).__name__
    layers = _submodule(model, entry.layers)
    if not isinstance(layers, nn.ModuleList):
        got = "nothing" if layers is None else f"a {type(layers).__name__}"
        raise ModelError(f"{where}: {got} at {entry.layers!r}; expected a list of layers; {_correct(model)}")
    if not len(layers):
        raise ModelError(f"{where}: no layers at {entry.layers!r}; expected at least one")
    names = [f"{entry.layers}.{layer}.{entry.projection}" for layer in range(len(layers))]
    modules = [_submodule(model, name) for name in names]
    if not any(modules):
        raise ModelError(
            f"{where}: nothing at {names[0]!r}; expected in each layer a projection at {entry.projection!r}; "
            f"{_correct(model)}"
        )
    config = model.config.get_text_config()  # of a model that sees pictures too, its language model's
    kinds = getattr(config, "layer_types", None) or [None] * len(names)
    without = [
        str(layer)
        for layer, (module, kind) in enumerate(zip(modules, kinds, strict=False))
        if module is None or kind not in ATTENTION_KINDS
    ]
    if without:
        raise ModelError(
            f"{where}: no attention with a {entry.projection!r} in layers {', '.join(without)}; expected attention "
            "heads in every layer; hybrid models cannot be used"
        )
    if len({id(module) for module in modules}) < len(modules):
        raise ModelError(
            f"{where}: layers have one {entry.projection!r} in common; expected one each; a head ablated there would "
            "be lost in several layers"
        )
    if (model.tp_size or 1) > 1:
        raise ModelError(
            f"{where}: tensor parallel over {model.tp_size} processes; expected whole projections; load it with a "
            "device map instead"
        )
    varying = {"head_dim", "v_head_dim", "num_attention_heads"} & set(
        getattr(config, "per_layer_attributes", None) or ()
    )
    if varying:
        raise ModelError(
            f"{where}: its layers differ in {', '.join(sorted(varying))}; expected as many heads of one width in each; "
            "models whose layers differ cannot be used"
        )
    n_heads = int(config.num_attention_heads)
    # what enters the projection is as wide as the values, which may be less than the keys
    declared = getattr(config, "v_head_dim", None) or getattr(config, "head_dim", None)
    return tuple(
        AttentionOutput(layer, name, module, n_heads, _head_dim(name, module, n_heads, declared))
        for layer, (name, module) in enumerate(zip(names, modules, strict=True))
        if module is not None
    )


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    """The module at this path; `None` where there is none, or something else."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _correct(model: PreTrainedModel) -> str:
    return f"correct the entry of {model.config.model_type!r}"


def shape_of(
    outputs: Sequence[AttentionOutput], *, model_id: str | None = None, revision: str | None = None
) -> ModelShape:
    """The shape that these projections give.

    Raises:
        ModelError: the layers differ in heads or in head width.
    """
    first = outputs[0]
    for output in outputs:
        if (output.n_heads, output.head_dim) != (first.n_heads, first.head_dim):
            raise ModelError(
                f"{output.name}: {output.n_heads} heads of width {output.head_dim}; expected {first.n_heads} "
                f"of width {first.head_dim}, as in {first.name}; models whose layers differ cannot be used"
            )
    return ModelShape(len(outputs), first.n_heads, first.head_dim, model_id, revision)


def base_layer(module: nn.Module) -> nn.Module:
    """The projection that an adapter was put around, or the projection itself."""
    inner = getattr(module, "base_layer", None)
    return inner if isinstance(inner, nn.Module) else module


def _head_dim(name: str, module: nn.Module, n_heads: int, declared: int | None) -> int:
    """The width of one head, checked."""
    module = base_layer(module)
    if isinstance(module, Conv1D):
        width, columns = int(module.nx), 0
    elif isinstance(getattr(module, "in_features", None), int):
        width, columns = int(module.in_features), 1  # type: ignore[arg-type]  # nn.Module types attributes loosely
    else:
        raise ModelError(f"{name}: a {type(module).__name__}; expected a linear projection or a Conv1D")
    weight = getattr(module, "weight", None)
    # A DTensor is told by its placements: its class is not there where torch has no distributed package.
    sharded = hasattr(weight, "placements")
    # A packed weight of a quantised projection is of integers, and its shape says nothing.
    if isinstance(weight, torch.Tensor) and not sharded and weight.is_floating_point() and weight.dim() == 2:
        sharded = weight.shape[columns] != width
    if sharded:
        raise ModelError(
            f"{name}: its weight is sharded over processes; expected a whole projection of input size "
            f"{width}; load the model with a device map instead of tensor parallel"
        )
    if width % n_heads:
        raise ModelError(f"{name}: input size {width}; expected a multiple of the config's {n_heads} attention heads")
    if declared is not None and width != n_heads * declared:
        raise ModelError(
            f"{name}: input size {width}; expected {n_heads * declared}, the config's {n_heads} heads x "
            f"head_dim {declared}; is the projection sharded?"
        )
    return width // n_heads


ALIKE = 0.98
"""Least share of numbers that have the sign of the head's value; half precision rounds to 0."""


@torch.inference_mode()
def check_entry(model: PreTrainedModel, outputs: Sequence[AttentionOutput], device: torch.device) -> None:
    """Raise a ModelError unless each layer's projection reads, once for a token, what its attention gives out.

    `device` is where token ids go.
    """
    read: dict[int, list[torch.Tensor]] = {output.layer: [] for output in outputs}
    with ExitStack() as hooks:
        for output in outputs:

            def note(
                module: nn.Module,
                args: tuple[torch.Tensor, ...],
                kwargs: dict[str, torch.Tensor],
                layer: int = output.layer,
            ) -> None:
                read[layer].append(args[0] if args else next(iter(kwargs.values())))

            hooks.callback(output.module.register_forward_pre_hook(note, with_kwargs=True).remove)
        found = model(input_ids=torch.tensor([[1]], device=device), use_cache=True)
    cached = getattr(getattr(found, "past_key_values", None), "layers", ())
    if len(cached) < len(outputs):
        raise ModelError(
            f"{type(model).__name__}: keeps keys and values of {len(cached)} layers; expected all {len(outputs)} of "
            "the entry, each its own; such a model cannot be used"
        )
    for output in outputs:
        _check_layer(output, read[output.layer], cached[output.layer].values)


def _check_layer(output: AttentionOutput, read: Sequence[torch.Tensor], cached: torch.Tensor) -> None:
    """`cached` are the layer's values: (1, key heads, 1, width); heads in groups share one."""
    if len(read) != 1:
        raise ModelError(f"{output.name}: called {len(read)} times for one token; expected once; correct the entry")
    values, heads = cached[0, :, 0], read[0].reshape(-1, output.head_dim)
    whole = len(heads) == output.n_heads and heads.shape[1] == values.shape[1] and len(heads) % len(values) == 0
    if whole:
        of_heads = values.repeat_interleave(len(heads) // len(values), dim=0).to(heads.device)
        whole = bool((heads.sign() == of_heads.sign()).float().mean() > ALIKE)
    if not whole:
        raise ModelError(
            f"{output.name}: of a lone token it does not read the heads' values; expected the attention's output "
            "projection, as self_attn.o_proj; correct the entry; a model that mixes heads before it, or caches no "
            "values, cannot be used"
        )
