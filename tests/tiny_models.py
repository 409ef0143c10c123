"""Tiny random models of each architecture, a byte-level tokenizer, and prompts of random tokens: fakes for
tests.

Weights are drawn wide enough that attention is far from uniform and greedy choices are clear. Every kind has
a head width other than `hidden_size / n_heads` where its config lets it, grouped keys where it knows them,
and a sliding window of `WINDOW` positions where it has one.
"""

import copy
import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from harness.experiment.heads import Head
from harness.model.identification.method import AttentionReader
from harness.model.loading.architectures import ARCHITECTURES, architecture_of, attention_outputs, shape_of
from harness.model.loading.blueprints import ModelRequest, model_size, usable_attention
from harness.model.loading.checkpoint import Checkpoint, open_checkpoint
from harness.model.loading.loaded_model import LoadedModel, load_model
from harness.retrieval.prompts import Prompt, Trial

N_LAYERS, N_HEADS, HEAD_DIM, WINDOW = 3, 4, 8, 12
SPECIAL_TOKENS = ("<s>", "</s>", "<end>")
END_TOKEN_IDS = (257, 258)
VOCABULARY = 256 + len(SPECIAL_TOKENS)

_HIDDEN = {"hidden_size": 24, "intermediate_size": 32}
_WIDE = {**_HIDDEN, "head_dim": HEAD_DIM, "num_key_value_heads": 2}
_SQUARE = {"hidden_size": N_HEADS * HEAD_DIM, "intermediate_size": 32}
_GROUPED = {**_SQUARE, "num_key_value_heads": 2}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SOME_DENSE = {**_EXPERTS, "n_routed_experts": 4, "first_k_dense_replace": 1}
_LATENT = {
    **_HIDDEN,
    "num_key_value_heads": N_HEADS,
    "v_head_dim": HEAD_DIM,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
}
_LAST_IN_FULL = {"sliding_window": WINDOW, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}

SETTINGS: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": N_HEADS * HEAD_DIM},
    "cohere": _GROUPED,
    "cohere2": {**_WIDE, **_LAST_IN_FULL},
    "deepseek_v2": {**_LATENT, **_SOME_DENSE},
    "deepseek_v3": {**_LATENT, **_SOME_DENSE, "n_group": 2, "topk_group": 1},
    "falcon": {**_SQUARE, "multi_query": True},
    "gemma": _WIDE,
    "gemma2": {**_WIDE, "sliding_window": WINDOW, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 5},
    "gemma3_text": {
        **_WIDE,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 5,
    },
    "glm4": _WIDE,
    "glm4_moe": {**_WIDE, **_SOME_DENSE},
    "gpt2": {"n_embd": N_HEADS * HEAD_DIM, "n_inner": 32},
    "gpt_neox": _SQUARE,
    "gpt_oss": {
        **_WIDE,
        "sliding_window": WINDOW,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "granite": {**_GROUPED, "attention_multiplier": 0.3},
    "llama": _WIDE,
    "mistral": {**_WIDE, "sliding_window": WINDOW},
    "mixtral": {**_GROUPED, "num_local_experts": 4},
    "olmo2": _GROUPED,
    "olmo3": {**_GROUPED, **_LAST_IN_FULL},
    "olmoe": {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"hidden_size": N_HEADS * HEAD_DIM, "ffn_dim": 32, "word_embed_proj_dim": N_HEADS * HEAD_DIM},
    "phi3": {**_GROUPED, "sliding_window": WINDOW},
    "qwen2": _GROUPED,
    "qwen2_moe": {**_GROUPED, **_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
    "qwen3": _WIDE,
    "qwen3_moe": {**_WIDE, **_EXPERTS, "num_experts": 4},
    "smollm3": {**_GROUPED, "no_rope_layers": [1, 0, 1]},
    "starcoder2": {**_GROUPED, "sliding_window": WINDOW},
}
MODEL_TYPES = tuple(sorted(ARCHITECTURES))
REPRESENTATIVES = ("bloom", "deepseek_v3", "falcon", "gemma3", "gpt2", "gpt_oss", "llama")
"""Of every way of computing one: positions as a bias, latent attention in a mixture, layers that return tuples, a model
that sees pictures with windows, transposed weights, eager attention with sinks, and the usual one.

What is an architecture's own, its row of facts and the four identities that rest on it, is tested on `MODEL_TYPES`.
"""
WITH_EDGES = tuple(each for each in MODEL_TYPES if not ARCHITECTURES[each].own_attention)
"""Architectures whose heads can be kept from single tokens."""
EDGE_REPRESENTATIVES = ("deepseek_v3", "gemma2", "gemma3", "gpt2", "gpt_oss", "llama", "phi3")
"""Of those: latent attention, a soft-cap, windows in some layers or all, transposed weights, sinks, the usual one."""
FLOAT32_PARTS = ("deepseek_v2", "deepseek_v3", "gemma2", "glm4_moe")
"""Architectures that compute a part in float32 always: routers and rotations, gemma2 its softmax."""
IN_FLOAT32 = ("deepseek_v2", "deepseek_v3")
"""Of those: how tokens are fed shows in it, of whatever dtype the model is."""
MIXTURES = ("deepseek_v2", "deepseek_v3", "glm4_moe", "gpt_oss", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe")


def tiny_config(model_type: str) -> PreTrainedConfig:
    """A config of this architecture with 3 layers of 4 heads of width 8."""
    if model_type == "gemma3":
        sight = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        text = tiny_config("gemma3_text").to_dict()
        return AutoConfig.for_model(model_type, text_config=text, vision_config=sight)
    return AutoConfig.for_model(
        model_type,
        **{
            "vocab_size": VOCABULARY,
            "num_hidden_layers": N_LAYERS,
            "num_attention_heads": N_HEADS,
            "max_position_embeddings": 640,
            "initializer_range": 0.25,
            "bos_token_id": 256,
            "eos_token_id": list(END_TOKEN_IDS),
            "pad_token_id": 258,
            **SETTINGS[model_type],
        },
    )


def drawn(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of any size, without its weights."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # the library's
    return model


def tiny_model(model_type: str, *, seed: int = 0) -> PreTrainedModel:
    """A new model of random weights, biases included; float32, on the CPU."""
    # also where a test runs in inference mode: models are shared, and others write to their weights
    with torch.random.fork_rng(), torch.inference_mode(mode=False):
        torch.manual_seed(seed)
        config = tiny_config(model_type)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # the library's
            config, dtype=torch.float32, attn_implementation=usable_attention(config, None)
        )
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.2)
    return cast(PreTrainedModel, model.requires_grad_(False).train(False))


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and three special tokens; no chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library's
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    )


