"""What a benchmark found, and the file it is kept in.

Plain numbers: knows nothing of models, nor of how anything was measured.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from harness.errors import ReportError
from harness.experiment.cost import Speed, least_seconds
from harness.experiment.json_nodes import Node, read_json
from harness.files import write_text

SCHEMA_VERSION = 2
PACES = (1, SCHEMA_VERSION)
"""Versions that tell a pace: those of version 1 took the median of rounds over rows that had been met before."""


CARD_PACES = Path(__file__).with_name("card_paces.json")


@dataclass(frozen=True, slots=True)
class SideResult:
    """One way of computing: seconds of each group of rows, and what it did in all of them.

    `layer_passes` are prompts through one layer, a part of one as a part, and filled up ones as more; `steps` short
    passes through the whole model and `step_rows` their rows, all steps together; `peak_bytes` is what was held at
    most, weights included (`None` where that cannot be measured).
    """

    name: str
    seconds: tuple[float, ...]
    layer_passes: float
    steps: float
    step_rows: float
    peak_bytes: int | None

    @property
    def total_seconds(self) -> float:
        """Of all groups."""
        return math.fsum(self.seconds)


@dataclass(frozen=True, slots=True)
class IdentifyCost:
    """Scoring all heads on the rows' prompts beside plainly reading these: seconds of each row, and peak bytes.

    Scoring runs once what rows of one filing begin with; plain reading does not.
    """

    method: str
    seconds: tuple[float, ...]
    prefill_seconds: tuple[float, ...]
    peak_bytes: int | None
    prefill_peak_bytes: int | None

    @property
    def ratio(self) -> float:
        """Scoring over reading, all rows together."""
        return math.fsum(self.seconds) / math.fsum(self.prefill_seconds)

    @property
    def extra_bytes(self) -> int | None:
        """What scoring holds beyond reading, at most."""
        if self.peak_bytes is None or self.prefill_peak_bytes is None:
            return None
        return self.peak_bytes - self.prefill_peak_bytes


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The engine and a baseline on the same work: `n_conditions` conditions of each of `n_rows` rows at most.

    Rows of one filing are a group. Of `n_completions` completions, `n_different` have another token than the
    baseline's, `n_ties` of them where the best two logits are so near that rounding may choose. `own_flips` are those
    in which the plain loop differs from itself when a prompt is run beside a copy of it, where that was asked for.
    `flops` and `read_bytes` are what the work needs at least, whoever does it, and `least_steps` its passes over all
    weights; `speed` is what the device can do at best, after a pause, and `held_flops` the operations a second that it
    holds for seconds (`None` where nothing limits them). `identify` is there where it was asked for.
    """

    engine: SideResult
    baseline: SideResult
    n_rows: int
    n_conditions: int
    n_completions: int
    n_different: int
    n_ties: int
    own_flips: int | None
    speed: Speed
    flops: float
    read_bytes: float
    least_steps: int
    identify: IdentifyCost | None = None
    held_flops: float | None = None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Baseline seconds over engine seconds, of each group of rows."""
        return tuple(slow / fast for slow, fast in zip(self.baseline.seconds, self.engine.seconds, strict=True))

    @property
    def ratio(self) -> float:
        """The same of all together."""
        return self.baseline.total_seconds / self.engine.total_seconds

    @property
    def floor_seconds(self) -> float:
        """What no program can beat on this device."""
        return least_seconds(self.flops, self.read_bytes, self.speed)

    @property
    def fraction_of_floor(self) -> float:
        """1 is as fast as can be; 0.5 takes twice the least time."""
        return self.floor_seconds / self.engine.total_seconds

    @property
    def held_floor_seconds(self) -> float | None:
        """The same at the speed that the device holds."""
        if self.held_flops is None:
            return None
        return least_seconds(self.flops, self.read_bytes, replace(self.speed, flops=self.held_flops))

    @property
    def tokens_identical(self) -> bool:
        """Whether every completion has the baseline's tokens, ties aside."""
        return self.n_different == self.n_ties

    def as_json(self) -> dict[str, object]:
        """All fields and what follows from them."""
        follows = {} if self.identify is None else {"identify_ratio": self.identify.ratio}
        return (
            asdict(self)
            | follows
            | {
                "ratio": self.ratio,
                "ratios": self.ratios,
                "floor_seconds": self.floor_seconds,
                "fraction_of_floor": self.fraction_of_floor,
                "held_floor_seconds": self.held_floor_seconds,
                "tokens_identical": self.tokens_identical,
            }
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """What a plan's time can be told from: a device's speed, and how near to the least time the engine came.

    The least time is that of one device; a model whose layers lay on several `gpus` may have come nearer than 1.
    """

    device: str
    speed: Speed
    fraction_of_floor: float
    model: str
    n_layers: int
    dtype: str
    quantization: str | None
    prompt_tokens: str
    gpus: int = 1

    def hours(self, flops: float, read_bytes: float) -> float:
        """The time of this work at that pace."""
        return least_seconds(flops, read_bytes, self.speed) / self.fraction_of_floor / 3600

    def is_of(self, card: str, gigabytes: int) -> bool:
        """Whether the device is such a card, by the words of its name and the memory that stands in it, if any."""
        words, wanted = (set(re.split(r"[^A-Z0-9]+", name.upper())) for name in (self.device, card))
        return wanted <= words and {word for word in words if re.fullmatch(r"\d+GB", word)} <= {f"{gigabytes}GB"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, on what: `setting` is what a reader of the figures must know.

    `prefill` is of the same work to each condition's first new token alone, of other rows of the same kind; `growth`
    of the first conditions of each row alone, by how many were asked for.
    """

    setting: Mapping[str, object]
    result: BenchResult
    prefill: BenchResult | None = None
    growth: Mapping[int, BenchResult] = field(default_factory=dict)


def write_bench(path: Path, measured: Measured) -> None:
    """Write what was measured as JSON.

    Raises:
        ReportError: the file cannot be written.
    """
    document = {**measured.setting, **measured.result.as_json()}
    if measured.prefill is not None:
        document["prefill"] = measured.prefill.as_json()
    if measured.growth:
        document["growth"] = [{"asked": asked} | each.as_json() for asked, each in measured.growth.items()]
    write_document(path, document)


def write_document(path: Path, document: Mapping[str, object]) -> None:
    """Write a benchmark's figures as JSON. Raises ReportError where the file cannot be written."""
    try:
        write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=1) + "\n")
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; expected a file that can be written") from error


