"""A checkpoint with heads cut out of its weights, written as a folder that any tool loads; no hook is needed then.

A head put to zero: the columns of the output projection that read it are 0 (rows of GPT-2's Conv1D), which gives what
zeroing its slice of the projection's input gives, to the last bit. A head put to its mean: the same, and the
projection's bias holds what those columns made of the mean; so at every position, in prefill and decoding. A projection
that has no bias gets one where the config lets it (`attention_bias`), with zeros for other biases that come with it.

Files are copied as they lie: shards stay shards, and only tensors named here are touched, in their own dtype. No model
is loaded; one shard at a time is held in memory. Refused by name: GGUF files, quantised weights, pickled weights
(`.bin`), an adapter. Knows nothing of why these heads.
"""

import copy
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues
from harness.files import write_text
from harness.model.loading.architectures import AttentionOutput, attention_outputs
from harness.model.loading.checkpoint import Checkpoint
from harness.model.loading.checkpoint_files import CONFIGS, TOKENIZER_EXTRAS, VOCABULARIES, weight_map
from harness.model.loading.sources import fetch

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
COPIED = (*CONFIGS[1:], *VOCABULARIES, *TOKENIZER_EXTRAS, "LICENSE*", "NOTICE*", "USE_POLICY*")
"""What goes along as it is; config and card are written anew."""


@dataclass(frozen=True, eq=False, slots=True)
class _Cut:
    """What is done to one layer: `weight` and `bias` are names in the files, `made` parameters that are added there."""

    output: AttentionOutput
    heads: tuple[Head, ...]
    weight: str
    bias: str
    made: Mapping[str, torch.Size]


