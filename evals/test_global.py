"""Global heads: the best by mean score over all identification rows are zeroed, on every task's rows."""

import pytest

from harness.study.outcome import Result


@pytest.mark.ablation("global")
def test_global(result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert result.missing == 0
