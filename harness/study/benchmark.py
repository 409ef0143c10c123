"""A benchmark's work: rows and conditions of a real model's study, or of a published shape with random weights.

What is measured on it is `harness.model.performance.bench`'s concern. Knows nothing of the command line.
"""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

from harness.errors import SettingsError
from harness.experiment.bench_result import BenchResult, Measured
from harness.experiment.conditions import Condition
from harness.experiment.experiments import EXPERIMENTS, Study
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Head, ModelShape
from harness.experiment.plan import RowWork, by_filing, make_plan
from harness.experiment.store import IN_MEMORY, Store
from harness.findings.wording import span
from harness.retrieval.prompts import Prompt
from harness.retrieval.rows import Row
from harness.settings import DEMO, Settings
from harness.study.inputs import read_inputs
from harness.study.run import Run

if TYPE_CHECKING:
    from harness.model.loading.loaded_model import LoadedModel
    from harness.model.performance.bench import Group

OneFiling = Literal["middle", "in_place"]
"""Where the needles of one filing's rows are: each put into the middle of it, or all in the text that rows share."""
NEEDLE_TOKENS, QUESTION_TOKENS, VALUE_TOKENS = range(20, 41), range(30, 61), 3
"""Tokens of made-up needles, questions and gold values."""
WARM_ROWS = 2
"""Rows of the filing that warms up."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be measured: `shape` is `demo` for the settings' own model, or a published shape's name.

    A shape's prompts have `n_tokens`, each another number of them; with `one_filing` they are rows of one, and its
    prefill is measured beside them. `growth` are numbers of conditions to measure beside all of them.
    """

    settings: Settings
    shape: str
    experiments: tuple[str, ...]
    n_rows: int
    n_tokens: range
    baseline: str
    one_filing: OneFiling | None = None
    growth: tuple[int, ...] = ()
    own_flips: bool = False
    identify: str | None = None


def measure(request: Request) -> Measured:
    """Load or make the model, and measure.

    Raises:
        HarnessError: a setting, a file or the model cannot be used.
    """
    from harness.model.identification.identify import find_method, scored
    from harness.model.performance.bench import Scoring, Work, as_handed_over, compare

    if request.settings.quantization == "8bit":
        raise SettingsError(
            "--quantization: 8bit; expected 4bit, or none: products of 8 bits are faster than what the least time is "
            "told by, and their conditions are computed one by one in any case"
        )
    scoring = None
    if request.identify is not None:
        method = find_method(request.identify)
        if method.null_query:
            raise SettingsError(
                f"--identify: {request.identify}, which also reads each document without its question; expected a "
                "method that reads a row's prompt alone, as summed_attention"
            )
        scoring = Scoring(request.identify, partial(scored, method=method))
    loaded, groups = _real_work(request) if request.shape == DEMO else _random_work(request)
    *groups, warm = groups if len(groups) > 1 else [*groups, []]
    prefill = groups.pop() if request.one_filing is not None else None
    groups = as_handed_over(loaded, groups)

    def of(part: "Sequence[Group]", most: int = request.settings.max_new_tokens) -> BenchResult:
        return compare(
            loaded,
            part,
            warm,
            baseline=request.baseline,
            max_new_tokens=most,
            own_flips=request.own_flips and most > 1,
            scoring=scoring if most > 1 else None,
        )

    return Measured(
        setting_of(request, loaded, groups, warm),
        of(groups),
        None if prefill is None else of([prefill], most=1),
        {
            n: of([[Work(work.prompt, work.head_sets[:n]) for work in group] for group in groups])
            for n in request.growth
        },
    )


def _real_work(request: Request) -> "tuple[LoadedModel, list[Group]]":
    """As many rows as asked for and some of one more filing, grouped as the study does."""
    n_rows = request.n_rows
    with Store(IN_MEMORY) as store:
        inputs = read_inputs(request.settings)
        run = Run(inputs, store, run_id="bench")
        plan = run.plan(conditions_of(request.experiments, run.inputs.study()))
        parts = [*by_filing(plan.work[:n_rows]), *(part[:WARM_ROWS] for part in by_filing(plan.work[n_rows:])[:1])]
        groups = [group_of(run, part) for part in parts]
    return inputs.model.load(), groups


