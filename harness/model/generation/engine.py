"""The fast way: all conditions of the rows of one filing together, sharing every layer and every token in common.

Prompts that begin alike are read as far as they do once for all of them, and every condition's layers as far as they
are those of another (`harness.experiment.prefix_tree`). Prompts that would leave a GPU waiting, of whatever documents,
are read side by side (`groups`). How a group is read, in the memory there is, is `group_walk`'s.

What it says is that of `harness.model.generation.reference`, up to rounding. Layers run by the model's own modules
(`branching`); where that is not possible (`one_by_one`), or a prompt would take memory of many positions x positions,
the reference itself does the work.

Knows nothing of experiments, of what tokens mean, nor of what is stored.
"""

from collections.abc import Iterator, Sequence

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention
from harness.experiment.prefix_tree import LEAST_SHARED
from harness.experiment.record import Ask, Completion
from harness.model.generation import reference
from harness.model.generation.group_walk import GroupWalk, Share
from harness.model.generation.groups import Group, apart, at_once, groups_of, rounds_at_once, to_read
from harness.model.generation.room import free_memory, rows_that_fit
from harness.model.generation.row_answers import RowAnswers
from harness.model.generation.stages import Flight, Stages
from harness.model.loading.loaded_model import LoadedModel
from harness.retrieval.prompts import Prompt

ENGINE_VERSION = 3
"""Changes whenever the meaning of what is computed does: part of the key of every record."""


SPARE = 2
"""Rows in flight beside one for each device: a row that decodes keeps none busy, and must not leave one idle."""


def run_row(
    loaded: LoadedModel,
    prompt: Prompt,
    head_sets: Sequence[frozenset[Head]],
    baseline_ids: tuple[int, ...] | None,
    intervention: Intervention = ZEROED,
    *,
    max_new_tokens: int,
    branches: int | None = None,
) -> tuple[Completion, ...]:
    """Complete one prompt for each head set; in meaning, `harness.model.generation.reference.run_row`.

    `branches` is how many may be held at once, by default as many as fit into memory. Running out of memory
    halves it and goes on with what is not done. `hooks_fired` counts shared calls for each condition.

    Raises:
        ModelError: nothing to complete or no gold value; prompt and completion longer than the model's
            window; out of memory with one branch.
        AblationError: an unknown head, or an ablation that was not sound.
    """
    ask = Ask(prompt, tuple(head_sets), baseline_ids, intervention, max_new_tokens)
    ((_, completions),) = run_rows(loaded, [ask], branches=branches)
    return completions


def run_rows(
    loaded: LoadedModel, asks: Sequence[Ask], *, branches: int | None = None, least: int = LEAST_SHARED
) -> Iterator[tuple[int, tuple[Completion, ...]]]:
    """Complete several prompts, what they begin with once for all: each ask's number and completions as it is done.

    `least` is how many tokens prompts must begin with alike to be read together. Of prompts whose heads put out what
    hangs on the row (a donor) nothing is shared. Raises what `run_row` raises.
    """
    for group in to_read(loaded, asks, least):
        for together in _answers(loaded, group, branches, least):
            yield from together


def run_side_by_side(
    loaded: LoadedModel,
    rounds: Iterator[Sequence[Ask] | None],
    *,
    branches: int | None = None,
    least: int = LEAST_SHARED,
) -> Iterator[Sequence[tuple[int, int, tuple[Completion, ...]]]]:
    """Complete prompts round by round, of several rounds together: each one's round, number and completions.

    Rounds are taken until they have as many prompts as are read side by side, or there is none at the moment (`None`);
    one at a time where none are. What is given out together was answered together. Raises what `run_row` raises.
    """
    several = rounds_at_once(loaded) > 1
    taken: list[tuple[int, int, Ask]] = []

    def answered() -> Iterator[Sequence[tuple[int, int, tuple[Completion, ...]]]]:
        for group in to_read(loaded, [ask for _, _, ask in taken], least):
            for together in _answers(loaded, group, branches, least):
                yield [(*taken[number][:2], said) for number, said in together]
        taken.clear()

    n_rounds = 0
    for asks in rounds:
        if asks is not None:
            taken += ((n_rounds, number, ask) for number, ask in enumerate(asks))
            n_rounds += 1
            if several and len(taken) < at_once(loaded, [ask.prompt for _, _, ask in taken]):
                continue
        yield from answered()
    yield from answered()


def run_rounds(
    loaded: LoadedModel,
    rounds: Iterator[Sequence[Ask] | None],
    stages: Stages,
    *,
    branches: int | None = None,
    least: int = LEAST_SHARED,
    in_flight: int | None = None,
) -> Iterator[Sequence[tuple[int, int, tuple[Completion, ...]]]]:
    """Complete prompts round by round, in flight together: each one's round, number and completions as it is done.

    In flight are prompts that have little in common, of one round or several: as many as the model's `stages` have
    turns and `SPARE`, unless another number is given, and as fit into memory. Rounds are asked for when there is place
    for one; `None` is none at the moment. What is given out together was answered together. Raises what `run_row`
    raises.
    """
    most, free = in_flight or stages.n_turns + SPARE, free_memory(loaded)

    def rows(group: Group) -> int:
        longest = max(RowAnswers(loaded, ask).capacity for ask in group.asks)
        return 1 if group.alone else rows_that_fit(loaded, longest, free, most=most)

    def groups() -> Iterator[tuple[int, Group] | None]:
        number = 0
        for asks in rounds:
            if asks is None:
                yield None
                continue
            yield from ((number, part) for group in groups_of(loaded, asks) for part in apart(group, least))
            number += 1

    def run(work: tuple[int, Group], flight: Flight) -> Iterator[Sequence[tuple[int, int, tuple[Completion, ...]]]]:
        share = Share(flight, rows(work[1]), free)
        for together in _answers(loaded, work[1], branches, least, share):
            yield [(work[0], *answer) for answer in together]

    yield from stages.fly(groups(), run, part=lambda work: 1 / rows(work[1]), most=most)


def _answers(
    loaded: LoadedModel, group: Group, branches: int | None, least: int, share: Share | None = None
) -> Iterator[Sequence[tuple[int, tuple[Completion, ...]]]]:
    """Of a group's prompts, what was answered together at a time."""
    if not group.by_reference:
        walk = GroupWalk(loaded, group.asks, branches, share)
        yield from walk.run_side_by_side(group.numbers) if group.side_by_side else walk.run(group.numbers, least)
        return
    for number, completions in reference.run_rows(loaded, group.asks):
        yield [(group.numbers[number], completions)]
