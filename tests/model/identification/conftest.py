"""What tests of exactness in float64 need."""

from typing import Any

import pytest
import torch


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Softmax in the dtype of its input: eager attention asks for float32, which would hide what is off."""
    softmax = torch.nn.functional.softmax

    def exact(scores: torch.Tensor, dim: int | None = None, dtype: Any = None, **options: Any) -> torch.Tensor:
        return softmax(scores, dim=dim)

    monkeypatch.setattr(torch.nn.functional, "softmax", exact)
