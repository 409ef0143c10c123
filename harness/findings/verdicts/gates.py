"""Gates: from sums by cluster, paired row by row, to a verdict on a set of heads, the reasons for it, and what to do.

The rule's arithmetic is `rule`'s. Here stands what comes before it, whatever makes the comparison unsound (then the
verdict is `invalid`, whatever the figures say), and what is said after it. A pass says that these heads are needed for
these answers. It does not say that they were ranked rightly, nor that what they do is the reading.

Of an undecided gate it is said what would decide it: more clusters, more draws, other heads or strata, or nothing in
reach. Such figures assume that estimates and spreads stay what they are today; they are a plan, not a promise.

Pure functions over sums. Knows nothing of heads, conditions, records or reports; what has to be known of those comes in
`Premises`. How far its verdicts can be trusted is measured by `harness.findings.verdicts.simulation`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import counted
from harness.findings.statistics import FilingSums, Interval, bca_of_sums
from harness.findings.verdicts.gate_samples import GateData, Premises
from harness.findings.verdicts.rule import (
    KINDS,
    LEAST_CLUSTERS,
    LEAST_CLUSTERS_TO_FAIL,
    LEAST_RIGHT,
    LEVEL,
    TOLERANCE,
    Estimates,
    Share,
    Sums,
    decide,
    estimate,
    holds,
    too_little,
)
from harness.findings.verdicts.verdict_data import UNKNOWN, Check, Kind, Lowest, Margins, Verdict

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


N_NAMED = 6
"""How many conditions without records a reason names, of the hundreds that a stopped run lacks."""
UNKNOWN_SPLIT = (
    "the ranking does not say which filings made it, so the evaluated ones may have: rank the heads with "
    "`retrieval-heads identify`, or vouch that they were held out with --ablation-heads-held-out"
)


def judge(data: GateData, margins: Margins, premises: Premises, *, bootstrap: bool = True) -> Verdict:
    """The verdict. `bootstrap` is whether the BCa interval is worked out; no verdict rests on it.

    The verdict of the figures is `rule.decide`'s. It is `invalid` besides where the premises do not hold, and at best
    `inconclusive` where the evaluated filings may have made the ranking.
    """
    sums = arrays(data)
    found = None if sums is None else estimate(sums)
    reasons = tuple(invalid_reasons(data, sums, found, margins, premises))
    needed = Needed()
    kind: Kind = "invalid"
    if not reasons:
        kind = "inconclusive" if sums is None or found is None else KINDS[int(decide(sums, found, margins))]
        if kind == "fail":
            reasons = (_why_fail(found, margins.margin),)
        elif kind == "pass" and premises.may_have_leaked:
            kind, reasons = "inconclusive", (UNKNOWN_SPLIT,)
        elif kind == "inconclusive":
            needed = what_would_decide(data, found, margins, premises)
            reasons = needed.reasons
    return _verdict(kind, reasons, needed, data, sums, found, margins, bootstrap=bootstrap)


def arrays(data: GateData) -> Sums | None:
    """As the rule takes them; `None` below two clusters, two controls or one permutation, or where nothing is right."""
    if len(data.clusters) < 2 or data.n_controls < 2 or data.n_permutations < 1 or data.untouched <= 0:
        return None
    import numpy as np

    def of(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array([getattr(cluster, name) for cluster in data.clusters], dtype=float)

    return Sums(of("untouched"), of("judged"), of("controls"), of("kept"), of("permutations"), of("right"))


def invalid_reasons(
    data: GateData, sums: Sums | None, found: Estimates | None, margins: Margins, premises: Premises
) -> Iterator[str]:
    """Everything that makes the comparison unsound, one sentence each."""
    if premises.missing:
        others = len(premises.missing) - N_NAMED
        more = f" and {counted(others, 'more condition')} (run.missing in the report)" if others > 0 else ""
        yield (
            f"without sound records: {', '.join(premises.missing[:N_NAMED])}{more}; run again: what is stored is not "
            "computed twice"
        )
    if not data.clusters:
        yield "no row has all the records that are compared"
    if premises.leaked_filings:
        yield (
            f"{premises.leaked_filings} of the evaluated filings also made the ranking of the heads"
            f"{premises.leaked_how}; rank on others, or leave these out"
        )
    if premises.candidates:
        yield f"control heads that are retrieval candidates themselves: {', '.join(premises.candidates)}"
    if premises.broken is not None:
        yield f"these heads break the model ({premises.broken}): what is lost is not retrieval; judge fewer heads"
    if data.clusters:
        yield from _too_little(data, margins)
    if found is not None and (low := float(found.control.bounds()[0])) > margins.flat:
        yield (
            f"the control damages the model: other heads of the same layers cost {found.control.estimate:.1%} of the "
            f"right answers, {low:.1%} at least, and at most {margins.flat:.0%} are allowed; judge fewer heads with "
            "--ablation-gate-k"
        )


def _too_little(data: GateData, margins: Margins) -> Iterator[str]:
    """Too few right answers that rest on the needle, or too small a part of them for the margin."""
    import numpy as np

    right = np.array([cluster.right for cluster in data.clusters], dtype=float)
    n, n_clusters = int(right.sum()), int((right > 0).sum())
    if too_little(right):
        yield (
            f"{counted(n, 'right answer')} in {counted(n_clusters, 'cluster')} rest on the needle (right with it, "
            f"wrong without), fewer than {LEAST_RIGHT} in {LEAST_CLUSTERS}: too little to lose; take more filings, or "
            "tasks that the model can answer and not guess"
        )
    elif n <= margins.margin * data.untouched:
        yield (
            f"{n / data.untouched:.0%} of the right answers rest on the needle: the margin of {margins.margin:.0%} "
            "can never be met by losing it; take values that cannot be guessed"
        )


def _why_fail(found: Estimates | None, margin: float) -> str:
    if found is not None and float(found.difference.bounds()[0]) > 0:
        return f"these heads matter, but by less than the margin of {margin:.0%} of the right answers"
    return f"these heads do not cost {margin:.0%} of the right answers more than other heads of the same layers"


def _checks(found: Estimates | None, margins: Margins) -> tuple[Check, Check, Check]:
    """The three conditions of `pass`, (a), (b) and (c) of `rule.holds`."""
    if found is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    above, unusual, flat = (bool(each) for each in holds(found, margins))
    low = float(found.difference.bounds()[0])
    return (
        Check(holds=above, value=low, bound=margins.margin) if math.isfinite(low) else UNKNOWN,
        Check(holds=unusual, value=float(found.rank_p), bound=LEVEL),
        Check(holds=flat, value=float(found.control.estimate), bound=margins.flat),
    )


def _verdict(
    kind: Kind,
    reasons: tuple[str, ...],
    needed: Needed,
    data: GateData,
    sums: Sums | None,
    found: Estimates | None,
    margins: Margins,
    *,
    bootstrap: bool,
) -> Verdict:
    above, unusual, flat = _checks(found, margins)
    n = data.n_rows
    controls = data.lost_to_controls() if n else ()
    mean_control = math.fsum(controls) / len(controls) if controls else None
    drop = data.lost() if n else None
    known = found is not None and math.isfinite(found.difference.standard_error)
    bootstrapped = bca(data) if bootstrap and known else None
    return Verdict(
        verdict=kind,
        reasons=reasons,
        needed_clusters=needed.clusters,
        needed_draws=needed.draws,
        n=n,
        clusters=len(data.clusters),
        right=sum(cluster.right for cluster in data.clusters),
        baseline=data.untouched / n if n else None,
        needle_absent=math.fsum(cluster.absent for cluster in data.clusters) / n if n else None,
        drop=drop,
        control_drop=mean_control,
        control_drops=controls,
        answered=data.n_answered,
        answered_drop=data.lost_of_answered() if data.n_answered else None,
        permutation_drops=data.lost_to_permutations() if data.n_answered else (),
        difference=None if drop is None or mean_control is None else drop - mean_control,
        share=float(found.difference.estimate) if found is not None else None,
        standard_error=float(found.difference.standard_error) if found is not None and known else None,
        df=float(found.difference.df) if found is not None and known else None,
        interval=_ends(found.difference.bounds()) if found is not None and known else None,
        bca=None if bootstrapped is None else bootstrapped.ends,
        control_share=float(found.control.estimate) if found is not None else None,
        control_interval=_ends(found.control.bounds()) if found is not None and known else None,
        above_margin=above,
        unusual=unusual,
        flat_control=flat,
        rank_p=float(found.rank_p) if found is not None else None,
        least_rank_p=found.least_rank_p if found is not None else None,
        lowest=_lowest(data, sums, margins),
    )


def _ends(bounds: "tuple[object, object]") -> tuple[float, float]:
    low, high = bounds
    return float(low), float(high)  # type: ignore[arg-type]  # numbers of numpy


def _lowest(data: GateData, sums: Sums | None, margins: Margins) -> Lowest | None:
    """What as many lowest-scoring heads cost, and whether (a), (b) and (c) would hold of them beside the same draws."""
    drop = data.lost_to_lowest() if data.n_rows else None
    if drop is None or sums is None:
        return None
    import numpy as np

    judged = np.array([cluster.lowest for cluster in data.clusters], dtype=float)
    kept = np.array([cluster.kept_by_lowest for cluster in data.clusters], dtype=float)
    instead = Sums(sums.untouched, judged, sums.controls, kept, sums.permutations, sums.right)
    found = estimate(instead)
    return Lowest(drop=drop, would_pass=KINDS[int(decide(instead, found, margins))] == "pass")


def bca(data: GateData) -> Interval | None:
    """The BCa interval of the difference's share over resampled clusters, the draws held fast.

    Clusters are sorted by their sums first, so that neither their names nor their order matter. `None` where a cluster
    has no right answer: then a sample of clusters may have none.
    """
    ordered = sorted(data.clusters, key=lambda c: (c.untouched, c.judged, c.controls))
    if any(cluster.untouched <= 0 for cluster in ordered):
        return None
    more = tuple(math.fsum(cluster.controls) / data.n_controls - cluster.judged for cluster in ordered)
    return bca_of_sums(FilingSums(more, tuple(cluster.untouched for cluster in ordered)), seed=0)
