"""Global heads: the best by mean score over all identification rows are zeroed, on every task's rows."""

import pytest

from harness import Result


@pytest.mark.ablation("global")
def test_global(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
