"""Gates: are these heads needed to answer? A verdict on each task's own heads, the shared ones and the global ones.

A gate passes where (a) zeroing the heads costs more right answers than zeroing as many other heads of the same layers
does, by more than the margin (`--ablation-gate-margin`); (b) it costs more than nearly all sets that permuting heads
within layers gives; and (c) those other heads cost next to nothing (`--ablation-gate-flat`). It says that the heads are
needed for these answers. `pytest evals -m gate` computes what the gates need, and nothing else.
"""

import pytest

from harness import GateVerdict


@pytest.mark.gate
@pytest.mark.ablation_gate("own", "shared", "global")
def test_gate(ablation_verdict: GateVerdict) -> None:
    """Only `pass` passes: not `fail`, not `inconclusive`, not `invalid`."""
    if not ablation_verdict.passed:
        pytest.fail(ablation_verdict.message, pytrace=False)
