"""Gates: from matches, paired row by row and gathered by filing, to a verdict on a set of retrieval heads.

R is the drop that the retrieval heads cause, C_1 to C_D what as many random heads cause, drawn D times. A gate
passes where R exceeds the mean of C by more than a margin, R lies outside what another draw would give, and the
draws themselves cost next to nothing. Whatever makes the comparison unsound is looked for first: then the verdict
is `invalid`, whatever the figures say.

Pure functions over counts. Knows nothing of heads, conditions, records or reports; what has to be known of those
comes in `Premises`. How far its verdicts can be trusted is measured by `harness.findings.verdicts.simulation`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.counting import counted
from harness.findings.statistics import (
    ClusterMean,
    FilingSums,
    Interval,
    bca_of_sums,
    mean_of_sums,
    t_quantile,
    variance,
)
from harness.findings.verdicts.gate_advice import Needed, what_would_decide
from harness.findings.verdicts.verdict_data import UNKNOWN, Check, Kind, Margins, Verdict

LEAST_FILINGS = 10
"""With fewer filings than this nothing is decided."""
LEAST_FILINGS_TO_FAIL = 20
"""With fewer filings than this a gate does not fail: too little power to find an effect that is there."""
UNKNOWN_SPLIT = (
    "the ranking does not say which filings made it, so the evaluated ones may have: rank the heads with "
    "`retrieval-heads identify`, or vouch that they were held out with --ablation-heads-held-out"
)
N_NAMED = 6
"""How many conditions without records a reason names, of the hundreds that a stopped run lacks."""


@dataclass(frozen=True, slots=True)
class FilingCounts:
    """How many of one filing's `n` rows match: untouched, under the retrieval heads, with the needle left out
    (`absent`), and under each random draw. All on the same rows."""

    n: int
    baseline: int
    retrieval: int
    absent: int
    draws: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GateData:
    """The filings' counts, with as many draws in each as `n_draws` says."""

    n_draws: int
    filings: tuple[FilingCounts, ...]

    @property
    def n_rows(self) -> int:
        """Rows of all filings."""
        return sum(filing.n for filing in self.filings)


@dataclass(frozen=True, slots=True)
class Premises:
    """What must hold for the counts to say anything.

    missing: conditions that lack sound records, each with how many. candidates: control heads that are some task's
    candidates. leaked_filings: evaluated filings that also made the ranking, `None` where that is unknown; how they
    were known. held_out: the user vouches that none did, where that is unknown.
    """

    missing: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    leaked_filings: int | None = None
    leaked_how: str = ""
    held_out: bool = False

    @property
    def may_have_leaked(self) -> bool:
        """Whether nobody knows, or vouches, that the evaluated filings did not make the ranking."""
        return self.leaked_filings is None and not self.held_out


@dataclass(frozen=True, slots=True)
class Drops:
    """The pooled drops, and the two means over filings that a verdict rests on."""

    retrieval: float
    draws: tuple[float, ...]
    difference: ClusterMean | None
    random: ClusterMean | None

    @property
    def mean_draw(self) -> float | None:
        """The draws' mean."""
        return math.fsum(self.draws) / len(self.draws) if self.draws else None


def measure(data: GateData) -> Drops | None:
    """The drops, and the retrieval heads' less the draws' mean with its standard error; `None` without rows.

    The difference's SE^2 is that of the filings + s^2(draws) / D, with Satterthwaite's degrees of freedom
    (`clusters.cluster_mean`); so is that of the draws' mean drop. Both are `None` below two filings or two draws.
    """
    n, d = data.n_rows, data.n_draws
    if n == 0:
        return None
    filings = data.filings
    baseline = sum(filing.baseline for filing in filings)
    draws = tuple((baseline - sum(filing.draws[i] for filing in filings)) / n for i in range(d))
    counts = tuple(filing.n for filing in filings)
    difference = random = None
    if d > 1:
        more = FilingSums(tuple(sum(f.draws) / d - f.retrieval for f in filings), counts)
        cost = FilingSums(tuple(f.baseline - sum(f.draws) / d for f in filings), counts)
        difference, random = mean_of_sums(more, draws=draws), mean_of_sums(cost, draws=draws)
    return Drops((baseline - sum(filing.retrieval for filing in filings)) / n, draws, difference, random)


