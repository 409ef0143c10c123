"""A benchmark's work: rows and conditions of a real model's study, or of a published shape with random weights.

What is measured on it is `harness.model.performance.bench`'s concern. Knows nothing of the command line.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from harness.errors import SettingsError
from harness.experiment.bench_result import BenchResult
from harness.experiment.conditions import Condition
from harness.experiment.experiments import EXPERIMENTS, Study
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head, ModelShape
from harness.experiment.plan import RowWork, make_plan
from harness.experiment.store import IN_MEMORY, Store
from harness.findings.wording import span
from harness.retrieval.prompts import Prompt
from harness.retrieval.rows import Row
from harness.settings import DEMO, Settings
from harness.study.inputs import read_inputs
from harness.study.run import Run

if TYPE_CHECKING:
    from harness.model.loading.loaded_model import LoadedModel
    from harness.model.performance.bench import Work


VALUE_TOKENS = 3
"""Tokens of the made-up gold value after a made-up prompt."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be measured: `shape` is `demo` for the settings' own model, or a published shape's name.

    `n_tokens` is the length of a shape's prompts; `growth` are numbers of conditions to measure beside all of them.
    """

    settings: Settings
    shape: str
    experiments: tuple[str, ...]
    n_rows: int
    n_tokens: int
    baseline: str
    rounds: int
    growth: tuple[int, ...] = ()
    own_flips: bool = False
    identify: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, on what; `growth` by the number of conditions asked for."""

    setting: Mapping[str, object]
    result: BenchResult
    growth: Mapping[int, BenchResult]


def measure(request: Request) -> Measured:
    """Load or make the model, and measure.

    Raises:
        HarnessError: a setting, a file or the model cannot be used.
    """
    from harness.model.identification.identify import find_method
    from harness.model.performance.bench import Scoring, Work, compare

    if request.settings.quantization == "8bit":
        raise SettingsError(
            "--quantization: 8bit; expected 4bit, or none: products of 8 bits are faster than what the least time is "
            "told by, and their conditions are computed one by one in any case"
        )
    scoring = None if request.identify is None else Scoring(request.identify, find_method(request.identify).score)
    loaded, works = _real_work(request) if request.shape == DEMO else _random_work(request)

    def of(part: Sequence[Work]) -> BenchResult:
        return compare(
            loaded,
            part,
            baseline=request.baseline,
            rounds=request.rounds,
            max_new_tokens=request.settings.max_new_tokens,
            own_flips=request.own_flips,
            scoring=scoring,
        )

    growth = {n: of([Work(work.prompt, work.head_sets[:n]) for work in works]) for n in request.growth}
    return Measured(_setting(request, loaded, works), of(works), growth)


def _real_work(request: Request) -> "tuple[LoadedModel, list[Work]]":
    from harness.model.performance.bench import Work

    settings = request.settings
    with Store(IN_MEMORY) as store:
        inputs = read_inputs(settings)
        run = Run(inputs, store, run_id="bench")
        plan = run.plan(_conditions(request.experiments, run.inputs.study()))
        works = [Work(run.prompt(work.row.id, "full"), _sets(work)) for work in plan.work[: request.n_rows]]
    return inputs.model.load(), works


def _random_work(request: Request) -> "tuple[LoadedModel, list[Work]]":
    """Prompts of random tokens: one row for each of the ranking's tasks, as many as asked for."""
    import torch

    from harness.model.performance.bench import Work
    from harness.model.performance.shapes import SHAPES, random_model

    settings, config = request.settings, SHAPES[request.shape]
    if settings.heads is None:
        raise SettingsError(
            f"--heads: none given for the shape {request.shape}; expected a file of ranked heads of that shape"
        )
    ranking = read_ranking(settings.heads, top_k=max(settings.k))
    tasks = settings.tasks or tuple(ranking.tasks)
    shape = ModelShape(config.num_hidden_layers, config.num_attention_heads)
    study = Study(
        ranking,
        shape,
        tasks,
        settings.k,
        seed=settings.seed,
        random_draws=settings.random_draws,
        random_match=settings.random_match,
    )
    rows = [Row(f"filing{i}", tasks[i % len(tasks)], "needle", "value", "haystack") for i in range(request.n_rows)]
    plan = make_plan(_conditions(request.experiments, study), rows, stored=lambda job: False)
    on_gpu = torch.cuda.is_available() and settings.device_map != "cpu"
    loaded = random_model(
        request.shape,
        config,
        device=torch.device("cuda" if on_gpu else "cpu"),
        dtype=getattr(torch, settings.dtype or ("bfloat16" if on_gpu else "float32")),
        attention=settings.attn,
        seed=settings.seed,
    )
    random = Random(settings.seed)
    words = range(1, config.vocab_size)
    return loaded, [
        Work(_prompt(work.row.id, random.choices(words, k=request.n_tokens + VALUE_TOKENS)), _sets(work))
        for work in plan.work
    ]


def _conditions(experiments: Sequence[str], study: Study) -> list[Condition]:
    return [condition for name in experiments for condition in EXPERIMENTS[name](study)]


def _sets(work: RowWork) -> "tuple[frozenset[Head], ...]":
    return tuple(job.heads for job in work.jobs if job.prompt == "full")


def _prompt(row_id: str, token_ids: Sequence[int]) -> Prompt:
    return Prompt(
        row_id=row_id,
        kind="full",
        text="",
        token_ids=tuple(token_ids[:-VALUE_TOKENS]),
        needle_start=len(token_ids) // 2,
        needle_end=len(token_ids) // 2 + 1,
        question_start=0,
        question_end=0,
        depth=0.5,
        value_ids=tuple(token_ids[-VALUE_TOKENS:]),
    )


def _setting(request: Request, loaded: "LoadedModel", works: "Sequence[Work]") -> dict[str, object]:
    """What a reader of the figures must know."""
    import torch

    from harness.study.provenance import program_versions  # reports' types, which a command line does not wait for

    settings, shape = request.settings, loaded.shape
    lengths = [len(work.prompt.token_ids) for work in works]
    on_gpu = loaded.device.type == "cuda"
    return {
        "model": request.shape if request.shape != DEMO or settings.model == DEMO else shape.id,
        "random_weights": request.shape != DEMO,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "dtype": loaded.dtype,
        "quantization": settings.quantization,
        "adapter": None if settings.adapter is None else settings.adapter.name,
        "attention": loaded.attention,
        "device": torch.cuda.get_device_name(loaded.device) if on_gpu else f"{platform.machine()} CPU",
        "cpu_threads": torch.get_num_threads(),
        "cpu_cores": os.cpu_count(),
        "heads": DEMO if settings.heads is None else settings.heads.name,
        "experiments": list(request.experiments),
        "k": list(settings.k),
        "seed": settings.seed,
        "random_draws": settings.random_draws,
        "prompt_tokens": span(min(lengths), max(lengths)),
        "max_new_tokens": settings.max_new_tokens,
        "rounds": request.rounds,
        "versions": program_versions(),
    }
