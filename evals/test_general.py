"""General heads: those that are candidates of at least seven in nine tasks are zeroed, on every task's rows.

Fewer than k such heads may exist; then all of them are zeroed, and `k_effective` says how many.
"""

import pytest

from harness import Result


@pytest.mark.ablation("general")
def test_general(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
