"""How far a gate's verdicts can be trusted: experiments made up with a known truth, judged by `gates.judge` itself.

A cell is a truth (`Truth`) in a setting (number of filings, baseline accuracy, clustering). In each of its experiments
a filing has nine rows. It answers each untouched with a chance of its own, from a Beta distribution around the
baseline accuracy; a set of heads whose drop is x takes right answers away with a chance, again the filing's own, whose
mean makes x the expected drop. Two wrong answers in a hundred become right under any set, and as many right ones are
lost for it: ablation also stirs. Clustering is the intraclass correlation of both Beta distributions. The draws' own
drops come from a normal or a gamma distribution; the second is skewed, as where few of many heads matter.

Knows nothing of models, heads, reports or files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Literal, TypedDict

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from harness.findings.verdicts.gates import FilingCounts, GateData, Margins, Premises, judge

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

EXPERIMENTS = 2_000
N_DRAWS = 5
ROWS_A_FILING = 9
STIR = 0.02
"""The part of the wrong answers that any set of heads makes right."""
RANDOM_DROP = 0.03
"""What random heads cost in the mean."""
MARGINS = Margins()
FILINGS = (5, 10, 20, 50, 100)
BASELINES = (0.7, 0.95)
CLUSTERINGS = (0.0, 0.2, 0.6)
SDS = (0.02, 0.05, 0.10, 0.15)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of the heads: how much more they cost than random ones do, and how far random ones differ.

    An `effect` of `None`: the "retrieval" heads are one more random draw.
    """

    name: Literal["no effect", "at the margin", "one more draw", "effect"]
    effect: float | None
    draw_sd: float
    draws: Literal["normal", "skewed"] = "normal"


TRUTHS = (
    Truth("no effect", 0.0, 0.0),
    *(Truth("at the margin", MARGINS.margin, sd) for sd in (0.0, 0.02, 0.05)),
    *(Truth("one more draw", None, sd) for sd in SDS),
    *(Truth("one more draw", None, sd, "skewed") for sd in SDS),
    *(Truth("effect", effect, 0.02) for effect in (0.2, 0.3, 0.5)),
)


class Cell(TypedDict):
    """A truth in a setting, and how many of its experiments ended with which verdict."""

    truth: dict[str, str | float | None]
    filings: int
    baseline: float
    clustering: float
    verdicts: dict[str, int]


class Simulation(TypedDict):
    """All cells, and what they share."""

    schema_version: int
    seed: int
    experiments: int
    draws: int
    rows_a_filing: int
    margins: dict[str, float]
    cells: list[Cell]


def simulate(*, experiments: int = EXPERIMENTS, seed: int = 0, filings: Sequence[int] = FILINGS) -> Simulation:
    """Every truth in every setting. Each cell has a random generator of its own."""
    return {
        "schema_version": 1,
        "seed": seed,
        "experiments": experiments,
        "draws": N_DRAWS,
        "rows_a_filing": ROWS_A_FILING,
        "margins": asdict(MARGINS),
        "cells": list(_cells(experiments, seed, filings)),
    }


def _cells(experiments: int, seed: int, filings: Sequence[int]) -> Iterator[Cell]:
    for place, (truth, baseline, clustering, n) in enumerate(product(TRUTHS, BASELINES, CLUSTERINGS, filings)):
        generator = np.random.default_rng([seed, place])
        made = make_experiments(truth, n, baseline, clustering, experiments=experiments, generator=generator)
        verdicts = Counter(judge(data, MARGINS, Premises(), bootstrap=False).kind for data in made)
        yield {
            "truth": asdict(truth),
            "filings": n,
            "baseline": baseline,
            "clustering": clustering,
            "verdicts": {kind: verdicts[kind] for kind in ("pass", "fail", "inconclusive", "invalid")},
        }


def make_experiments(
    truth: Truth, n_filings: int, baseline: float, clustering: float, *, experiments: int, generator: Generator
) -> Iterator[GateData]:
    """Experiments in which this is true, made up together."""
    chances = _around(np.full((experiments, n_filings, 1), baseline), clustering, generator)
    right = generator.binomial(ROWS_A_FILING, chances)  # (experiments, filings, 1)
    drops = set_drops(truth, experiments, generator)  # (experiments, 1 + draws)
    kept = _matches(right, drops, baseline, clustering, generator)  # (experiments, filings, 1 + draws)
    for before, after in zip(right[:, :, 0].tolist(), kept.tolist(), strict=True):
        rows = (
            FilingCounts(ROWS_A_FILING, n_right, heads, 0, tuple(draws))
            for n_right, (heads, *draws) in zip(before, after, strict=True)
        )
        yield GateData(N_DRAWS, tuple(rows))


def set_drops(truth: Truth, experiments: int, generator: Generator) -> Array:
    """True drops of the retrieval heads and of each draw: (experiments, 1 + draws)."""
    shape, sd = (experiments, 1 + N_DRAWS), truth.draw_sd
    if sd == 0:
        drops = np.full(shape, RANDOM_DROP)
    elif truth.draws == "normal":
        drops = generator.normal(RANDOM_DROP, sd, shape)
    else:
        drops = generator.gamma((RANDOM_DROP / sd) ** 2, sd**2 / RANDOM_DROP, shape)
    if truth.effect is not None:
        drops[:, 0] = RANDOM_DROP + truth.effect
    return drops


def _matches(right: Counts, drops: Array, baseline: float, clustering: float, generator: Generator) -> Counts:
    """Right answers of each filing under each set: (experiments, filings, 1 + draws)."""
    sets = drops[:, None, :]
    shape = (*right.shape[:2], drops.shape[1])
    gain = np.clip(STIR + np.maximum(-sets, 0) / (1 - baseline), 0, 1)
    loss = np.clip((STIR * (1 - baseline) + np.maximum(sets, 0)) / baseline, 0, 1)
    lost = generator.binomial(right, _around(np.broadcast_to(loss, shape), clustering, generator))
    gained = generator.binomial(ROWS_A_FILING - right, np.broadcast_to(gain, shape))
    return right - lost + gained


def _around(means: Array, clustering: float, generator: Generator) -> Array:
    """Chances with these means whose intraclass correlation is `clustering`: Beta distributed."""
    if clustering == 0:
        return means
    size = (1 - clustering) / clustering
    inside = np.clip(means, 1e-9, 1 - 1e-9)
    return generator.beta(inside * size, (1 - inside) * size)