def read_pace(path: Path) -> Pace:
    """The pace that a benchmark's file tells of.

    Raises:
        ReportError: the file is none, or lacks what is needed.
    """
    return _pace(_read(path, PACES))


def card_paces() -> tuple[Pace, ...]:
    """The paces that were measured and committed: `python -m tests.card_paces` takes them out of `reports/bench`."""
    node = read_json(CARD_PACES, ReportError)
    return tuple(_pace(each) for each in node.field("paces").items())


def _pace(node: Node) -> Pace:
    speed = node.field("speed")
    return Pace(
        node.field("device").text(),
        Speed(_positive(speed.field("flops")), _positive(speed.field("bandwidth"))),
        _positive(node.field("fraction_of_floor")),
        node.field("model").text(),
        node.field("n_layers").integer(),
        node.field("dtype").text(),
        node.optional("quantization", lambda piece: piece.text()),
        node.field("prompt_tokens").text(),
        node.optional("gpus", lambda piece: piece.integer(least=1)) or 1,
    )


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """At one number of conditions a row: seconds a row and peak bytes, of engine and baseline."""

    n_conditions: int
    seconds: tuple[float, float]
    peak_bytes: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Growth:
    """How cost grows with the number of conditions; what a figure of it needs."""

    title: str
    baseline: str
    points: tuple[GrowthPoint, ...]


def read_growth(path: Path) -> Growth:
    """The points of a benchmark that was run with several numbers of conditions.

    Raises:
        ReportError: the file is none, or holds no such points.
    """
    node = _read(path, (SCHEMA_VERSION,))
    points = []
    for each in node.field("growth").items():
        sides = (each.field("engine"), each.field("baseline"))
        rows = each.field("n_rows").integer(least=1)
        engine, baseline = (
            math.fsum(one.number() for one in side.field("seconds").items(least=1)) / rows for side in sides
        )
        ours, theirs = (side.optional("peak_bytes", lambda piece: piece.integer()) for side in sides)
        points.append(GrowthPoint(each.field("n_conditions").integer(), (engine, baseline), (ours, theirs)))
    return Growth(
        title=f"{node.field('model').text()} on {node.field('device').text()}",
        baseline=node.field("baseline").field("name").text(),
        points=tuple(points),
    )


def _read(path: Path, versions: Collection[int]) -> Node:
    node = read_json(path, ReportError)
    if (other := _other(node)) is not None:
        raise ReportError(f"{path}: {other}; expected a benchmark of the engine")
    version = node.field("schema_version")
    if version.integer() not in versions:
        raise version.bad(f"version {SCHEMA_VERSION}; measure again")
    return node


def _other(node: Node) -> str | None:
    """What another of our documents is, which holds no pace; `None` for a benchmark, and for what nobody knows."""
    if node.has("command"):
        return "the times of a whole command, as `retrieval-heads bench --whole` writes them"
    return node.optional("kind", lambda kind: f"of the kind {kind.text()}")


def _positive(node: Node) -> float:
    number = node.number()
    if number <= 0:
        raise node.bad("a number above 0")
    return number
