"""Bottom heads: the k that look at the needle least are zeroed, on every task's rows.

They are no null control: a head that does not look at the needle may do something else that answers need. A ranking cut
after its best heads cannot give them.
"""

import pytest

from harness import Result


@pytest.mark.ablation("bottom")
def test_bottom(ablation_result: Result) -> None:
    """Every row has a sound record; the figures are in the report."""
    assert ablation_result.missing == 0
