"""Inputs: everything a run works on that is known before a model is loaded.

Settings in, checked tasks, rows, ranking and shape out; every file a user named is read here, so that whatever is
wrong with one is said before any work begins. Knows nothing of pytest, and loads no weights.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from harness.choices import DONOR_MODES, EDGE_MODES
from harness.demo import RANKING_FILE
from harness.errors import DataError, SettingsError
from harness.experiment.experiments import Study
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import Blueprint, ModelShape
from harness.experiment.intervention import Manner
from harness.experiment.rankings import HeadRanking
from harness.experiment.record import RunKey
from harness.retrieval.facts import read_facts
from harness.retrieval.rows import (
    SPLIT_SHARE,
    Excluded,
    Row,
    check_rows,
    donor_of,
    filing_hash,
    is_evaluated,
    read_rows,
    split_rows,
)
from harness.retrieval.scoring import matches_published, matches_value
from harness.retrieval.tasks import EDGAR_TASKS, Task, load_tasks, select_tasks
from harness.retrieval.traces import Seen, join_equal_texts, seen_again
from harness.settings import DEMO, Settings
from harness.study.asked_model import AskedModel
from harness.study.prompt_book import PromptBook


@dataclass(frozen=True)
class Data:
    """The tasks studied, their rows of either split, and those left out; beside them all that the file holds.

    What is not studied counts where rows of one document are cut alike. `values` are the different values that each
    task's rows ask for.
    """

    tasks: Mapping[str, Task]
    rows: tuple[Row, ...]
    values: Mapping[str, tuple[str, ...]]
    excluded: tuple[Excluded, ...]
    known_tasks: Mapping[str, Task]
    file_rows: tuple[Row, ...]

    def prompts(self, model: AskedModel, tasks: Mapping[str, Task] = MappingProxyType({})) -> PromptBook:
        """A model's prompts of these rows, and of any `tasks` beside theirs."""
        return PromptBook(model, {**self.known_tasks, **tasks}, self.file_rows)


@dataclass(frozen=True)
class Inputs:
    """What a run works on: `rows` are the evaluation rows, one for each depth of a sweep; `all_rows` those of either
    split, as they were read, and `data` all that the file holds. Of the demo, whose rows are made, those alone that
    are needed. `values` are the different values that each task's rows ask for.

    `split_seed` is the ranking's where it has one, so that no filing it was made from is evaluated, and so is
    `split_share` where none was asked for. `overlap` are the evaluated filings that made the ranking all the same, and
    by what each was known (`None`: the ranking does not say what made it).
    `n_cut` counts the rows whose haystack was cut to a length (`None`: none was asked for).
    """

    tasks: Mapping[str, Task]
    rows: tuple[Row, ...]
    all_rows: tuple[Row, ...]
    values: Mapping[str, tuple[str, ...]]
    data: Data
    excluded: tuple[Excluded, ...]
    source: str
    ranking: HeadRanking
    model: AskedModel
    blueprint: Blueprint
    split_seed: int
    split_share: float
    overlap: Mapping[str, Seen] | None
    n_cut: int | None = None

    @property
    def settings(self) -> Settings:
        """What was asked for."""
        return self.model.settings

    @property
    def shape(self) -> ModelShape:
        """The model's layers and heads."""
        return self.blueprint.shape

    @property
    def manner(self) -> Manner:
        """How heads are ablated."""
        return Manner(self.settings.mode, self.settings.phase)

    @cached_property
    def prompts(self) -> PromptBook:
        """The prompts of these rows, and of those that are read beside them."""
        return self.data.prompts(self.model, self.tasks)

    @cached_property
    def by_id(self) -> Mapping[str, Row]:
        """The evaluation rows by their ids."""
        return {row.id: row for row in self.rows}

    @property
    def run_key(self) -> RunKey:
        """What records depend on beside prompt and heads."""
        return self.model.run_key

    def score(self, row: Row, completion: str) -> tuple[bool, bool]:
        """Whether a completion matches by the rule that was asked for, and by the published one."""
        published = matches_published(completion, row.needle_value)
        if self.settings.scorer == "published":
            return published, published
        compare, others = self.tasks[row.task].compare, self.values[row.task]
        return matches_value(completion, row.needle_value, compare, others), published

    @property
    def ranking_overlap(self) -> int | None:
        """How many of the evaluated filings made the ranking; `None` where it does not say."""
        return None if self.overlap is None else len(self.overlap)

    @property
    def known_by(self) -> dict[Seen, int]:
        """How many of those were known by what."""
        return dict(Counter((self.overlap or {}).values()))

    def study(self) -> Study:
        """What the builders of conditions need."""
        settings = self.settings
        return Study(
            self.ranking,
            self.shape,
            tuple(self.tasks),
            settings.k,
            seed=settings.seed,
            random_draws=settings.random_draws,
            random_match=settings.random_match,
            gate_draws=settings.gate_draws,
            gate_strata=settings.strata_layers,
        )


