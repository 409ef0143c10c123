"""How far a gate's verdicts can be trusted: experiments made up with a known truth, judged by the rule itself (`rule`).

A cell is a world (`worlds`) in a setting: clusters, their sizes, the untouched accuracy, clustering. In each of its
experiments the untouched model gets rows right with that accuracy; a set of heads whose cost is x takes a right answer
away with the chance x. Two wrong answers in a hundred become right under any set, and as many right ones are lost for
it: ablation also stirs. Clustering is the intraclass correlation of rows of one cluster, of untouched answers and of
losses alike: with the square root of it as chance a row goes with its cluster, else by itself. Each cell has a random
generator of its own, so that cells may be shared out among processes.

Beside the rule stands that of version 0.1.0, judging the same experiments. Knows nothing of models, reports or files.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, product
from typing import Literal, TypedDict

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from harness.findings.verdicts.rule import (
    KINDS,
    LEAST_CLUSTERS,
    LEAST_CLUSTERS_TO_FAIL,
    Sums,
    decide,
    estimate,
    holds,
)
from harness.findings.verdicts.verdict_data import Kind, Margins
from harness.findings.verdicts.worlds import MARGIN, N_DRAWS, Draws, Heads, Lists, World

Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Rows = Literal["even", "uneven"]

N_EXPERIMENTS = 2_000
ROWS_A_CLUSTER = 9
STIR = 0.02
"""The part of the wrong answers that any set of heads makes right."""
MARGINS = Margins(margin=MARGIN, flat=MARGIN)
EARLIER_DRAWS = 5
"""Of controls, of which the rule of version 0.1.0 had no more."""
EARLIER_FLOOR = 0.5
"""Below this accuracy it judged nothing."""
CELLS_AT_ONCE = 6_000_000
"""Random numbers that are held at once, about."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What evaluation is like: `rows` are nine in each cluster, or 30, 14, 9, ... 2."""

    clusters: int
    rows: Rows
    accuracy: float
    clustering: float

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each cluster."""
        if self.rows == "even":
            return np.full(self.clusters, ROWS_A_CLUSTER)
        return np.maximum(2, np.round(30 / np.arange(1, self.clusters + 1) ** 1.1)).astype(np.int64)


class Cell(TypedDict):
    """A world in a setting, how its experiments ended by the rule and by 0.1.0's, and how often (a), (b), (c) held."""

    world: str
    truth: dict[str, str | float | bool | None]
    setting: dict[str, str | float]
    verdicts: dict[Kind, int]
    earlier: dict[Kind, int]
    above_margin: int
    unusual: int
    flat: int


class Simulation(TypedDict):
    """All cells, and what they share."""

    schema_version: int
    seed: int
    experiments: int
    draws: int
    rows_a_cluster: int
    margins: dict[str, float]
    cells: list[Cell]


DRAWN: tuple[Draws, ...] = (
    Draws("no effect"),
    Draws("at the margin", effect=MARGIN),
    Draws("at the margin", "normal", 0.02, MARGIN),
    Draws("at the margin", "normal", 0.05, MARGIN),
    Draws("at the margin", "gamma", 0.05, MARGIN),
    Draws("at the margin", "left-skewed", 0.05, MARGIN),
    Draws("at the margin", "rare", effect=MARGIN),
    *(Draws("exchangeable", "normal", sd) for sd in (0.02, 0.05, 0.10, 0.15)),
    *(Draws("exchangeable", "gamma", sd) for sd in (0.02, 0.05, 0.10, 0.15)),
    *(Draws("exchangeable", "left-skewed", sd) for sd in (0.05, 0.15)),
    Draws("exchangeable", "rare"),
)
SHAPES = ((8, 16), (30, 9), (32, 32))
LISTS: tuple[Lists, ...] = ("identical", "disjoint")
EFFECTS = (0.2, 0.3, 0.5)
ACCURACIES = (0.2, 0.7, 0.95)
SIZES: tuple[Rows, ...] = ("even", "uneven")


