"""Random control: as many heads as an experiment zeroes, drawn from those that do not retrieve, several times.

A causal claim needs it: if random heads cost as much as retrieval heads, ablation only damages the model. Draws are
nested in k; the pool holds no candidate of any task.
"""

import pytest

from harness import Result


@pytest.mark.ablation("random_control")
def test_random_control(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