def judge(data: GateData, margins: Margins, premises: Premises, *, bootstrap: bool = True) -> Verdict:
    """The verdict. `bootstrap` is whether the BCa interval is worked out; no verdict rests on it.

    `pass` needs all of
    (a) the lower end of the difference's 95 % t interval above the margin;
    (b) R > mean(C) + t(.95, D - 1) x s x sqrt(1 + 1 / D): the upper end of what one more draw would give;
    (c) the upper end of the draws' mean drop at most `flat`.
    `fail`: the interval's upper end is below the margin, with 20 filings at least. Else `inconclusive`, as with fewer
    than 10 filings or fewer than two draws.
    """
    found = measure(data)
    above, outside, flat = checks(found, margins)
    n_filings = len(data.filings)
    reasons = tuple(invalid_reasons(data, found, margins, premises))
    needed = Needed()
    kind: Kind = "invalid"
    if not reasons and found is not None:
        kind = _kind(found, n_filings, margins.margin, all(check.holds for check in (above, outside, flat)))
        if kind == "fail":
            reasons = (_why_fail(found, margins.margin),)
        elif kind == "pass" and premises.may_have_leaked:
            kind, reasons = "inconclusive", (UNKNOWN_SPLIT,)
        elif kind == "inconclusive":
            needed = what_would_decide(
                found.difference,
                found.random,
                found.draws,
                drop=found.retrieval,
                bounds=(margins.margin, margins.flat),
                least_filings=(n_filings, LEAST_FILINGS, LEAST_FILINGS_TO_FAIL),
            )
            reasons = needed.reasons
    return _verdict(kind, reasons, needed, data, found, (above, outside, flat), bootstrap=bootstrap)


def checks(found: Drops | None, margins: Margins) -> tuple[Check, Check, Check]:
    """The three conditions of `pass`, (a), (b) and (c) of `judge`."""
    if found is None or found.difference is None or found.random is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    low, high = found.difference.interval().low, found.random.interval().high
    d = len(found.draws)
    reach = t_quantile(0.95, d - 1) * math.sqrt(variance(found.draws) * (1 + 1 / d))
    next_draw = math.fsum(found.draws) / d + reach
    return (
        Check(holds=low > margins.margin, value=low, bound=margins.margin),
        Check(holds=found.retrieval > next_draw, value=found.retrieval, bound=next_draw),
        Check(holds=high <= margins.flat, value=high, bound=margins.flat),
    )


def invalid_reasons(data: GateData, found: Drops | None, margins: Margins, premises: Premises) -> Iterator[str]:
    """Everything that makes the comparison unsound, one sentence each."""
    if premises.missing:
        others = len(premises.missing) - N_NAMED
        more = f" and {counted(others, 'more condition')} (run.missing in the report)" if others > 0 else ""
        yield (
            f"without sound records: {', '.join(premises.missing[:N_NAMED])}{more}; run again: what is stored is not "
            "computed twice"
        )
    if found is None:
        yield "no row has all the records that are compared"
    if premises.leaked_filings:
        yield (
            f"{premises.leaked_filings} of the evaluated filings also made the ranking of the heads"
            f"{premises.leaked_how}; rank on others, or leave these out"
        )
    if premises.candidates:
        yield f"control heads that are retrieval candidates themselves: {', '.join(premises.candidates)}"
    if found is None:
        return
    yield from _weak_baseline(data, margins)
    yield from _damaging_control(found, margins)


def _weak_baseline(data: GateData, margins: Margins) -> Iterator[str]:
    """Too little accuracy to lose, or too much of it that needs no needle."""
    baseline = sum(filing.baseline for filing in data.filings) / data.n_rows
    absent = sum(filing.absent for filing in data.filings) / data.n_rows
    if baseline < margins.floor:
        yield (
            f"the untouched model answers {baseline:.1%}, less than {100 * margins.floor:g}%: too little to lose; take "
            "tasks that it can answer"
        )
    if baseline - absent < 2 * margins.margin:
        yield (
            f"the untouched model answers {baseline:.1%}, and {absent:.1%} with the needle left out: less than "
            f"{200 * margins.margin:g} points (twice the margin) rest on the needle; take "
            "values that cannot be guessed"
        )


