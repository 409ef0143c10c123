"""The fast way: all conditions of the rows of one filing together, sharing every layer and every token in common.

Prompts that begin alike are read as far as they do once for all of them, and every condition's layers as far as they
are those of another (`harness.experiment.prefix_tree`): a front is read over the tree of all head sets that are asked
of its prompts, and each prompt goes on from the nodes of its own. How one prompt is then answered is `answering`'s.

What it says is that of `harness.model.generation.reference`, up to rounding. Layers run by the model's own modules
(`branching`); where that is not possible (`one_by_one`), or a prompt would take memory of many positions x positions,
the reference itself does the work.

Breadth-first while the branches of a level fit into memory, else depth-first: one run of branches at a time,
with keys and values of its own path alone. How many fit is an estimate, so that few attempts fail; where memory runs
out all the same, the number is halved.

Knows nothing of experiments, of what tokens mean, nor of what is stored.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from harness.errors import ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention
from harness.experiment.prefix_tree import LEAST_SHARED, Front, token_trie
from harness.experiment.record import Ask, Completion
from harness.model.generation import reference
from harness.model.generation.answering import NOTHING, RowAnswers
from harness.model.generation.branching import Branching, decoder_layers
from harness.model.generation.shared_prefill import SharedPrompt, handed_down, prefill
from harness.model.generation.stages import Flight, Stages
from harness.model.intervention.ablation import check_free, check_heads
from harness.model.loading.loaded_model import LoadedModel, takes_square_memory
from harness.retrieval.prompts import Prompt

MOST_SQUARE = 8192
"""Positions of a prompt that may be fed whole where this takes memory that grows with their square."""

ENGINE_VERSION = 3
"""Changes whenever the meaning of what is computed does: part of the key of every record."""


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
    loaded: LoadedModel,
    asks: Sequence[Ask],
    *,
    branches: int | None = None,
    least: int = LEAST_SHARED,
    stages: Stages | None = None,
    in_flight: int | None = None,
) -> Iterator[tuple[int, tuple[Completion, ...]]]:
    """Complete several prompts, what they begin with once for all: each ask's number and completions as it is done.

    `least` is how many tokens prompts must begin with alike to be read together. Of prompts whose heads put out what
    hangs on the row (a donor) nothing is shared. Given a model's `stages`, prompts that have little in common are in
    flight together: as many as are busy and one more, unless another number is given, and as fit into memory. Raises
    what `run_row` raises.
    """
    for ask in asks:
        reference.check_request(loaded, ask.prompt, ask.baseline_ids, max_new_tokens=ask.max_new_tokens)
        check_heads(loaded.outputs, ask.head_sets)
    check_free(loaded.outputs)
    left: list[int] = []
    for number, ask in enumerate(asks):
        if not ask.head_sets:
            yield number, ()
        elif _is_for_the_reference(loaded, ask.prompt):
            yield from ((number, completions) for _, completions in reference.run_rows(loaded, [ask]))
        else:
            left.append(number)

    def walk(group: Sequence[int], share: _Share | None = None) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        return _Walk(loaded, [asks[number] for number in group], branches, share).run(group, least)

    if stages is None:
        for group in _together(asks, left):
            yield from walk(group)
        return
    groups = [part for group in _together(asks, left) for part in _apart(asks, group, least)]
    # which attention is noted is for the config to say, which all rows in flight have in common
    flying = [group for group in groups if not isinstance(asks[group[0]].intervention.values, Edges)]
    capacity = max((RowAnswers(loaded, asks[number]).capacity for group in flying for number in group), default=0)
    room = free_memory(loaded)
    most = rows_that_fit(loaded, capacity, room, most=min(in_flight or stages.n_turns + 1, len(flying)))
    if most < 2:
        flying = []
    for group in groups:
        if group not in flying:
            yield from walk(group)
    yield from stages.fly(flying, lambda group, flight: walk(group, _Share(flight, most, room)), most=most)


def _together(asks: Sequence[Ask], numbers: Sequence[int]) -> list[list[int]]:
    """Those whose beginnings are shared, those that share nothing before."""
    single = [[number] for number in numbers if isinstance(asks[number].intervention.values, Prompt)]
    rest = [number for number in numbers if [number] not in single]
    return [*single, rest] if rest else single


def _apart(asks: Sequence[Ask], group: Sequence[int], least: int) -> list[list[int]]:
    """The same in groups that have less in common than a quarter of a prompt: a template, no document."""
    prompts = [asks[number].prompt.token_ids for number in group]
    fronts = token_trie(prompts, least=max(least, min(map(len, prompts)) // 4))
    return [[group[member] for member in front.prompts] for front in fronts]


def _is_for_the_reference(loaded: LoadedModel, prompt: Prompt) -> bool:
    n_tokens = len(prompt.token_ids)
    return loaded.one_by_one is not None or (n_tokens > MOST_SQUARE and takes_square_memory(loaded, n_tokens))


@dataclass(frozen=True, eq=False, slots=True)
class _Share:
    """What one of several rows in flight may take: `room` is what all of them have on each device."""

    flight: Flight
    n_rows: int
    room: Mapping[torch.device, float]


class _Walk:
    """Down the trie of some prompts to their answers; `share` where others are in flight."""

    def __init__(
        self, loaded: LoadedModel, asks: Sequence[Ask], branches: int | None, share: _Share | None = None
    ) -> None:
        self._share = share
        self._loaded = loaded
        self._rows = [RowAnswers(loaded, ask) for ask in asks]
        self._given = branches
        self._halvings = 0

    def run(self, numbers: Sequence[int], least: int) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each prompt's number and completions, as soon as all of its head sets are answered."""
        for front in token_trie([row.ask.prompt.token_ids for row in self._rows], least=least):
            reported: set[int] = set()
            for member in self._read_again(front):
                if member not in reported and not self._rows[member].left:
                    reported.add(member)
                    yield numbers[member], self._rows[member].completions()

    def _read_again(self, front: Front) -> Iterator[int]:
        """`_read` from the first token on, with fewer branches wherever memory runs out."""
        branches = self._given or self._that_fit(front)
        while True:
            try:
                yield from self._read(front, None, NOTHING, branches)
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if branches == 1 and self._alone:
                    row = next(self._rows[member] for member in front.prompts if self._rows[member].left)
                    raise ModelError(
                        f"{row.ask.prompt.row_id}: out of memory at one condition of {row.capacity} tokens; "
                        "expected room for one; use shorter documents, a smaller dtype or more devices"
                    ) from error
            torch.cuda.empty_cache()
            if self._share is not None and not self._alone:
                self._share.flight.be_alone()
                continue
            branches //= 2
            self._halvings += 1

    @property
    def _alone(self) -> bool:
        """Whether no other row takes memory."""
        return self._share is None or self._share.flight.is_alone

    def _that_fit(self, front: Front) -> int:
        """A branch holds keys and values twice where it is decoded, and once more for each front above."""
        share = self._share
        rows, room = (1, None) if share is None else (share.n_rows, share.room)
        fit = branches_that_fit(self._loaded, self._capacity(front), rows=rows, room=room)
        return max(1, fit * 2 // (2 + front.depth))

    def _capacity(self, front: Front) -> int:
        return max(self._rows[member].capacity for member in front.prompts)

    def _read(
        self, front: Front, above: SharedPrompt | None, fired: Mapping[frozenset[Head], int], branches: int
    ) -> Iterator[int]:
        """Answer what is left of the front's prompts, as far as `above` has read for it; numbers of prompts with news.

        `fired` are calls of ablated projections so far, by head set.
        """
        rows = [self._rows[member] for member in front.prompts]
        sets = list(dict.fromkeys(heads for row in rows for heads in _of(row, above)))
        if not sets:
            return
        first, capacity = rows[0], self._capacity(front)
        tree = first.read_tree(sets)
        held = () if above is None else handed_down(above, tree, capacity)
        if not front.children:
            with torch.inference_mode():
                first.answer(sets, held, branches=branches, halvings=self._halvings, fired=fired)
            yield front.prompts[0]
            return
        branching = Branching(self._loaded, first.front_replacement)
        tokens = first.ask.prompt.token_ids[front.start : front.stop]
        read = prefill(self._loaded, branching, tree, tokens, (), capacity=capacity, branches=branches, held=held)
        for shared in _inferring(read):
            branching.check()
            for child in front.children:
                yield from self._read(child, shared, Counter(branching.fired) + Counter(fired), branches)


def _of(row: RowAnswers, above: SharedPrompt | None) -> list[frozenset[Head]]:
    """The head sets left of a row that what was read above is of: all where heads are ablated from its end on."""
    if above is None or row.ask.intervention.phase == "decode":
        return row.left
    leaves = set(above.tree.leaves)
    return [heads for heads in row.left if heads in leaves]


def _inferring(parts: Iterable[SharedPrompt]) -> Iterator[SharedPrompt]:
    """Each step of a walk without gradients; whoever takes a part decides for itself."""
    walk = iter(parts)
    while True:
        with torch.inference_mode():
            part = next(walk, None)
        if part is None:
            return
        yield part


CPU_BYTES = 2**28
"""What branches may take on a CPU, where the memory that is free says little: larger batches are no faster."""

SHARE = 0.8
"""Of a GPU's free memory: the rest is left to fragments and to kernels' own scratch."""


def free_memory(loaded: LoadedModel) -> dict[torch.device, float]:
    """Bytes that branches may take on each GPU of the model, of what is free now; else a fixed budget."""
    devices = {parameter.device for parameter in loaded.model.parameters() if parameter.device.type == "cuda"}
    return {device: _free(device) for device in devices} or {loaded.device: CPU_BYTES}


def branches_that_fit(
    loaded: LoadedModel, n_positions: int, *, rows: int = 1, room: Mapping[torch.device, float] | None = None
) -> int:
    """How many branches each of so many rows in flight may hold, by default one and all room; at least 1."""
    return max(1, int(_branches(loaded, n_positions, room or free_memory(loaded), rows)))


def rows_that_fit(loaded: LoadedModel, n_positions: int, room: Mapping[torch.device, float], *, most: int) -> int:
    """How many rows may be in flight together, each with one branch at least; at least 1."""
    return next((rows for rows in range(most, 1, -1) if _branches(loaded, n_positions, room, rows) >= 1), 1)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _free(device: torch.device) -> float:
    """Bytes that can be had on a GPU: not in use by anyone, or kept by this process for reuse."""
    unused, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE * (unused + kept)


def _branches(loaded: LoadedModel, n_positions: int, room: Mapping[torch.device, float], rows: int) -> float:
    """By the device that is fullest: a branch's keys and values twice, for each row, and one layer's intermediate
    results, which rows in flight have one after the other."""
    config, shape = loaded.model.config.get_text_config(), loaded.shape
    size = loaded.model.dtype.itemsize
    width = shape.n_heads * (shape.head_dim or 0)
    inner = int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    layer = 8 * int(config.hidden_size) + 3 * inner + 5 * width
    # eager attention: scores, softmax in float32, and its copy
    scores = shape.n_heads * n_positions * (2 * size + 4) if loaded.attention == "eager" else 0
    cached = dict.fromkeys(room, 0)
    for module, each in zip(decoder_layers(loaded), loaded.size.layers, strict=True):
        device = next(module.parameters()).device
        cached[device if device in cached else next(iter(cached))] += each.cached
    return min(
        free / (n_positions * (size * (rows * 2 * cached[device] + layer) + scores)) for device, free in room.items()
    )