def _random_work(request: Request) -> "tuple[LoadedModel, list[Group]]":
    """Prompts of random tokens: one row for each of the ranking's tasks, as many as asked for, and others to warm up.

    Each row is a filing of its own; or all are of one, and then there are two more such filings.
    """
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
    rows = [Row(f"filing{i}", tasks[i % len(tasks)], "needle", "value", "haystack") for i in range(request.n_rows + 1)]
    plan = make_plan(conditions_of(request.experiments, study), rows, stored=lambda jobs: ())
    on_gpu = torch.cuda.is_available() and settings.device_map != "cpu"
    loaded = random_model(
        request.shape,
        config,
        device=torch.device("cuda" if on_gpu else "cpu"),
        dtype=getattr(torch, settings.dtype or ("bfloat16" if on_gpu else "float32")),
        attention=settings.attn,
        seed=settings.seed,
    )
    made_up = _MadeUp(Random(settings.seed), range(1, config.vocab_size), request.n_tokens)
    if request.one_filing is None:
        prompts = made_up.apart(len(plan.work))
        return loaded, [[Work(prompt, _sets(work))] for prompt, work in zip(prompts, plan.work, strict=True)]
    filings = [made_up.together(n, request.one_filing) for n in (request.n_rows, request.n_rows, WARM_ROWS)]
    return loaded, [[Work(*each) for each in zip(rows, map(_sets, plan.work), strict=False)] for rows in filings]


@dataclass(frozen=True, slots=True)
class _MadeUp:
    """Prompts of random tokens out of `words`, of lengths out of `n_tokens`."""

    random: Random
    words: range
    n_tokens: range

    def apart(self, n: int) -> Iterator[Prompt]:
        """Prompts that have nothing in common, each of another length where there are enough of them."""
        many = len(self.n_tokens) >= n
        lengths = self.random.sample(self.n_tokens, n) if many else self.random.choices(self.n_tokens, k=n)
        return (self._prompt(self._some(length)) for length in lengths)

    def together(self, n: int, place: OneFiling) -> list[Prompt]:
        """Prompts of one filing, none longer than the longest length: they part at the needle, or at the question."""
        parts = [
            tuple(self._some(self.random.choice(each)) for each in (NEEDLE_TOKENS, QUESTION_TOKENS)) for _ in range(n)
        ]
        longest = max(len(needle) + len(question) for needle, question in parts)
        haystack = self._some(max(2, self.random.choice(self.n_tokens) - longest))
        half = len(haystack) // 2 if place == "middle" else 0
        return [
            self._prompt([*haystack[:half], *(needle if place == "middle" else ()), *haystack[half:], *question])
            for needle, question in parts
        ]

    def _some(self, n: int) -> list[int]:
        return self.random.choices(self.words, k=n)

    def _prompt(self, tokens: Sequence[int]) -> Prompt:
        return Prompt(
            row_id="row",
            kind="full",
            text="",
            token_ids=tuple(tokens),
            needle_start=len(tokens) // 2,
            needle_end=len(tokens) // 2 + 1,
            question_start=0,
            question_end=0,
            depth=0.5,
            value_ids=tuple(self._some(VALUE_TOKENS)),
        )


def conditions_of(experiments: Sequence[str], study: Study) -> list[Condition]:
    """The conditions of these experiments."""
    return [condition for name in experiments for condition in EXPERIMENTS[name](study)]


def group_of(run: Run, part: Sequence[RowWork]) -> "Group":
    """A study's rows as what is to be measured: their full prompts, and what is asked of these."""
    from harness.model.performance.bench import Work

    return [Work(run.prompt(work.row.id, "full"), _sets(work)) for work in part]


def _sets(work: RowWork) -> "tuple[frozenset[Head], ...]":
    return tuple(job.heads for job in work.jobs if job.prompt == "full")


def setting_of(request: Request, loaded: "LoadedModel", groups: "Sequence[Group]", warm: "Group") -> dict[str, object]:
    """What a reader of the figures must know."""
    import torch

    from harness.model.loading.devices import attention_with_kernels
    from harness.study.provenance import program_versions  # reports' types, which a command line does not wait for

    settings, shape = request.settings, loaded.shape
    lengths = [len(work.prompt.token_ids) for group in groups for work in group]
    on_gpu = loaded.device.type == "cuda"
    return {
        "model": request.shape if request.shape != DEMO or settings.model == DEMO else shape.id,
        "random_weights": request.shape != DEMO,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "dtype": loaded.dtype,
        "quantization": settings.quantization,
        "adapter": None if settings.adapter is None else settings.adapter.name,
        "attention": attention_with_kernels(loaded.attention, loaded.device.type),
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
        "rows_together": max(map(len, groups)),
        "one_filing": request.one_filing,
        "warm_up_rows": len(warm),
        "versions": program_versions(),
    }
