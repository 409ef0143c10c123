"""Made-up experiments: as true as they say, the same with the same seed, and written with their figure."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.findings.verdicts.gates import measure
from harness.findings.verdicts.simulation import (
    CLUSTERINGS,
    N_DRAWS,
    RANDOM_DROP,
    ROWS_A_FILING,
    TRUTHS,
    Truth,
    make_experiments,
    set_drops,
    simulate,
)

COMMITTED = Path(__file__).parents[3] / "reports" / "gate_simulation" / "simulation.json"


@pytest.mark.parametrize("clustering", CLUSTERINGS)
@pytest.mark.parametrize("baseline", [0.7, 0.95])
def test_the_drops_are_the_true_ones_in_the_mean(baseline: float, clustering: float) -> None:
    truth = Truth("effect", 0.3, 0.0)
    made = make_experiments(truth, 50, baseline, clustering, experiments=200, generator=np.random.default_rng(1))
    found = [(data, measure(data)) for data in made]
    assert len(found) == 200
    assert all(data.n_rows == 50 * ROWS_A_FILING for data, _ in found)
    drops = [drop for _, drop in found if drop is not None]
    assert np.mean([drop.retrieval for drop in drops]) == pytest.approx(RANDOM_DROP + 0.3, abs=0.01)
    assert np.mean([drop.draws for drop in drops]) == pytest.approx(RANDOM_DROP, abs=0.01)
    right = [sum(filing.baseline for filing in data.filings) / data.n_rows for data, _ in found]
    assert np.mean(right) == pytest.approx(baseline, abs=0.01)


def test_stirring_costs_nothing_in_the_mean() -> None:
    """Two wrong answers in a hundred become right, 0.6 of all rows in a hundred; as many are lost for it."""
    made = make_experiments(TRUTHS[0], 50, 0.7, 0.0, experiments=1000, generator=np.random.default_rng(5))
    drops = [drop.draws for data in made if (drop := measure(data)) is not None]
    assert np.mean(drops) == pytest.approx(RANDOM_DROP, abs=0.003)


def test_clustering_is_the_intraclass_correlation() -> None:
    """Of nine rows' matches in a filing: variance of the sum = 9 p (1 - p) (1 + 8 rho)."""
    data = next(make_experiments(TRUTHS[0], 20_000, 0.7, 0.2, experiments=1, generator=np.random.default_rng(2)))
    sums = [filing.baseline for filing in data.filings]
    assert np.var(sums) == pytest.approx(9 * 0.7 * 0.3 * (1 + 8 * 0.2), rel=0.03)


@pytest.mark.parametrize("truth", [truth for truth in TRUTHS if truth.effect is None], ids=str)
def test_a_further_draw_is_like_the_others(truth: Truth) -> None:
    drops = set_drops(truth, 20_000, np.random.default_rng(3))
    assert drops.shape == (20_000, 1 + N_DRAWS)
    assert drops.mean(axis=0) == pytest.approx(RANDOM_DROP, abs=0.005)
    assert drops.std(axis=0) == pytest.approx(truth.draw_sd, rel=0.06)


def test_the_same_seed_gives_the_same_verdicts() -> None:
    once = simulate(experiments=5, seed=4, filings=(10, 20))
    assert simulate(experiments=5, seed=4, filings=(10, 20)) == once
    assert simulate(experiments=5, seed=5, filings=(10, 20)) != once
    assert len(once["cells"]) == len(TRUTHS) * 2 * len(CLUSTERINGS) * 2
    assert all(sum(cell["verdicts"].values()) == 5 for cell in once["cells"])


def test_the_committed_simulation_keeps_what_the_gates_promise() -> None:
    """False passes: no cell above its level by three standard errors, no truth at a number of filings by two."""
    simulation = json.loads(COMMITTED.read_text())
    n = simulation["experiments"]
    assert n == 2000
    levels = {"no effect": 0.025, "at the margin": 0.025, "one more draw": 0.05}
    pooled: dict[tuple[float, str], list[float]] = {}
    for cell in simulation["cells"]:
        if (level := levels.get(cell["truth"]["name"])) is not None:
            share = cell["verdicts"]["pass"] / n
            assert share <= level + 3 * (level * (1 - level) / n) ** 0.5, cell
            pooled.setdefault((level, f"{cell['truth']} {cell['filings']}"), []).append(share)
    for (level, what), shares in pooled.items():
        assert sum(shares) / len(shares) <= level + 2 * (level * (1 - level) / n / len(shares)) ** 0.5, what
