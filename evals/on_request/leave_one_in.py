"""Leave one in: a task's top-k at the largest k less one head, for each head in turn.

Where a head is left in and accuracy comes back, the drop hung on it. Run only when asked for:
`pytest evals/on_request/leave_one_in.py`.
"""

import pytest

from harness import Result


@pytest.mark.ablation("leave_one_in")
def test_leave_one_in(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
