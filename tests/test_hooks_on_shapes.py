"""The eval of the hooks on tiny models, mixtures above all, and on published shapes where a GPU holds them."""

import gc
import importlib.util
from pathlib import Path

import pytest
import torch
from tiny_models import drawn, tiny_loaded

from harness.model.loading.blueprints import model_size
from harness.model.loading.loaded_model import LoadedModel
from harness.model.performance.shapes import SHAPES, random_model

EVAL = Path(__file__).parents[1] / "evals" / "test_hooks.py"
ROOM = 2**30
"""What must be free beside the weights."""


TINY = ("gpt2", "llama", "deepseek_v3", "gpt_oss", "qwen2_moe")
"""How experts round depends on all rows of a batch: its rows cannot be compared with those of another."""


@pytest.fixture(scope="module", params=[*TINY, *SHAPES])
def ablation_model(request: pytest.FixtureRequest) -> LoadedModel:
    if request.param in TINY:
        return tiny_loaded(request.param)
    config = SHAPES[request.param]
    needed = model_size(drawn(config), bytes_per_number=2.0).weight_bytes + ROOM
    gc.collect()
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    if free < needed:
        pytest.skip(f"{needed / 2**30:.0f} GiB of a GPU are needed, {free / 2**30:.0f} are free")
    return random_model(
        request.param, config, device=torch.device("cuda"), dtype=torch.bfloat16, attention=None, seed=0
    )


spec = importlib.util.spec_from_file_location("hooks_eval", EVAL)
assert spec is not None
assert spec.loader is not None
hooks_eval = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks_eval)
test_hooks = hooks_eval.test_hooks