def worlds_of_heads() -> Iterator[Heads]:
    """Every truth in every shape, with lists that are the same for all tasks and lists that share nothing."""
    for (layers, heads), lists in product(SHAPES, LISTS):
        any_heads = Heads("exchangeable", layers, heads, lists)
        at_margin = replace(any_heads, kind="at the margin")
        needed = replace(any_heads, kind="effect")
        yield from (replace(any_heads, one_in=n) for n in (60, 100, 120))
        yield replace(any_heads, law="gamma", sd=0.05)
        yield replace(at_margin, law="gamma", sd=0.05)
        yield replace(at_margin, one_in=100)
        yield from (replace(needed, law="normal", sd=0.02, effect=effect) for effect in EFFECTS)
        yield from (replace(needed, law="gamma", sd=0.05, effect=effect) for effect in EFFECTS)
        yield replace(needed, law="normal", sd=0.02, effect=0.5, by_one_head=True)


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell before its experiments; `number` is its place in the whole simulation, which seeds its generator."""

    number: int
    world: World
    setting: Setting


def plan(every: int = 1, *, only_effects: bool = False) -> tuple[Planned, ...]:
    """The whole simulation's cells, in order, or every so many of them; or those alone where there is an effect."""
    of_draws = (Setting(*each) for each in product((10, 20, 50, 100), SIZES, ACCURACIES, (0.0, 0.2, 0.8)))
    of_heads = (Setting(n, "even", *each) for n, *each in product((20, 50), ACCURACIES, (0.0, 0.2)))
    pairs: Iterator[tuple[World, Setting]] = chain(product(DRAWN, of_draws), product(worlds_of_heads(), of_heads))
    cells = (Planned(number, world, setting) for number, (world, setting) in enumerate(pairs))
    return tuple(cell for cell in cells if not only_effects or cell.world.kind == "effect")[::every]


def simulate(
    cells: Sequence[Planned],
    *,
    experiments: int = N_EXPERIMENTS,
    seed: int = 0,
    processes: int = 1,
    draws: int = N_DRAWS,
) -> Simulation:
    """Every cell's experiments, with so many draws; the same for any number of processes."""
    work = partial(simulate_cell, experiments=experiments, seed=seed, draws=draws)
    if processes == 1:
        found = list(map(work, cells))
    else:
        with ProcessPoolExecutor(processes) as pool:
            found = list(pool.map(work, cells, chunksize=12))
    return {
        "schema_version": 2,
        "seed": seed,
        "experiments": experiments,
        "draws": draws,
        "rows_a_cluster": ROWS_A_CLUSTER,
        "margins": MARGINS.model_dump(),
        "cells": found,
    }


