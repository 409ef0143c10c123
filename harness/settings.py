"""Settings: what was asked for, as one frozen dataclass with its defaults.

Knows nothing of how it is asked (`options`), reads no files, and imports nothing: every pytest run that has the plugin
installed imports this module.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from harness.choices import EDGE_MODES, GateOutcome, Insertion, Mode, Nodes, Phase, RandomMatch

DEMO = "demo"
"""The name of the embedded model, of its rows and of its ranking."""

OUR_FACTS = "ours"
"""The name of the committed set of facts."""

Scorer = Literal["value", "published"]
Quantization = Literal["8bit", "4bit"]
EngineName = Literal["shared", "reference"]
Shown = str | int | float | bool | list[str] | list[int] | list[float] | None
Value = (
    str | int | float | bool | Path | None | tuple[str, ...] | tuple[int, ...] | tuple[float, ...] | tuple[Nodes, ...]
)


@dataclass(frozen=True)
class Settings:
    """What was asked for; paths are absolute. The defaults run the embedded demo.

    `data`, `heads` are `None` for the demo's own; `tasks` and `max_rows` are `None` for all, `split_share` for the
    ranking's or, where it has none, the usual one, `gate_k` for the largest k, a gate's own margin for `gate_margin`.
    `part` is which part of how many is done, from 1 on.
    Where heads stop reading some tokens, the phase is `decode` whatever is said, and where they are rescued `all`.
    """

    model: str = DEMO
    revision: str | None = None
    dtype: str | None = None
    device_map: str | None = None
    gpus: int | None = None
    ray: str | None = None
    ray_mixed: bool = False
    attn: str | None = None
    quantization: Quantization | None = None
    adapter: Path | None = None
    architectures: tuple[str, ...] = ()
    template: tuple[str, ...] = ()
    engine: EngineName = "shared"
    data: Path | None = None
    task_file: Path | None = None
    tasks: tuple[str, ...] | None = None
    strict_rows: bool = False
    split_share: float | None = None
    heads: Path | None = None
    heads_held_out: bool = False
    k: tuple[int, ...] = (1, 2, 5, 10, 20)
    depth: tuple[float, ...] = (0.5,)
    seq_len: int | None = None
    insertion: Insertion = "sentence"
    max_new_tokens: int = 20
    max_rows: int | None = None
    seed: int = 0
    random_draws: int = 5
    random_match: RandomMatch = "uniform"
    mode: Mode = "zero"
    phase: Phase = "all"
    scorer: Scorer = "value"
    gate_k: int | Literal["band"] | None = None
    gate_draws: int = 19
    gate_strata: str = "layer"
    gate_margin: float = 0.1
    gate_margin_own: float | None = None
    gate_margin_shared: float | None = None
    gate_margin_global: float | None = None
    gate_flat: float = 0.1
    gate_outcome: GateOutcome = "accuracy"
    gate_tasks: bool = False
    facts: Path | Literal["ours"] | None = None
    reports: Path = Path("reports")
    run: str = "latest"
    no_texts: bool = False
    annotate: bool = False
    store: Path | None = None
    refresh: bool = False
    dry_run: bool = False
    part: tuple[int, int] | None = None
    bench: Path | None = None
    cluster: tuple[Nodes, ...] = ()

    def __post_init__(self) -> None:
        if self.mode in EDGE_MODES:
            object.__setattr__(self, "phase", "decode")
        if self.mode == "rescue":
            object.__setattr__(self, "phase", "all")

    @property
    def store_file(self) -> Path:
        """The store's file: the one named, or beside the reports; a part of a study has one of its own."""
        return self.store or self.reports / f"{'store' if self.part is None else self.part_name}.sqlite"

    @property
    def part_name(self) -> str | None:
        """What a part of a study is called, as `part-2-of-8`."""
        return None if self.part is None else "part-{}-of-{}".format(*self.part)

    @property
    def judged_ks(self) -> tuple[int, ...]:
        """How many heads gates judge: `gate_k`, or the largest k; of the band, every k."""
        return self.k if self.gate_k == "band" else (self.gate_k or max(self.k),)

    @property
    def strata_layers(self) -> int | None:
        """How many neighbouring layers gates permute heads within; `None` for the whole model."""
        return (
            {"layer": 1, "model": None}[self.gate_strata] if not self.gate_strata.isdigit() else int(self.gate_strata)
        )

    def margin_of(self, gate: str) -> float:
        """The margin of the gate `own`, `shared` or `global`: its own, or that of all gates."""
        margins = {"own": self.gate_margin_own, "shared": self.gate_margin_shared, "global": self.gate_margin_global}
        own = margins[gate]
        return self.gate_margin if own is None else own

    def shown(self, root: Path) -> dict[str, Shown]:
        """The settings as plain values, for the report; paths as seen from `root` where they lie below it."""
        shown = {field.name: _shown(getattr(self, field.name), root) for field in fields(self)}
        return shown | {"model": _shown(Path(self.model), root)}


def _shown(value: Value, root: Path) -> Shown:
    if isinstance(value, Path):
        return str(value.relative_to(root)) if value.is_relative_to(root) else str(value)
    if not isinstance(value, tuple):
        return value
    return [str(each) if isinstance(each, Nodes) else each for each in value]  # type: ignore[return-value]  # of one type, as in `Value`
