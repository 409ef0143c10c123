"""Across-exclusive ablation: the best heads of all other tasks, less the task's own top-k.

What is left of `across_task` when the overlap is taken out. Run only when asked for:
`pytest evals/on_request/across_exclusive.py`.
"""

import pytest

from harness import Result


@pytest.mark.ablation("across_exclusive")
def test_across_exclusive(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