def simulate_cell(cell: Planned, *, experiments: int, seed: int, draws: int = N_DRAWS) -> Cell:
    """One cell's experiments, some at once."""
    world, setting = cell.world, cell.setting
    generator = np.random.default_rng([seed, cell.number])
    sets = 1 + 2 * draws
    at_once = max(1, CELLS_AT_ONCE // (int(setting.sizes.sum()) * sets))
    new, old = np.zeros(len(KINDS), dtype=int), np.zeros(len(KINDS), dtype=int)
    held = np.zeros(3, dtype=int)
    costs = world.costs(experiments, generator, draws)
    for start in range(0, experiments, at_once):
        sums = make_sums(costs[start : start + at_once], setting, generator)
        rows = np.broadcast_to(setting.sizes.astype(float), sums.untouched.shape)
        with np.errstate(invalid="ignore"):  # where nothing is right, nothing is a number, and the verdict invalid
            found = estimate(sums)
            new += np.bincount(decide(sums, found, MARGINS), minlength=len(KINDS))
            old += np.bincount(decide_as_before(rows, sums.untouched, sums.judged, sums.controls), minlength=len(KINDS))
            held += [int(each.sum()) for each in holds(found, MARGINS)]
    above, unusual, flat = held.tolist()
    return {
        "world": "draws" if isinstance(world, Draws) else "heads",
        "truth": asdict(world),
        "setting": asdict(setting),
        "verdicts": dict(zip(KINDS, new.tolist(), strict=True)),
        "earlier": dict(zip(KINDS, old.tolist(), strict=True)),
        "above_margin": above,
        "unusual": unusual,
        "flat": flat,
    }


def make_sums(costs: NDArray[np.float64], setting: Setting, generator: Generator) -> Sums:
    """Right answers by cluster of experiments in which sets have these costs: (experiments, sets, tasks).

    Rows of a cluster belong to the tasks in turn.
    """
    sizes, accuracy, draws = setting.sizes, setting.accuracy, costs.shape[1] // 2
    tasks = np.concatenate([np.arange(n) % costs.shape[-1] for n in sizes])  # (rows,)
    loss = np.clip(STIR * (1 - accuracy) / accuracy + np.maximum(costs, 0), 0, 1).astype(np.float32)
    gain = np.clip(STIR + np.maximum(-costs, 0) * accuracy / (1 - accuracy), 0, 1).astype(np.float32)
    loss, gain = (each.transpose(0, 2, 1)[:, tasks] for each in (loss, gain))  # (experiments, rows, sets)
    right = _uniforms((len(costs), len(tasks), 1), setting, generator) < accuracy
    luck = _uniforms(loss.shape, setting, generator)
    after = np.where(right, luck >= loss, luck < gain)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def by_cluster(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(rows, starts, axis=1, dtype=float))

    untouched = by_cluster(right[..., 0])
    return Sums(
        untouched=untouched,
        judged=by_cluster(after[..., 0]),
        controls=by_cluster(after[..., 1 : 1 + draws]),
        kept=by_cluster(after[..., 0] & right[..., 0]),
        permutations=by_cluster(after[..., 1 + draws :] & right),
        right=untouched,
    )


def _uniforms(shape: tuple[int, ...], setting: Setting, generator: Generator) -> Floats:
    """Uniform numbers (experiments, rows, sets), in which rows of a cluster share one as often as clustering says."""
    own = generator.random(shape, dtype=np.float32)
    if setting.clustering == 0:
        return own
    of_cluster = generator.random((shape[0], setting.clusters, shape[2]), dtype=np.float32)
    together = generator.random(shape, dtype=np.float32) < setting.clustering**0.5
    return np.where(together, np.repeat(of_cluster, setting.sizes, axis=1), own)


def decide_as_before(
    rows: Array,
    untouched: Array,
    judged: Array,
    controls: Array,
) -> NDArray[np.int64]:
    """The verdicts of version 0.1.0, as indices into `KINDS`, to compare the present ones with.

    `pass` needed (a) the t interval of the judged heads' drop less the mean of five controls' above ten points; (b)
    the judged drop above the upper end of what one more draw would give, as if draws were normal; (c) the upper end of
    the controls' mean drop at most ten points. Drops are points of all rows. Below an accuracy of one half, or with
    less than twice the margin resting on the needle, it was `invalid`.

    rows, untouched, judged: (..., clusters); controls: (..., clusters, draws), of which the first five are taken.
    Nothing is right without the needle.
    """
    from scipy.special import stdtrit

    controls = controls[..., :EARLIER_DRAWS]
    n, groups = rows.sum(axis=-1), untouched.shape[-1]
    accuracy = untouched.sum(axis=-1) / n
    drop = (untouched - judged).sum(axis=-1) / n
    drops = (untouched.sum(axis=-1)[..., None] - controls.sum(axis=-2)) / n[..., None]
    of_draws = drops.var(axis=-1, ddof=1)

    def interval(values: Array) -> tuple[Array, Array]:
        mean = values.sum(axis=-1) / n
        residuals = values - mean[..., None] * rows
        clusters = groups / (groups - 1) * (residuals**2).sum(axis=-1) / n**2
        both = clusters + of_draws / EARLIER_DRAWS
        with np.errstate(invalid="ignore"):
            df = both**2 / (clusters**2 / (groups - 1) + (of_draws / EARLIER_DRAWS) ** 2 / (EARLIER_DRAWS - 1))
        reach = stdtrit(np.where(np.isfinite(df), df, groups - 1.0), 0.975) * np.sqrt(both)
        return mean - reach, mean + reach

    low, high = interval(controls.mean(axis=-1) - judged)
    control_low, control_high = interval(untouched - controls.mean(axis=-1))
    next_draw = drops.mean(axis=-1) + stdtrit(EARLIER_DRAWS - 1.0, 0.95) * np.sqrt(of_draws * (1 + 1 / EARLIER_DRAWS))
    unsound = (accuracy < EARLIER_FLOOR) | (accuracy < 2 * MARGIN) | (control_low > MARGIN)
    passes = (low > MARGIN) & (drop > next_draw) & (control_high <= MARGIN) & (groups >= LEAST_CLUSTERS)
    fails = (high < MARGIN) & (groups >= LEAST_CLUSTERS_TO_FAIL)
    return np.select([unsound, passes, fails], [KINDS.index("invalid"), 0, 1], default=KINDS.index("inconclusive"))