def read_inputs(settings: Settings) -> Inputs:
    """Read and check every file that the settings name.

    Raises:
        HarnessError: a file is missing or bad, or does not fit the others.
    """
    model = AskedModel(settings)
    blueprint = model.blueprint
    if not settings.dry_run:
        model.check_weights()
    if settings.mode in EDGE_MODES and blueprint.no_edges is not None:
        raise SettingsError(
            f"mode {settings.mode}: {blueprint.no_edges}; expected a model that does not; use the mode zero, mean or "
            "resample"
        )
    ranking = _ranking(settings)
    ranking.check_shape(blueprint.shape)
    ranking = ranking.completed(blueprint.shape)
    split_seed = settings.seed if ranking.split_seed is None else ranking.split_seed
    share = split_share(settings, ranking)
    evaluation = settings.mode not in ("mean", *DONOR_MODES)
    data = read_data(settings, (split_seed, share) if evaluation else None)
    all_rows = join_equal_texts(data.rows)
    rows = evaluation_rows(all_rows, settings, split_seed, share)
    evaluated = {row.filename for row in rows}
    book = data.prompts(model)
    rows, n_cut = book.cut(rows, book.placed_depth)
    inputs = Inputs(
        tasks=data.tasks,
        rows=rows,
        all_rows=all_rows,
        values=data.values,
        data=data,
        excluded=data.excluded,
        source=data_source(settings),
        ranking=ranking,
        model=model,
        blueprint=blueprint,
        split_seed=split_seed,
        split_share=share,
        overlap=_overlap([row for row in data.rows if row.filename in evaluated], ranking),
        n_cut=None if settings.seq_len is None else n_cut,
    )
    # asked for now, so that what they lack is said before any work begins
    if isinstance(settings.facts, Path):
        read_facts(settings.facts)
    if settings.mode == "mean":
        mean_rows(inputs)
    if settings.mode in DONOR_MODES:
        for row in rows:
            donor_row(inputs, row)
    return inputs


def read_data(settings: Settings, evaluated: tuple[int, float] | None = None) -> Data:
    """What the file of rows holds, and what of it is studied. Raises DataError.

    Of the demo, whose rows are made one by one, those for evaluation alone where a seed and a share say which these
    are.
    """
    known = dict(EDGAR_TASKS) | (load_tasks(settings.task_file) if settings.task_file else {})
    if settings.data is None:
        from harness.demo.filings import demo_rows, demo_values

        made = demo_rows() if evaluated is None else demo_rows(only=lambda name: is_evaluated(name, *evaluated))
        table = check_rows(made, known, source=DEMO, strict=settings.strict_rows)
        values: Mapping[str, tuple[str, ...]] = demo_values()
    else:
        table = read_rows(settings.data, known, strict=settings.strict_rows)
        values = values_of(table.rows)
    held = Counter(row.task for row in table.rows)
    names = settings.tasks or tuple(task for task in known if held[task])
    tasks = select_tasks(known, names)
    for task in tasks:
        if not held[task]:
            raise DataError(
                f"{data_source(settings)}: no rows of the task {task}; expected rows of every task asked for; "
                f"it holds {', '.join(sorted(held))}"
            )
    rows = tuple(row for row in table.rows if row.task in tasks)
    return Data(tasks, rows, values, table.excluded, known_tasks=known, file_rows=table.rows)


