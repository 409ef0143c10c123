"""What configs say of how their models compute."""

import pytest
from tiny_models import MODEL_TYPES, tiny_config
from transformers import AutoConfig

from harness.errors import ModelError
from harness.model.loading.traits import VERIFIED, one_by_one, rotates_by_length, usable_attention, window


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_architecture_is_branched_or_says_why_not(model_type: str) -> None:
    reason = one_by_one(tiny_config(model_type))
    assert (reason is None) == (model_type in VERIFIED)
    if model_type == "bloom":
        assert reason == "its positions are a bias made for each row of a batch"


def test_reasons() -> None:
    falcon, llama = tiny_config("falcon"), tiny_config("llama")
    falcon.alibi = True
    assert one_by_one(falcon) == "its positions are a bias made for each row of a batch"
    llama.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert one_by_one(llama) == "its rotary frequencies depend on how many tokens are fed at once"
    assert one_by_one(AutoConfig.for_model("phi")) == "no test has branched the layers of phi"


def test_rotation_by_length_may_differ_between_kinds_of_layers() -> None:
    config = tiny_config("gemma3_text")
    assert not rotates_by_length(config)
    config.rope_parameters["full_attention"]["rope_type"] = "longrope"
    assert rotates_by_length(config)


def test_a_soft_cap_is_never_left_out() -> None:
    """Under sdpa transformers 5.17 computed Gemma 2 without its cap, and said nothing."""
    assert usable_attention(tiny_config("gemma2"), None) == "eager"
    assert usable_attention(tiny_config("gemma2"), "flex_attention") == "flex_attention"
    assert usable_attention(tiny_config("llama"), None) is None
    assert usable_attention(tiny_config("llama"), "sdpa") == "sdpa"
    with pytest.raises(ModelError, match=r"attention 'sdpa': gemma2 soft-caps .* expected 'eager'"):
        usable_attention(tiny_config("gemma2"), "sdpa")


def test_windows() -> None:
    assert window(tiny_config("gpt2")) == window(tiny_config("llama")) == 640
    assert window(AutoConfig.for_model("bloom")) is None


def test_of_a_model_that_sees_pictures_its_language_model_counts() -> None:
    """Gemma 3 of 4B and more; its own config has none of this."""
    text = tiny_config("gemma3_text")
    text.rope_parameters["full_attention"] |= {"rope_type": "dynamic", "factor": 2.0}
    text.attn_logit_softcapping = 2.0
    config = AutoConfig.for_model("gemma3", text_config=text.to_dict())
    assert window(config) == 640
    assert rotates_by_length(config)
    assert usable_attention(config, None) == "eager"
