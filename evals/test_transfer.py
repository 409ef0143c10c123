"""Transfer: one task's top-k heads are zeroed on another task's rows, for every pair of tasks.

The diagonal is within-task ablation, and computed once. Wholly different tasks should not share what they need.
"""

import pytest

from harness.study.outcome import Result


@pytest.mark.ablation("transfer")
def test_transfer(result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert result.missing == 0
