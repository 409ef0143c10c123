"""Identification: a model's heads ranked on the rows that are set aside for it.

Only filings of the identification split are used. The ranking keeps one hash of each, and the split's seed:
by them an evaluation leaves these filings out. Knows nothing of how heads are scored
(`harness.model.identification.identify`), nor of pytest.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TypedDict

from harness.errors import DataError
from harness.experiment.heads import check_window
from harness.experiment.intervention import MeanValues
from harness.experiment.plan import RowWork, by_filing
from harness.experiment.rankings import HeadRanking
from harness.retrieval.prompts import Trial, identification_depth
from harness.retrieval.rows import Row, filing_hash, split_rows
from harness.retrieval.tasks import Task
from harness.retrieval.traces import extent_of, join_equal_texts, traces_of
from harness.settings import DEMO, Settings
from harness.study.asked_model import AskedModel
from harness.study.crew import Crew
from harness.study.inputs import data_source, first_filings, split_share
from harness.study.prompt_book import PromptBook
from harness.study.ray_cluster import crew_on_ray

DEFAULT_METHOD = "summed_attention"
"""Attention from the last prompt token to the needle."""


def identification_rows(rows: Iterable[Row], settings: Settings) -> tuple[Row, ...]:
    """The rows on the identification side of the split, cut to whole filings by `max_rows`; equal texts one cluster.

    Raises DataError where none is left.
    """
    split = split_rows(join_equal_texts(rows), seed=settings.seed, share=split_share(settings))
    kept = first_filings(split.identification, settings.max_rows, settings.seed)
    if not kept:
        raise DataError(
            f"{data_source(settings)}: no rows for identification; expected at least one filing of "
            "the identification split; give more filings, a split column, or a larger max-rows"
        )
    return kept


def cut_to_seq_len(book: PromptBook, rows: Sequence[Row]) -> tuple[tuple[Row, ...], int]:
    """The rows cut to whole prompts of at most `seq_len` tokens, where that is asked for, and how many were cut.

    Raises:
        HarnessError: a prompt cannot be built, or is longer even without any haystack.
    """
    return book.cut(rows, lambda row: identification_depth(row, book.settings.seed))


def identify_heads(
    model: AskedModel,
    tasks: Mapping[str, Task],
    rows: Sequence[Row],
    *,
    top_k: int,
    method: str = DEFAULT_METHOD,
    variant: str | None = None,
    made_from: Sequence[Row] | None = None,
    say: Callable[[str], None] | None = None,
) -> HeadRanking:
    """Rank the heads of a model on these rows, task by task; `top_k` are a task's candidates.

    `made_from` are the rows as they were read, where they have been cut since: what the ranking keeps of its filings.
    Where the settings name a cluster, its models score the rows. `say` is told what a user should know of them, and
    beside it a bar shows how far it is; without it all is silent.

    Each needle stands at its row's own depth, else at a random one that follows from `seed` and the row. All
    prompts are built before the weights are read, so that a bad row costs no time.

    Raises:
        HarnessError: a row, the model, the method or its variant is bad, a task has no rows or none that
            counts, or the model has fewer heads.
    """
    from harness.model.identification.identify import Target, find_method, identify, rank_by_scores

    chosen = find_method(method, variant)
    settings, blueprint, seed = model.settings, model.blueprint, model.settings.seed
    book = PromptBook(model, tasks)
    trials = {
        task: [book.trial(row, null_query=chosen.null_query) for row in rows if row.task == task] for task in tasks
    }
    for trial in chain.from_iterable(trials.values()):
        chosen.check(trial)
        check_window(blueprint.window, blueprint.shape.id, trial.prompt.row_id, chosen.n_tokens(trial))
    how: _How = {"top_k": top_k, "method": method, "variant": variant, "progress": say is not None}
    if settings.ray is None:
        ranking = identify(model.load(), trials, **how)
    else:
        with closing(crew_on_ray(model)) as crew:
            target = Target(
                blueprint.shape,
                blueprint.window,
                lambda every: crew.scores(_of_filings(every, rows, crew.size), method, variant),
            )
            if say is not None:
                crew.when_noticed = partial(_say_last, crew, say)
            ranking = rank_by_scores(target, trials, **how)
    ranking = replace(
        ranking,
        filing_hashes=frozenset(filing_hash(row.filename, seed) for row in rows),
        split_seed=seed,
        split_share=split_share(settings),
        traces=traces_of(made_from or rows, seed),
        extent=extent_of(
            (len(trial.prompt.token_ids), trial.prompt.depth) for trial in chain.from_iterable(trials.values())
        ),
    )
    if settings.model != DEMO:
        return ranking
    return replace(ranking, source=f"{ranking.full_method} of {DEMO}", model=replace(blueprint.shape, id=DEMO))


def _say_last(crew: Crew, say: Callable[[str], None]) -> None:
    """Say the newest notice, above the bar."""
    from tqdm import tqdm

    with tqdm.external_write_mode(sys.stderr):
        say(crew.notices[-1])


class _How(TypedDict):
    """What is asked of a ranking, wherever its scores come from."""

    top_k: int
    method: str
    variant: str | None
    progress: bool


def _of_filings(trials: Sequence[Trial], rows: Sequence[Row], models: int) -> Iterator[list[tuple[int, Trial]]]:
    """The trials with their numbers, those of a filing's rows together: their prompts may begin alike."""
    numbers = {trial.prompt.row_id: number for number, trial in enumerate(trials)}
    asked = [RowWork(row, ()) for row in rows if row.id in numbers]
    for group in by_filing(asked, models):
        found = [numbers[work.row.id] for work in group]
        yield [(number, trials[number]) for number in found]


def mean_outputs(model: AskedModel, tasks: Mapping[str, Task], rows: Sequence[Row]) -> MeanValues:
    """What every head puts out on these rows' prompts, on the mean: what `--ablation-mode mean` puts in its place.

    Raises:
        HarnessError: a prompt cannot be built, or the model cannot be loaded.
    """
    from harness.model.intervention.head_values import mean_values

    book = PromptBook(model, tasks)
    prompts = [book.trial(row, null_query=False).prompt for row in rows]
    return mean_values(model.load(), prompts)
