"""Across-task ablation: the best heads of all *other* tasks are zeroed while the model answers a task's questions.

If retrieval is one skill, carried by common heads, accuracy falls as it does with a task's own heads; how many of the
heads are also among the task's own top-k is recorded as `overlap`.
"""

import pytest

from harness import Result


@pytest.mark.ablation("across_task")
def test_across_task(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
