"""Single heads: each of a task's best heads alone, as many as the largest k.

One head may carry most of a drop; a list's order says little about that. Run only when asked for:
`pytest evals/on_request/single.py`.
"""

import pytest

from harness import Result


@pytest.mark.ablation("single")
def test_single(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
