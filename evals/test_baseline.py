"""Baseline: the model untouched, with the needle in its place and with the needle left out.

The first is what every drop is measured from. The second is what guessing scores: where it comes near the first, the
questions can be answered without retrieval, and an ablation says nothing about it.
"""

import pytest

from harness import Result


@pytest.mark.ablation("baseline", "needle_absent")
def test_baseline(ablation_result: Result) -> None:
    """Every row has a sound record."""
    assert ablation_result.missing == 0