def _damaging_control(found: Drops, margins: Margins) -> Iterator[str]:
    if found.random is not None and (low := found.random.interval().low) > margins.flat:
        yield (
            f"the control damages the model: random heads cost {100 * found.random.estimate:.1f} points, "
            f"{100 * low:.1f} at least, and at most {100 * margins.flat:g} are allowed; judge fewer heads with "
            "--ablation-gate-k"
        )


def _kind(found: Drops, n_filings: int, margin: float, all_hold: bool) -> Kind:
    if n_filings < LEAST_FILINGS or found.difference is None:
        return "inconclusive"
    if all_hold:
        return "pass"
    if n_filings >= LEAST_FILINGS_TO_FAIL and found.difference.interval().high < margin:
        return "fail"
    return "inconclusive"


def _why_fail(found: Drops, margin: float) -> str:
    if found.difference is not None and found.difference.interval().low > 0:
        return f"these heads matter, but by less than the margin of {100 * margin:g} points"
    return f"these heads cost no {100 * margin:g} points more than random ones"


def _verdict(
    kind: Kind,
    reasons: tuple[str, ...],
    needed: Needed,
    data: GateData,
    found: Drops | None,
    held: tuple[Check, Check, Check],
    *,
    bootstrap: bool,
) -> Verdict:
    above, outside, flat = held
    n, draws = data.n_rows, () if found is None else found.draws
    difference, random = (None, None) if found is None else (found.difference, found.random)
    drop = None if found is None else found.retrieval
    mean_draw = None if found is None else found.mean_draw
    bootstrapped = bca(data) if bootstrap else None
    return Verdict(
        verdict=kind,
        reasons=reasons,
        needed_filings=needed.filings,
        needed_draws=needed.draws,
        n=n,
        filings=len(data.filings),
        baseline=sum(filing.baseline for filing in data.filings) / n if n else None,
        needle_absent=sum(filing.absent for filing in data.filings) / n if n else None,
        drop=drop,
        random_drop=mean_draw,
        random_interval=None if random is None else random.interval().ends,
        draw_drops=draws,
        draw_sd=math.sqrt(variance(draws)) if len(draws) > 1 else None,
        difference=None if drop is None or mean_draw is None else drop - mean_draw,
        standard_error=None if difference is None else difference.standard_error,
        df=None if difference is None else difference.df,
        interval=None if difference is None else difference.interval().ends,
        bca=None if bootstrapped is None else bootstrapped.ends,
        above_margin=above,
        outside_draws=outside,
        flat_control=flat,
        rank_p=rank_p(drop, draws) if drop is not None and draws else None,
        least_rank_p=1 / (len(draws) + 1) if draws else None,
    )


def rank_p(drop: float, draws: Sequence[float]) -> float:
    """(1 + draws that cost at least as much) / (D + 1).

    Source: B. Phipson and G. K. Smyth (2010), Permutation p-values should never be zero, Statistical Applications in
    Genetics and Molecular Biology 9, article 39.
    """
    return (1 + sum(other >= drop for other in draws)) / (len(draws) + 1)


def bca(data: GateData) -> Interval | None:
    """The BCa interval of the difference over resampled filings, the draws held fast; `None` without draws.

    Filings are sorted by their counts first, so that neither their names nor their order matter.
    """
    if data.n_draws == 0 or not data.filings:
        return None
    ordered = sorted(data.filings, key=lambda f: (f.n, f.baseline, f.retrieval, f.absent, f.draws))
    sums = tuple(sum(filing.draws) / data.n_draws - filing.retrieval for filing in ordered)
    return bca_of_sums(FilingSums(sums, tuple(filing.n for filing in ordered)), seed=0)
