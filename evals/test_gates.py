"""Gates: are these the heads that retrieve? A verdict on each task's own heads and on the shared ones.

A gate passes where zeroing the heads costs more accuracy than zeroing as many random ones does: by more than the
margin (`--ablation-gate-margin`), outside what another random draw would give, and with random heads that cost next to
nothing. `pytest evals -m gate` computes what the gates need, and nothing else. For claims, draw the random heads layer
by layer (`--ablation-random-match=layer`).
"""

import pytest

from harness import GateVerdict


@pytest.mark.gate
@pytest.mark.ablation_gate("own", "shared")
def test_gate(ablation_verdict: GateVerdict) -> None:
    """Only `pass` passes: not `fail`, not `inconclusive`, not `invalid`."""
    if not ablation_verdict.passed:
        pytest.fail(ablation_verdict.message, pytrace=False)
