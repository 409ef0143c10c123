"""The rule of 0.1.0, on counts whose verdict by it is plain."""

import numpy as np
import pytest

from harness.findings.verdicts.earlier_rule import decide_as_before
from harness.findings.verdicts.rule import KINDS


@pytest.mark.parametrize(
    ("clusters", "untouched", "judged", "controls", "expected"),
    [
        (20, 8, 2, (8, 8, 8, 8, 8), "pass"),
        (9, 8, 2, (8, 8, 8, 8, 8), "inconclusive"),
        (20, 8, 8, (8, 8, 8, 8, 8), "fail"),
        (19, 8, 8, (8, 8, 8, 8, 8), "inconclusive"),
        (20, 4, 1, (4, 4, 4, 4, 4), "invalid"),  # 44 % right
        (20, 8, 1, (6, 6, 6, 6, 6), "invalid"),  # controls cost 22 points
        (20, 8, 2, (8, 8, 8, 8, 6), "inconclusive"),  # their upper end is above ten points
        (20, 8, 6.5, (8, 8, 8, 8, 7), "inconclusive"),  # draws differ by as much
    ],
)
def test_verdicts_by_the_rule_of_the_version_before(
    clusters: int, untouched: int, judged: float, controls: tuple[int, ...], expected: str
) -> None:
    """Every cluster alike; of more than five controls the others are left out."""
    of_all = np.broadcast_to(np.array([*controls, 0, 0], dtype=float), (clusters, 7))
    rows, before, after = (np.full(clusters, float(each)) for each in (9, untouched, judged))
    assert KINDS[int(decide_as_before(rows, before, after, of_all))] == expected