@functools.cache
def tiny_loaded(model_type: str = "llama") -> LoadedModel:
    """One model of this architecture, shared by the tests of a run, as `load_model` would give it."""
    return wrap(tiny_model(model_type))


def wrap(model: PreTrainedModel) -> LoadedModel:
    """A model in memory as `load_model` would give it."""
    outputs = attention_outputs(model)
    return LoadedModel(
        model=model,
        tokenizer=tiny_tokenizer(),
        architecture=architecture_of(model.config),
        outputs=outputs,
        shape=shape_of(outputs, model_id=f"tiny {model.config.model_type}"),
        size=model_size(model),
        end_token_ids=frozenset(END_TOKEN_IDS),
        attention=model.config._attn_implementation,
        dtype="float32",
        device=torch.device("cpu"),
    )


@functools.cache
def doubled(model_type: str) -> LoadedModel:
    """The tiny model in float64."""
    model = copy.deepcopy(tiny_loaded(model_type).model).double()
    if model_type in MIXTURES:
        # the library's grouped products know no float64
        model.config._experts_implementation = "eager"
    return replace(wrap(model), dtype="float64")


def save_checkpoint(folder: Path, model_type: str = "llama") -> Path:
    """The same as a folder that can be opened as a checkpoint; returns the folder."""
    tiny_model(model_type).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def opened(model: str, **asked: Any) -> Checkpoint:
    """A checkpoint, opened as a study would open it."""
    return open_checkpoint(ModelRequest(model, **asked))


def load(model: str, **asked: Any) -> LoadedModel:
    """Its model."""
    return load_model(opened(model, **asked))


def cut_weights(model: PreTrainedModel, heads: Iterable[Head]) -> PreTrainedModel:
    """The oracle of an ablation: a copy whose projections have no weight for these heads."""
    cut = copy.deepcopy(model)
    for output in attention_outputs(cut):
        for head in heads:
            if head.layer == output.layer:
                columns = slice(head.head * HEAD_DIM, (head.head + 1) * HEAD_DIM)
                weight = cast(torch.Tensor, output.module.weight)
                if model.config.model_type == "gpt2":
                    weight[columns, :] = 0
                else:
                    weight[:, columns] = 0
    return cut


def random_ids(n_tokens: int, *, seed: int = 0) -> tuple[int, ...]:
    """Tokens of bytes, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 256, (n_tokens,), generator=generator).tolist())


def random_prompt(n_tokens: int, *, seed: int = 0, needle: tuple[int, int] = (3, 8)) -> Prompt:
    """A prompt of random tokens whose needle is tokens `needle[0]` up to `needle[1]`."""
    ids = random_ids(n_tokens, seed=seed)
    return Prompt(
        row_id=f"filing{seed}.htm/task",
        kind="full",
        text="",
        token_ids=ids,
        needle_start=needle[0],
        needle_end=needle[1],
        question_start=n_tokens - 2,
        question_end=n_tokens,
        depth=0.5,
        value_ids=random_ids(3, seed=seed + 1000),
        document_start=1,
        document_end=max(1, n_tokens - 2),
    )


def random_trial(n_tokens: int, *, seed: int = 0, needle: tuple[int, int] = (3, 8), value: str = "7") -> Trial:
    """A random prompt with four tokens to answer in, and the same with another, shorter question."""
    prompt = random_prompt(n_tokens, seed=seed, needle=needle)
    blank = replace(
        prompt,
        token_ids=(*prompt.token_ids[: prompt.question_start], *random_ids(1, seed=seed + 2000)),
        question_end=prompt.question_start + 1,
    )
    return Trial(prompt=prompt, value=value, compare="text", max_new_tokens=4, null_prompt=blank)


Read = TypeVar("Read")


def alone(read: Callable[[AttentionReader, Trial], Read], loaded: LoadedModel, trial: Trial) -> Read:
    """What is read of a trial that shares nothing with any other."""
    return read(AttentionReader.of(loaded, [trial]), trial)
