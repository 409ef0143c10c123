"""Entries that lead to something else than the attention's output projection."""

from dataclasses import replace

import pytest
from tiny_models import tiny_loaded, tiny_model, wrap

from harness.errors import ModelError
from harness.model.architectures import ARCHITECTURES, Architecture, attention_outputs
from harness.model.entry_check import check_entry


@pytest.mark.parametrize("model_type", sorted(set(ARCHITECTURES) - {"deepseek_v3"}))
def test_every_entry_of_the_table_is_sound(model_type: str) -> None:
    """But for one that caches something else than values."""
    check_entry(tiny_loaded(model_type))


@pytest.mark.parametrize(
    ("model_type", "projection"),
    [
        ("olmo2", "self_attn.q_proj"),
        ("llama", "self_attn.k_proj"),
        ("llama", "mlp.down_proj"),
        ("opt", "fc1"),
        ("opt", "self_attn.v_proj"),
        ("gpt2", "mlp.c_proj"),
    ],
)
def test_what_is_no_output_projection(model_type: str, projection: str) -> None:
    loaded = wrap(tiny_model(model_type))
    entry = Architecture(layers=ARCHITECTURES[model_type].layers, projection=projection, head_dim="no such field")
    wrong = replace(loaded, outputs=attention_outputs(loaded.model, architectures={model_type: entry}))
    with pytest.raises(ModelError, match="of a lone token it does not read the heads' values; expected the attention"):
        check_entry(wrong)
    assert not wrong.outputs[0].module._forward_pre_hooks
