"""What would decide an undecided gate: more filings, more random draws, or nothing in reach.

The figures assume that estimates and spreads stay what they are today; they are a plan, not a promise. Knows
nothing of gates' conditions, records or reports.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.counting import counted
from harness.findings.statistics import ClusterMean, t_quantile, variance

REACH = 1.96 + 0.84
"""Standard errors between estimate and margin at which a two-sided 95 % interval excludes the margin in four
experiments of five."""
FAR = 10
"""More than this many times today's filings or draws is not worth asking for."""
ENOUGH_DRAWS = 5
STAYS = "if estimate and spread stay"
DRAWS = "--ablation-random-draws"


@dataclass(frozen=True, slots=True)
class Needed:
    """The filings or draws, in all, that would decide; `reasons` say why nothing is decided yet, and what to do."""

    filings: int | None = None
    draws: int | None = None
    reasons: tuple[str, ...] = ()


def what_would_decide(  # the two means, the draws' drops, the retrieval heads' drop, and what they are held against
    difference: ClusterMean | None,
    random: ClusterMean | None,
    draws: Sequence[float],
    *,
    drop: float,
    bounds: tuple[float, float],
    least_filings: tuple[int, int, int],
) -> Needed:
    """What an undecided gate needs.

    bounds: the margin, and how much the draws may cost. least_filings: how many filings there are, how many any
    verdict needs, and how many `fail` needs.

    Filings: ((1.96 + 0.84) x SD of a filing / (estimate - bound))^2, where the filings' share of the standard error
    is the larger one; else draws, in the same way from their own SD.
    """
    margin, flat = bounds
    n_filings, least, least_to_fail = least_filings
    parts: list[Needed] = []
    if len(draws) < 2:
        few = counted(len(draws), "random draw")
        text = f"{few}: how far draws differ is unknown; ask for {ENOUGH_DRAWS} or more with {DRAWS}"
        parts.append(Needed(draws=ENOUGH_DRAWS, reasons=(text,)))
    if n_filings < least:
        text = f"{counted(n_filings, 'filing')}: fewer than {least} decide nothing; give {least} or more"
        parts.append(Needed(filings=least, reasons=(text,)))
    if difference is not None and random is not None:
        interval = difference.interval()
        if interval.low <= margin <= interval.high:
            what = f"the interval of the difference holds the margin of {100 * margin:g} points"
            parts.append(_more_of(difference, len(draws), margin, what))
        elif interval.high < margin and n_filings < least_to_fail:
            text = f"the difference is below the margin, but {n_filings} filings are too few to fail on"
            parts.append(Needed(filings=least_to_fail, reasons=(text,)))
        if interval.low > margin:
            parts.extend(_inside_draws(drop, draws))
            parts.extend(_not_flat(random, len(draws), flat))
    return Needed(
        filings=max((part.filings for part in parts if part.filings is not None), default=None),
        draws=max((part.draws for part in parts if part.draws is not None), default=None),
        reasons=tuple(reason for part in parts for reason in part.reasons),
    )


def _more_of(mean: ClusterMean, n_draws: int, bound: float, what: str) -> Needed:
    """Filings or draws, whichever share of the standard error is larger, that part the estimate from the bound."""
    by_draws = mean.draws_variance > mean.filings_variance
    today, share = (n_draws, mean.draws_variance) if by_draws else (mean.n_filings, mean.filings_variance)
    sd, distance = math.sqrt(share * today), abs(mean.estimate - bound)
    if distance == 0 or (REACH * sd / distance) ** 2 > FAR * today:
        too_few = f"{FAR} times as many {'random draws' if by_draws else 'filings'} would not decide"
        return Needed(reasons=(f"{what}: the estimate is too close to that, {too_few}",))
    enough = max(today + 1, math.ceil((REACH * sd / distance) ** 2))
    thing = f"random draws ({DRAWS})" if by_draws else "filings"
    reasons = (f"{what}: about {enough} {thing} would decide, {STAYS}",)
    return Needed(draws=enough, reasons=reasons) if by_draws else Needed(filings=enough, reasons=reasons)


def _inside_draws(drop: float, draws: Sequence[float]) -> Iterator[Needed]:
    """Where the retrieval heads' drop is one that a random draw might give."""
    mean, sd = math.fsum(draws) / len(draws), math.sqrt(variance(draws))

    def is_outside(n: int) -> bool:
        return drop > mean + t_quantile(0.95, n - 1) * sd * math.sqrt(1 + 1 / n)

    if is_outside(len(draws)):
        return
    what = "the drop lies within what one more random draw would give"
    enough = next((n for n in range(len(draws) + 1, FAR * len(draws) + 1) if is_outside(n)), None)
    if enough is None:
        yield Needed(reasons=(f"{what}, and would with {FAR} times the draws",))
    else:
        yield Needed(draws=enough, reasons=(f"{what}: about {enough} random draws ({DRAWS}) would decide, {STAYS}",))


def _not_flat(random: ClusterMean, n_draws: int, flat: float) -> Iterator[Needed]:
    """Where the draws may cost more than is allowed."""
    if random.interval().high <= flat:
        return
    what = f"random heads may cost more than {100 * flat:g} points"
    if random.estimate >= flat:
        yield Needed(reasons=(f"{what}, {100 * random.estimate:.1f} by the estimate: the control is not flat",))
    else:
        yield _more_of(random, n_draws, flat, what)
