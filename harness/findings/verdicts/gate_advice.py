"""What would decide an undecided gate: more clusters, more draws, other heads or strata, or nothing in reach.

The figures assume that estimates and spreads stay what they are today; they are a plan, not a promise. Knows nothing of
gates' conditions, records or reports.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import counted
from harness.findings.verdicts.gate_samples import GateData, Premises
from harness.findings.verdicts.rule import (
    LEAST_CLUSTERS,
    LEAST_CLUSTERS_TO_FAIL,
    LEVEL,
    TOLERANCE,
    Estimates,
    Share,
)
from harness.findings.verdicts.verdict_data import Margins

REACH = 1.96 + 0.84
"""Standard errors between estimate and margin at which a two-sided 95 % interval excludes the margin in four
experiments of five."""
FAR = 10
"""More than this many times today's clusters or draws is not worth asking for."""
ENOUGH_DRAWS = math.ceil(1 / LEVEL) - 1
STAYS = "if estimate and spread stay"
DRAWS = "--ablation-gate-draws"


@dataclass(frozen=True, slots=True)
class Needed:
    """The clusters or draws, in all, that would decide; `reasons` say why nothing is decided yet, and what to do."""

    clusters: int | None = None
    draws: int | None = None
    reasons: tuple[str, ...] = ()


def what_would_decide(data: GateData, found: Estimates | None, margins: Margins, premises: Premises) -> Needed:
    """What an undecided gate needs.

    Clusters: ((1.96 + 0.84) x SD of a cluster / (estimate - bound))^2, where the clusters' share of the standard error
    is the larger one; else draws, in the same way from their own SD.
    """
    parts = [*_too_few(data, premises)]
    if found is not None:
        parts += _of_figures(data, found, margins, premises)
    return Needed(
        clusters=max((part.clusters for part in parts if part.clusters is not None), default=None),
        draws=max((part.draws for part in parts if part.draws is not None), default=None),
        reasons=tuple(reason for part in parts for reason in part.reasons),
    )


def _too_few(data: GateData, premises: Premises) -> Iterator[Needed]:
    """Clusters, draws and sets without which nothing is decided."""
    if data.n_clusters < LEAST_CLUSTERS:
        text = (
            f"{counted(data.n_clusters, 'cluster')}: fewer than {LEAST_CLUSTERS} decide nothing; give {LEAST_CLUSTERS}"
        )
        yield Needed(clusters=LEAST_CLUSTERS, reasons=(f"{text} or more",))
    if premises.n_sets is not None and premises.n_sets <= ENOUGH_DRAWS:
        ways = [
            *([] if premises.enough_heads is None else [f"--ablation-gate-k {premises.enough_heads}"]),
            *([] if premises.enough_layers is None else [f"--ablation-gate-strata {premises.enough_layers}"]),
        ]
        could = f"; {' or '.join(ways)} would give enough" if ways else "; no k or stratum gives enough"
        there = "there is one such set" if premises.n_sets == 1 else f"there are {premises.n_sets} such sets"
        yield Needed(reasons=(f"{there} in these strata, so no rank p below {1 / premises.n_sets:.2f}{could}",))
    elif min(data.n_permutations, data.n_controls) < ENOUGH_DRAWS:
        least = 1 / (data.n_permutations + 1)
        text = f"{counted(data.n_permutations, 'permutation')} give no rank p below {least:.2f}"
        yield Needed(draws=ENOUGH_DRAWS, reasons=(f"{text}; ask for {ENOUGH_DRAWS} or more with {DRAWS}",))


def _of_figures(data: GateData, found: Estimates, margins: Margins, premises: Premises) -> Iterator[Needed]:
    low, high = (float(end) for end in found.difference.bounds())
    if low <= margins.margin <= high:
        what = f"the interval of the difference holds the margin of {margins.margin:.0%}"
        yield _more_of(found.difference, data, margins.margin, what)
    elif high < margins.margin and data.n_clusters < LEAST_CLUSTERS_TO_FAIL:
        text = f"the difference is below the margin, but {data.n_clusters} clusters are too few to fail on"
        yield Needed(clusters=LEAST_CLUSTERS_TO_FAIL, reasons=(text,))
    if low > margins.margin:
        if found.rank_p > LEVEL + TOLERANCE >= found.least_rank_p:
            yield _usual(data, found, premises)
        if found.control.estimate > margins.flat:
            text = f"other heads of the same layers cost {found.control.estimate:.1%} of the right answers, more than"
            yield Needed(reasons=(f"{text} {margins.flat:.0%}: the control is not flat; judge fewer heads",))


def _usual(data: GateData, found: Estimates, premises: Premises) -> Needed:
    """Permutations cost as much as the judged heads do."""
    as_much = round(float(found.rank_p) * (data.n_permutations + 1)) - 1
    text = (
        f"{as_much} of {counted(data.n_permutations, 'permutation')} cost as much (rank p {float(found.rank_p):.2f}, "
        f"asked for: {LEVEL:g} at most): these heads are not unusual among heads of their layers"
    )
    if premises.held is not None and premises.held >= 0.1:
        text += (
            f"; a permutation holds {premises.held:.0%} of them, fewer in wider strata (--ablation-gate-strata), and a "
            "few of them may carry all"
        )
    return Needed(reasons=(text,))


def _more_of(share: Share, data: GateData, bound: float, what: str) -> Needed:
    """Clusters or draws, whichever share of the standard error is larger, that part the estimate from the bound."""
    of_draws = float(share.draws_variance)
    of_clusters = max(0.0, float(share.standard_error) ** 2 - of_draws)
    by_draws = of_draws > of_clusters
    today, part = (data.n_controls, of_draws) if by_draws else (data.n_clusters, of_clusters)
    sd, distance = math.sqrt(part * today), abs(float(share.estimate) - bound)
    thing = "draws" if by_draws else "clusters"
    if distance == 0 or not math.isfinite(sd) or (REACH * sd / distance) ** 2 > FAR * today:
        return Needed(
            reasons=(f"{what}: the estimate is too close to that, {FAR} times as many {thing} would not decide",)
        )
    enough = max(today + 1, math.ceil((REACH * sd / distance) ** 2))
    text = f"{what}: about {enough} {thing}{f' ({DRAWS})' if by_draws else ''} would decide, {STAYS}"
    return Needed(draws=enough, reasons=(text,)) if by_draws else Needed(clusters=enough, reasons=(text,))
