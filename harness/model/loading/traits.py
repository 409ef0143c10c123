"""What a model's config says of how the model computes, as far as sharing work or saving memory rests on it.

Of a model that sees pictures too, what counts is its language model's. Knows nothing of weights or tokens.
"""

from transformers import PreTrainedConfig

from harness.errors import ModelError
from harness.model.loading.altered_weights import quantization_of

VERIFIED = frozenset(
    {
        "cohere",
        "cohere2",
        "deepseek_v2",
        "deepseek_v3",
        "falcon",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma3_text",
        "glm4",
        "glm4_moe",
        "gpt2",
        "gpt_neox",
        "gpt_oss",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo2",
        "olmo3",
        "olmoe",
        "opt",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "starcoder2",
    }
)
"""Architectures whose layers a test has branched and compared with the plain loop."""


def one_by_one(config: PreTrainedConfig, quantization: str | None = None) -> str | None:
    """Why this model's conditions must each be computed alone; `None` where its layers may be branched.

    `quantization` is what is asked for beside the config.
    """
    if getattr(config, "alibi", False) or config.model_type == "bloom":
        return "its positions are a bias made for each row of a batch"
    if config.model_type not in VERIFIED:
        return f"no test has branched the layers of {config.model_type}"
    if rotates_by_length(config):
        return "its rotary frequencies depend on how many tokens are fed at once"
    if "8bit" in (quantization, quantization_of(config)):
        # which columns are left in 16 bits is decided over the whole batch
        return "how 8-bit products are rounded depends on what is computed together"
    return None


def rotates_by_length(config: PreTrainedConfig) -> bool:
    """Whether rotary frequencies depend on how many tokens are fed: pieces would be rotated differently."""
    parameters = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds)


def usable_attention(config: PreTrainedConfig, asked: str | None) -> str | None:
    """The attention to ask transformers for; `None` is its own choice, sdpa or else eager.

    A model that soft-caps its attention (Gemma 2) gets eager: sdpa cannot, and transformers up to 5.17 at
    least leaves the cap out without a word.

    Raises:
        ModelError: sdpa was asked for by name, for such a model.
    """
    if getattr(config.get_text_config(), "attn_logit_softcapping", None) is None:
        return asked
    if asked == "sdpa":
        raise ModelError(
            f"attention 'sdpa': {config.model_type} soft-caps its attention, which sdpa cannot; expected 'eager'"
        )
    return asked or "eager"


def window(config: PreTrainedConfig) -> int | None:
    """The most positions that the model was made for; `None` where its config sets no limit."""
    declared: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return declared