def values_of(rows: Iterable[Row]) -> Mapping[str, tuple[str, ...]]:
    """The different values that each task's rows ask for."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        found.setdefault(row.task, {})[row.needle_value] = None
    return {task: tuple(values) for task, values in found.items()}


def data_source(settings: Settings) -> str:
    """How messages and reports name the rows' source."""
    return DEMO if settings.data is None else settings.data.name


def split_share(settings: Settings, ranking: HeadRanking | None = None) -> float:
    """The part of the clusters that is for identification: as asked for, else the ranking's, else the usual one."""
    if settings.split_share is not None:
        return settings.split_share
    return SPLIT_SHARE if ranking is None or ranking.split_share is None else ranking.split_share


def evaluation_rows(
    rows: Iterable[Row], settings: Settings, split_seed: int, share: float = SPLIT_SHARE
) -> tuple[Row, ...]:
    """The evaluation rows, cut to whole filings by `max_rows`, and one for each depth of a sweep.

    Raises DataError where none is left.
    """
    kept = first_filings(split_rows(rows, seed=split_seed, share=share).evaluation, settings.max_rows, split_seed)
    if not kept:
        raise DataError(
            f"{data_source(settings)}: no rows for evaluation; expected at least one filing of the evaluation split; "
            "give more filings, a split column, a smaller split-share or a larger max-rows"
        )
    if len(settings.depth) == 1:
        return kept
    return tuple(
        replace(row, depth=depth) for row in kept for depth in (settings.depth if row.depth is None else (row.depth,))
    )


def mean_rows(inputs: Inputs) -> tuple[Row, ...]:
    """The rows that mean values are taken over: the identification side of the split, whatever `max_rows` says.

    So what is computed for a row does not depend on how many others are asked. Raises DataError where there are none.
    """
    rows = split_rows(inputs.all_rows, seed=inputs.split_seed, share=inputs.split_share).identification
    if not rows:
        raise DataError(
            f"{inputs.source}: no rows for identification, which the mean of a head's output is taken over; expected "
            "at least one filing of the identification split; give more filings, a split column, or the mode zero"
        )
    return rows


def donor_row(inputs: Inputs, row: Row) -> Row:
    """The row whose outputs this one's ablated heads are given, of either split; a DataError where there is none."""
    return donor_of(row, inputs.all_rows, inputs.tasks[row.task], seed=inputs.settings.seed)


def first_filings(rows: Sequence[Row], most: int | None, seed: int) -> tuple[Row, ...]:
    """Whole filings in the order of their hashes while they fit: the same filings for every task."""
    if most is None:
        return tuple(rows)
    size = Counter(row.filename for row in rows)
    kept: set[str] = set()
    left = most
    for filing in sorted(size, key=lambda name: filing_hash(name, seed)):
        if size[filing] > left:
            break
        kept.add(filing)
        left -= size[filing]
    return tuple(row for row in rows if row.filename in kept)


def _ranking(settings: Settings) -> HeadRanking:
    if settings.heads is not None:
        return read_ranking(settings.heads, top_k=max(settings.k))
    if settings.model == DEMO:
        return replace(read_ranking(RANKING_FILE), source=f"{DEMO}/{RANKING_FILE.name}")
    raise SettingsError(
        f"heads: none given for the model {settings.model}; expected a ranking of its heads; make one with "
        "`retrieval-heads identify` and name it with --ablation-heads"
    )


def _overlap(rows: Sequence[Row], ranking: HeadRanking) -> Mapping[str, Seen] | None:
    """By their names, and where the ranking holds traces by cluster and text. `rows` are as they were read."""
    if ranking.filing_hashes is None:
        return None
    seed, hashes = ranking.split_seed or 0, ranking.filing_hashes
    seen: dict[str, Seen] = {row.filename: "name" for row in rows if filing_hash(row.filename, seed) in hashes}
    others = [row for row in rows if row.filename not in seen]
    if ranking.traces is not None:
        seen.update(seen_again(others, ranking.traces, seed))
    return seen
