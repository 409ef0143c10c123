"""Several gates as one claim: what is left of their verdicts when the chance of any false pass is held to one gate's.

The margin's p are corrected by Holm's method. For the rank, all gates share their permutations, so that the corrected p
needs no more of them: a permutation counts against a gate where *any* gate's heads cost as much under it as that gate's
own do.

Source of the second: P. H. Westfall and S. S. Young (1993), Resampling-based multiple testing, Wiley, section 2.2
(single-step maxT).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.findings.statistics import holm
from harness.findings.verdicts.gate_data import GateData
from harness.findings.verdicts.gates import arrays
from harness.findings.verdicts.rule import LEVEL, TOLERANCE, estimate
from harness.findings.verdicts.verdict_data import Claim, ClaimPart

MARGIN_LEVEL = LEVEL / 2
"""Of a one-sided p against the margin."""


@dataclass(frozen=True, slots=True)
class JudgedGate:
    """A gate that was judged: its name, its margin, its sums, whether it passed, and the numbers of its permutations.

    `draws` are `None` where all sets were taken instead.
    """

    name: str
    margin: float
    data: GateData
    passed: bool
    draws: tuple[int, ...] | None


def joint_claim(gates: Sequence[JudgedGate]) -> Claim | None:
    """The claim of at least two gates; `None` where figures of one of them are unknown."""
    found = [(gate, sums) for gate in gates if (sums := arrays(gate.data)) is not None]
    if len(gates) < 2 or len(found) < len(gates):
        return None
    estimates = [estimate(sums) for _, sums in found]
    of_margins = holm([float(e.difference.p_above(gate.margin)) for gate, e in zip(gates, estimates, strict=True)])
    ranks = _ranks(gates) or tuple(min(1.0, len(gates) * float(each.rank_p)) for each in estimates)
    return Claim(
        parts=tuple(
            ClaimPart(
                gate=gate.name,
                adjusted_p=p,
                adjusted_rank_p=rank,
                holds=gate.passed and p <= MARGIN_LEVEL and rank <= LEVEL + TOLERANCE,
            )
            for gate, p, rank in zip(gates, of_margins, ranks, strict=True)
        )
    )


def _ranks(gates: Sequence[JudgedGate]) -> tuple[float, ...] | None:
    """The corrected rank p of each gate, over the permutations that all have; `None` where a gate has all sets."""
    costs: list[Mapping[int, float]] = []
    for gate in gates:
        if gate.draws is None:
            return None
        costs.append(dict(zip(gate.draws, gate.data.lost_to_permutations(), strict=True)))
    common = sorted(set.intersection(*(set(each) for each in costs)))
    most = [max(each[draw] for each in costs) for draw in common]
    return tuple(
        (1 + sum(cost >= gate.data.lost_of_answered() - TOLERANCE for cost in most)) / (len(common) + 1)
        for gate in gates
    )
