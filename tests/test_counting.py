"""Numbers of things in words."""

import pytest

from harness.counting import counted


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows"), (1061, "1,061 rows")]
)
def test_counted(n: int, said: str) -> None:
    assert counted(n, "row") == said
