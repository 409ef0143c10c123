"""Within-task ablation: a task's own top-k heads are zeroed while the model answers that task's questions.

If the heads that look at the needle are the ones that retrieve it, accuracy falls as k grows. Compare with
`random_control`: as many random heads should cost little. Retrieval heads: Wu et al. 2024,
https://arxiv.org/abs/2404.15574.
"""

import pytest

from harness import Result


@pytest.mark.ablation("within_task")
def test_within_task(ablation_result: Result) -> None:
    """Every row of the task has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
