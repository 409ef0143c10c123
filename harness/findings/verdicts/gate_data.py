"""What a verdict is worked out from: the outcome's sums by cluster, and what must hold for them to say anything.

Knows nothing of conditions, samples or how a verdict comes about.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """The outcome judged, summed over one cluster's `n` rows, from 0 to 1 a row.

    On all rows: untouched and absent, by the untouched model and with the needle left out; judged and controls, under
    each set of heads; lowest, under as many lowest-scoring heads, where these are known. right: how many answers the
    untouched model gets right, and wrong with the needle left out.

    On the `answered` rows alone, which the untouched model answers rightly: kept, under the judged heads; permutations,
    under each of them; kept_by_lowest. What they are held against is `untouched` too: of other rows nothing is in it.
    """

    n: int
    untouched: float
    absent: float
    right: int
    judged: float
    controls: tuple[float, ...]
    answered: int
    kept: float
    permutations: tuple[float, ...]
    lowest: float | None = None
    kept_by_lowest: float | None = None


@dataclass(frozen=True, slots=True)
class GateData:
    """The clusters' sums, with as many draws in each as `n_controls` and `n_permutations` say."""

    n_controls: int
    n_permutations: int
    clusters: tuple[ClusterSums, ...]

    @property
    def n_rows(self) -> int:
        """Rows of all clusters."""
        return sum(cluster.n for cluster in self.clusters)

    @property
    def n_answered(self) -> int:
        """Of these, rows that the untouched model answers rightly: what permutations are compared on."""
        return sum(cluster.answered for cluster in self.clusters)

    @property
    def n_clusters(self) -> int:
        """Clusters."""
        return len(self.clusters)

    @property
    def untouched(self) -> float:
        """The untouched model's outcome, summed over all rows."""
        return math.fsum(cluster.untouched for cluster in self.clusters)

    def lost(self) -> float:
        """The share of all rows that the judged heads cost."""
        return (self.untouched - math.fsum(cluster.judged for cluster in self.clusters)) / self.n_rows

    def lost_to_controls(self) -> tuple[float, ...]:
        """The same of each control."""
        return tuple(
            (self.untouched - math.fsum(cluster.controls[i] for cluster in self.clusters)) / self.n_rows
            for i in range(self.n_controls)
        )

    def lost_of_answered(self) -> float:
        """The share of the answered rows that the judged heads cost."""
        return (self.untouched - math.fsum(cluster.kept for cluster in self.clusters)) / self.n_answered

    def lost_to_permutations(self) -> tuple[float, ...]:
        """The same of each permutation."""
        return tuple(
            (self.untouched - math.fsum(cluster.permutations[i] for cluster in self.clusters)) / self.n_answered
            for i in range(self.n_permutations)
        )

    def lost_to_lowest(self) -> float | None:
        """The share of all rows that the lowest-scoring heads cost; `None` where these are unknown."""
        kept = [cluster.lowest for cluster in self.clusters if cluster.lowest is not None]
        return (self.untouched - math.fsum(kept)) / self.n_rows if kept else None


@dataclass(frozen=True, slots=True)
class Premises:
    """What must hold for the sums to say anything, and what is known of the permutations.

    missing: conditions that lack sound records, each with how many. candidates: control heads that are some task's
    candidates. leaked_filings: evaluated filings that also made the ranking, `None` where that is unknown; how they
    were known. held_out: the user vouches that none did, where that is unknown. broken: how the judged heads break the
    model, where they do. n_sets: how many different sets permutations can give; enough_heads and enough_layers: the k,
    and the layers of a stratum, that would give enough for a rank p of 0.05. held: the share of the judged heads that a
    permutation holds in the mean.
    """

    missing: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    leaked_filings: int | None = None
    leaked_how: str = ""
    held_out: bool = False
    broken: str | None = None
    n_sets: int | None = None
    enough_heads: int | None = None
    enough_layers: int | None = None
    held: float | None = None

    @property
    def may_have_leaked(self) -> bool:
        """Whether nobody knows, or vouches, that the evaluated filings did not make the ranking."""
        return self.leaked_filings is None and not self.held_out
