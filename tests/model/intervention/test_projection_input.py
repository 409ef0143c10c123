"""What a call hands to an output projection: by place or by name, and nothing but one tensor of its width."""

from typing import Any

import pytest
import torch

from harness.errors import AblationError
from harness.model.intervention.projection_input import as_call, projection_input
from harness.model.loading.architectures import AttentionOutput

OUTPUT = AttentionOutput(2, "layers.2.o_proj", torch.nn.Linear(6, 4), n_heads=3, head_dim=2)
HIDDEN = torch.zeros(1, 5, 6)


@pytest.mark.parametrize(("args", "kwargs", "keyword"), [((HIDDEN,), {}, None), ((), {"input": HIDDEN}, "input")])
def test_there_and_back(args: tuple[Any, ...], kwargs: dict[str, Any], keyword: str | None) -> None:
    hidden, name = projection_input(OUTPUT, args, kwargs)
    assert hidden is HIDDEN
    assert name == keyword
    assert as_call(hidden, name) == (args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "got"),
    [
        ((), {}, "[]"),
        ((HIDDEN, HIDDEN), {}, "[(1, 5, 6), (1, 5, 6)]"),
        ((HIDDEN,), {"scale": 2.0}, "[(1, 5, 6), 'float']"),
        ((HIDDEN[0],), {}, "[(5, 6)]"),
        ((HIDDEN[..., :4],), {}, "[(1, 5, 4)]"),
        (("text",), {}, "['str']"),
    ],
)
def test_anything_else_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any], got: str) -> None:
    with pytest.raises(AblationError) as error:
        projection_input(OUTPUT, args, kwargs)
    assert str(error.value) == f"layers.2.o_proj: called with {got}; expected one tensor of (rows, positions, 6)"
