"""Transfer: one task's top-k heads are zeroed on another task's rows, for every pair of tasks.

The diagonal is within-task ablation, and computed once. Wholly different tasks should not share what they need.
"""

import pytest

from harness import Result


@pytest.mark.ablation("transfer")
def test_transfer(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
