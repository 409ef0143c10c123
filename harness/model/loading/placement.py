"""Which device each decoder layer of a model lies on that is too large for one: as much work for each as memory allows.

Layers are dealt out in runs: the first device has the model's first layers, the next one those after them, and so on;
the first may have the last layers too, so that it has cheap ones from the beginning and dear ones from the end. (Heads
are mostly ablated in the middle of a model: from there on a row's conditions part, and a layer is run once for each.)
The embedding lies with the first layer, norm and head with the last, and take memory there.

Rows in flight (`harness.model.generation.stages`) keep all devices busy, so the one with most work sets the pace.

Knows nothing of models, and asks no device anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import ModelError

SLACK = 0.03
"""By what part the slowest device may be slower than it must, where this leaves more memory or saves a run."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model is made of: bytes of each layer, of what comes before the first, and of what comes after the last.

    `work[l]` is what a row does in layer l, in any unit.
    """

    layers: tuple[float, ...]
    before: float
    after: float
    work: tuple[float, ...]


def balanced(parts: Parts, room: Sequence[float], speeds: Sequence[float]) -> tuple[int, ...]:
    """For each layer the number of its device; `room` are bytes that weights may take on each, `speeds` relative.

    Of all ways to deal out runs of layers one whose slowest device is as fast as can be, up to `SLACK`, and of these
    one that leaves the fullest device most memory. The embedding lies on the device of the first layer, the head on
    that of the last.

    Raises:
        ModelError: the model does not fit.
    """
    ways = [_Way(parts, tuple(room), tuple(speeds), ring) for ring in (False, True)]
    limits = [limit for way in ways if (limit := way.fastest()) is not None]
    if not limits:
        needed = (sum(parts.layers) + parts.before + parts.after) / 2**30
        raise ModelError(
            f"device map: the model's weights take {needed:.1f} GiB, and {len(room)} GPUs have room for "
            f"{sum(room) / 2**30:.1f} beside what a row takes; expected room for all; use more GPUs or a smaller dtype"
        )
    allowed = (1 + SLACK) * min(limits)
    ends = next(ends for way in ways if (ends := way.roomiest(allowed)) is not None)
    starts = [0, *ends]
    places = [device for device, (start, end) in enumerate(zip(starts, ends, strict=False)) for _ in range(start, end)]
    return (*places, *[0] * (len(parts.layers) - len(places)))


@dataclass(frozen=True, slots=True)
class _Way:
    """Runs in the order of the devices; in a ring the first device has what is left at the end."""

    parts: Parts
    room: tuple[float, ...]
    speeds: tuple[float, ...]
    ring: bool

    def fastest(self) -> float | None:
        """The slowest device's time, in any unit; `None` where nothing fits."""
        most = sum(self.parts.work) / min(self.speeds)
        return None if self.ends(most, 1.0) is None else _least(lambda limit: self.ends(limit, 1.0) is not None, most)

    def roomiest(self, limit: float) -> list[int] | None:
        """Ends of the devices' runs where the fullest has most room left, none of them slower than the limit."""
        if self.ends(limit, 1.0) is None:
            return None
        return self.ends(limit, _least(lambda share: self.ends(limit, share) is not None, 1.0))

    def ends(self, limit: float, share: float) -> list[int] | None:
        """Ends of the runs, each as long as time and this share of the room allow; `None` where layers are left."""
        n_layers = len(self.parts.layers)
        for first in range(n_layers + 1):
            ends = [first]
            for device in range(1, len(self.room)):
                end = ends[-1]
                while end < n_layers and self._fits(device, [(ends[-1], end + 1)], limit, share):
                    end += 1
                ends.append(end)
            own = [(0, first), (ends[-1], n_layers)]
            if (self.ring or ends[-1] == n_layers) and self._fits(0, own, limit, share):
                return ends
        return None

    def _fits(self, device: int, runs: Sequence[tuple[int, int]], limit: float, share: float) -> bool:
        parts, n_layers = self.parts, len(self.parts.layers)
        held = sum(sum(parts.layers[start:end]) for start, end in runs)
        held += sum(parts.before for start, end in runs if start == 0 < end)
        held += sum(parts.after for start, end in runs if start < end == n_layers)
        work = sum(sum(parts.work[start:end]) for start, end in runs)
        return work <= limit * self.speeds[device] and held <= share * self.room[device]


def _least(holds: Callable[[float], bool], most: float) -> float:
    """The least number up to `most` for which something holds that holds for all above it, to a thousandth."""
    low, high = 0.0, most
    while high - low > 1e-3 * most:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