def write_cut(
    checkpoint: Checkpoint,
    heads: Collection[Head],
    out: Path,
    *,
    means: MeanValues | None = None,
    name: str | None = None,
) -> None:
    """Write the checkpoint without these heads into the folder, which is made; with `means`, at their means.

    Config and card call the source `name`, its own by default.

    Raises:
        ModelError: the folder is there and not empty, or cannot be written; a head that the model has not; files that
            cannot be cut; a projection that cannot hold a bias for means.
    """
    where = f"model {checkpoint.source.asked!r}"
    _check_source(checkpoint, where)
    for head in heads:
        checkpoint.blueprint.shape.check(head, where)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"--out {out}: is there already; expected a new folder, or an empty one; name another")
    fetch(checkpoint.source)
    folder = checkpoint.source.folder
    shards = _shards(folder, where)
    cuts, config = _plan(checkpoint, heads, shards, where, bias=means is not None)
    config["ablated_heads"] = {
        "mode": "zero" if means is None else "mean",
        "heads": [[head.layer, head.head] for head in sorted(heads)],
        "source": name or checkpoint.source.name,
        "revision": checkpoint.source.revision,
    }
    # what is not whole must not look like a checkpoint
    part = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        part.mkdir(parents=True)
        names = sorted(set(shards.values()))
        added = sum(_write_shard(folder / name, part / name, cuts, means, where) for name in names)
        if (folder / INDEX).is_file():
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            index["weight_map"] |= {made: shards[cut.weight] for cut in cuts for made in cut.made}
            if "total_size" in index.get("metadata", {}):
                index["metadata"]["total_size"] += added
            write_text(part / INDEX, json.dumps(index, indent=2) + "\n")
        write_text(part / CONFIGS[0], json.dumps(config, ensure_ascii=False, indent=2) + "\n")
        for file in (file for pattern in COPIED for file in folder.glob(pattern)):
            (part / file.relative_to(folder)).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, part / file.relative_to(folder))
        write_text(part / "README.md", _card(name or checkpoint.source.name, checkpoint.source.revision, heads, means))
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise ModelError(
            f"--out {out}: {error.strerror}; expected a folder that can be written; name another"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_source(checkpoint: Checkpoint, where: str) -> None:
    wrong = None
    if checkpoint.source.gguf is not None:
        wrong = "a GGUF file, whose weights are packed"
    elif getattr(checkpoint.config, "quantization_config", None) is not None or checkpoint.asked.quantization:
        wrong = "quantised weights, whose columns cannot be cut exactly"
    elif checkpoint.asked.adapter is not None:
        wrong = "an adapter beside the weights, which reads the heads too"
    if wrong is not None:
        raise ModelError(f"{where}: {wrong}; expected a checkpoint of full weights; name the one that it was made of")


def _shards(folder: Path, where: str) -> dict[str, str]:
    """Every tensor's file."""
    try:
        if (folder / SINGLE).is_file():
            with safe_open(folder / SINGLE, framework="pt") as tensors:
                return dict.fromkeys(tensors.keys(), SINGLE)
        if (folder / INDEX).is_file():
            return weight_map(folder / INDEX, where)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{where}: its weights cannot be read: {error}; expected safetensors") from None
    raise ModelError(f"{where}: no {SINGLE} nor {INDEX}; expected weights as safetensors; save it so first")


def _plan(
    checkpoint: Checkpoint, heads: Collection[Head], shards: Mapping[str, str], where: str, *, bias: bool
) -> tuple[list[_Cut], dict[str, object]]:
    """What to cut, layer by layer, and the config to write."""
    config: dict[str, object] = json.loads((checkpoint.source.folder / CONFIGS[0]).read_text(encoding="utf-8"))
    plain = _drawn(checkpoint)
    outputs = attention_outputs(plain, checkpoint.architecture)
    made: dict[str, torch.Size] = {}
    if bias and any(outputs[head.layer].module.bias is None for head in heads):
        biased = _drawn(checkpoint, attention_bias=True)
        if any(output.module.bias is None for output in attention_outputs(biased, checkpoint.architecture)):
            raise ModelError(
                f"{where}: {outputs[0].name} has no bias and {checkpoint.config.model_type} lets it have none, which "
                "would hold the heads' means; expected zero; leave --mode out"
            )
        there = dict(plain.named_parameters())
        made = {name: each.shape for name, each in biased.named_parameters() if name not in there}
        _set_bias(config)
    layers = checkpoint.architecture.layers
    cuts = []
    for output in outputs:
        weight = _name_in_files(output, layers, shards, where)
        prefix = weight.removesuffix(f"{output.name}.weight".removeprefix(f"{layers}."))
        own = f"{layers}.{output.layer}."
        of_layer = {prefix + name.removeprefix(f"{layers}."): made[name] for name in made if name.startswith(own)}
        chosen = tuple(sorted(head for head in heads if head.layer == output.layer))
        if chosen or of_layer:
            cuts.append(_Cut(output, chosen, weight, f"{weight.removesuffix('weight')}bias", of_layer))
    return cuts, config


def _drawn(checkpoint: Checkpoint, **changed: bool) -> PreTrainedModel:
    """The model without its weights."""
    config = copy.deepcopy(checkpoint.config)
    for name, value in changed.items():
        setattr(config.get_text_config(), name, value)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
    return model


def _set_bias(config: dict[str, object]) -> None:
    text = config.get("text_config")
    (text if isinstance(text, dict) else config)["attention_bias"] = True


def _name_in_files(output: AttentionOutput, layers: str, shards: Mapping[str, str], where: str) -> str:
    """The name that the projection's weight has in the files, whose prefix may be another than in the model."""
    tail = f"{layers.rpartition('.')[2]}{output.name.removeprefix(layers)}.weight"
    named = [name for name in shards if re.fullmatch(rf"(?:.*\.)?{re.escape(tail)}", name)]
    if len(named) != 1:
        raise ModelError(
            f"{where}: {len(named)} tensors in its files end with {tail!r}; expected one, the output projection of "
            f"layer {output.layer}; save it with transformers first"
        )
    return named[0]


def _write_shard(source: Path, target: Path, cuts: Collection[_Cut], means: MeanValues | None, where: str) -> int:
    """Write one file, cut or copied; how many bytes of new tensors it has."""
    try:
        with safe_open(source, framework="pt") as tensors:
            names = set(tensors.keys())
            of_shard = [cut for cut in cuts if cut.weight in names]
            if not of_shard:
                shutil.copyfile(source, target)
                return 0
            held = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118  # no mapping
            metadata = tensors.metadata()
    except SafetensorError as error:
        raise ModelError(f"{where}: {source.name}: {error}; expected safetensors; fetch it again") from None
    for cut in of_shard:
        weight = held[cut.weight]
        if not weight.is_floating_point() or weight.dtype.itemsize < 2:
            raise ModelError(f"{where}: {cut.weight}: of {weight.dtype}; expected full weights, of 16 bits at least")
        held |= {name: torch.zeros(shape, dtype=weight.dtype) for name, shape in cut.made.items()}
        if means is not None and cut.bias not in held:
            raise ModelError(f"{where}: {cut.bias} is in another file than its weight; save it with transformers first")
        for head, part in _parts(cut, weight):
            if means is not None:
                columns = slice(head.head * cut.output.head_dim, (head.head + 1) * cut.output.head_dim)
                mean = torch.from_numpy(means.vectors[head.layer, columns])
                held[cut.bias] = (held[cut.bias].double() + part.double() @ mean).to(held[cut.bias].dtype)
            part.zero_()
    save_file(held, target, metadata=metadata)
    shutil.copymode(source, target)
    return sum(held[name].nbytes for cut in of_shard for name in cut.made)


def _parts(cut: _Cut, weight: torch.Tensor) -> Iterator[tuple[Head, torch.Tensor]]:
    """Each head's columns of the weight, as views of (outputs, head_dim)."""
    by_columns = weight.T if isinstance(cut.output.module, Conv1D) else weight
    for head in cut.heads:
        yield head, by_columns[:, head.head * cut.output.head_dim : (head.head + 1) * cut.output.head_dim]


def _card(name: str, revision: str | None, heads: Collection[Head], means: MeanValues | None) -> str:
    of_layers: dict[int, list[int]] = {}
    for head in sorted(heads):
        of_layers.setdefault(head.layer, []).append(head.head)
    lines = [f"| {layer} | {', '.join(map(str, of_layer))} |" for layer, of_layer in of_layers.items()]
    put = "Their columns of the attention's output projection are 0"
    if means is not None:
        put += ", and its bias holds what they made of the heads' mean output over the identification rows"
    front = f"base_model: {name}\n" if revision is not None else ""
    whose = f"{name} at commit {revision}" if revision is not None else name
    return (
        f"---\n{front}tags:\n- ablation\n---\n\n"
        f"# {name} without {len(heads)} of its attention heads\n\n"
        f"The weights of {whose}, but for {len(heads)} query heads, counted from 0. {put}; all other numbers are the "
        "source's. The terms of the source hold.\n\n| layer | heads |\n|---|---|\n" + "\n".join(lines) + "\n\n"
        "`config.json` names them under `ablated_heads`. Written by `retrieval-heads export-checkpoint`.\n"
    )
