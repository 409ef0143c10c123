"""A group of prompts on the way from its first tokens to its answers, and again with less where memory runs out.

Prompts that begin alike are walked down the trie of their tokens: a front is read over the tree of all head sets that
are asked of its prompts, and each prompt goes on from the nodes of its own. Prompts that are to be read side by side
are one batch from the first token on; where some of them begin alike, all are cut at the same places, and up to a cut
those that are equal are one row of the batch.

Breadth-first while the tree's keys and values fit into memory, else depth-first: one run of branches at a time, with
those of its own path alone. How much fits is an estimate (`room`); where memory runs out all the same, it is halved.

Knows nothing of which prompts are a group (`groups`), nor of how prompts that were read are answered (`answering`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from harness.errors import ModelError
from harness.experiment.heads import Head
from harness.experiment.prefix_tree import Front, cuts, prefix_forest, prefix_tree, token_trie
from harness.experiment.record import Ask, Completion
from harness.model.generation.answering import answer_together
from harness.model.generation.branching import Branching
from harness.model.generation.room import Free, Room, busy_tokens, is_out_of_memory, room_for, room_of
from harness.model.generation.row_answers import NOTHING, ReadPrompt, RowAnswers
from harness.model.generation.shared_prefill import prefill, prefill_together
from harness.model.generation.shared_prompt import SharedPrompt, handed_down
from harness.model.generation.stages import Flight
from harness.model.generation.waiting import Aside, Waiting
from harness.model.loading.loaded_model import LoadedModel


@dataclass(frozen=True, eq=False, slots=True)
class Share:
    """What one of several rows in flight may take: `free` is what all of them have on each device."""

    flight: Flight
    n_rows: int
    free: Free


@dataclass(frozen=True, eq=False, slots=True)
class _Alike:
    """Rows whose prompts begin alike; what was `read` of that, with so many calls of ablated projections by head set.

    It went on from the `front` of this number.
    """

    rows: Sequence[RowAnswers]
    front: int = 0
    read: SharedPrompt | None = None
    fired: Counter[frozenset[Head]] = field(default_factory=Counter)

    @property
    def sets(self) -> list[frozenset[Head]]:
        """The head sets left of all of them, of those that were read."""
        return list(dict.fromkeys(heads for row in self.rows for heads in _of(row, self.read)))

    def parted(self, number: int, stop: int | None) -> "list[_Alike]":
        """Those that are equal as far as `stop` (`None`: each by itself); this is the front of that number."""
        parts: dict[object, list[RowAnswers]] = {}
        for row in self.rows:
            if _of(row, self.read):
                parts.setdefault(id(row) if stop is None else row.ask.prompt.token_ids[:stop], []).append(row)
        return [replace(self, rows=rows, front=number) for rows in parts.values()]


class GroupWalk:
    """Down the trie of some prompts to their answers; `share` where others are in flight."""

    def __init__(
        self, loaded: LoadedModel, asks: Sequence[Ask], branches: int | None, share: Share | None = None
    ) -> None:
        self._share = share
        self._loaded = loaded
        self._rows = [RowAnswers(loaded, ask) for ask in asks]
        self._given = branches
        self._halvings = 0
        self._waiting = Waiting(loaded, most=len(asks))

    def run_side_by_side(self, numbers: Sequence[int]) -> Iterator[Sequence[tuple[int, tuple[Completion, ...]]]]:
        """Each prompt's number and completions, with those of all that were answered together; the prompts have one
        replacement."""
        for members in self._read_side_by_side(range(len(self._rows))):
            yield [(numbers[member], self._rows[member].completions()) for member in members]

    def _read_side_by_side(self, members: Sequence[int]) -> Iterator[Sequence[int]]:
        """Numbers of those that are answered, half as many at once wherever memory runs out."""
        rows = [self._rows[member] for member in members]
        if len(rows) == 1:
            for _ in self._read_again(Front(0, len(rows[0].ask.prompt.token_ids), tuple(members))):
                pass
            yield members
            return
        try:
            with torch.inference_mode():
                self._answer_side_by_side(rows)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if done := [member for member in members if not self._rows[member].left]:
            yield done
        if left := [member for member in members if self._rows[member].left]:
            torch.cuda.empty_cache()
            self._halvings += 1
            for half in (left[: len(left) // 2], left[len(left) // 2 :]):
                yield from self._read_side_by_side(half) if half else ()

    def _answer_side_by_side(self, rows: Sequence[RowAnswers]) -> None:
        """What is left of these rows, as much of it at once as there is room for."""
        capacity, prompts = max(row.capacity for row in rows), [row.ask.prompt.token_ids for row in rows]
        room, n_layers = self._room_of(capacity), len(self._loaded.outputs)
        n_nodes = prefix_tree(rows[0].left, n_layers).n_nodes
        ends = cuts(prompts, busy_tokens(self._loaded) * n_layers / n_nodes)
        # what was read up to a cut is held beside what goes on from it
        fronts = sum(len({prompt[:end] for prompt in prompts}) * end / capacity for end in ends)
        fits = (len(rows) + fronts) * n_nodes <= room.rows
        self._go_on_side_by_side([_Alike(rows)], ends if fits else (), room)

    def _go_on_side_by_side(self, begun: Sequence[_Alike], ends: Sequence[int], room: Room) -> None:
        """Read on, side by side, to the next of `ends` or to the prompts' own, and answer what is left of these rows.

        All have been read as far, and together.
        """
        stop = ends[0] if ends else None
        parts = [part for number, each in enumerate(begun) for part in each.parted(number, stop)]
        if not parts:
            return
        rows = [row for each in parts for row in each.rows]
        first, fronts = [each.rows[0].ask for each in parts], [each.read for each in begun if each.read is not None]
        forest = prefix_forest([each.sets for each in parts], len(self._loaded.outputs))
        branching = Branching(self._loaded, rows[0].replacement)
        capacity = stop or max(row.capacity for row in rows)
        above = [each.front for each in parts]
        start = fronts[0].n_held + 1 if fronts else 0
        # a gold value that is no longer than an answer is cheaper to feed with the answers
        by_leaf = all(len(row.ask.prompt.value_ids) <= row.ask.max_new_tokens for row in rows)
        read = prefill_together(
            self._loaded,
            branching,
            forest,
            [ask.prompt.token_ids[start:stop] for ask in first],
            [() if stop or by_leaf else ask.prompt.value_ids for ask in first],
            capacity=capacity,
            room=room,
            held=handed_down(fronts, above, forest, capacity) if fronts else (),
        )
        for some in read:
            of = [parts[each.tree.prompts[0]] for each in some]
            if stop is None:
                answer_together(
                    self._loaded,
                    [
                        ReadPrompt(part.rows[0], each, branching, part.fired, self._halvings)
                        for part, each in zip(of, some, strict=True)
                    ],
                )
                continue
            goes_on = [
                replace(part, read=each, fired=part.fired + branching.fired_in(each.tree.prompts[0]))
                for part, each in zip(of, some, strict=True)
            ]
            self._go_on_side_by_side(goes_on, ends[1:], room)
            # not before: it waits for the device, which is to be given what comes next meanwhile
            branching.check()

    def run(self, numbers: Sequence[int], least: int) -> Iterator[Sequence[tuple[int, tuple[Completion, ...]]]]:
        """Each prompt's number and completions, as soon as all of its head sets are answered; what was answered
        together comes together."""
        for front in token_trie([row.ask.prompt.token_ids for row in self._rows], least=least):
            reported: set[int] = set()
            for _ in self._read_again(front):
                if done := [each for each in front.prompts if each not in reported and not self._rows[each].left]:
                    reported.update(done)
                    yield [(numbers[member], self._rows[member].completions()) for member in done]

    def _read_again(self, front: Front) -> Iterator[None]:
        """`_read` from the first token on, with less room wherever memory runs out."""
        room = self._room(front)
        while True:
            try:
                yield from self._read(front, None, NOTHING, room)
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if room.is_least and self._alone and not self._waiting:
                    row = next(self._rows[member] for member in front.prompts if self._rows[member].left)
                    raise ModelError(
                        f"{row.ask.prompt.row_id}: out of memory at one condition of {row.capacity} tokens; "
                        "expected room for one; use shorter documents, a smaller dtype or more devices"
                    ) from error
            torch.cuda.empty_cache()
            if self._share is not None and not self._alone:
                self._share.flight.be_alone()
            elif self._waiting:
                self._waiting.most = len(self._waiting) // 2
            else:
                room = room.halved()
                self._halvings += 1
            self._waiting.forget()

    @property
    def _alone(self) -> bool:
        """Whether no other row takes memory."""
        return self._share is None or self._share.flight.is_alone

    def _room(self, front: Front) -> Room:
        """What is read of a front may be held once more for the nodes that each prompt passes through."""
        room = self._room_of(self._capacity(front))
        return room if self._given is not None else room.shared(1 + front.depth)

    def _room_of(self, capacity: int) -> Room:
        """For prompts of so many positions, in the share of the memory that this may take."""
        if self._given is not None:
            return room_for(self._loaded, self._given)
        if self._share is None:
            return room_of(self._loaded, capacity)
        return room_of(self._loaded, capacity, self._share.free).shared(self._share.n_rows)

    def _capacity(self, front: Front) -> int:
        return max(self._rows[member].capacity for member in front.prompts)

    def _read(
        self,
        front: Front,
        above: SharedPrompt | None,
        fired: Mapping[frozenset[Head], int],
        room: Room,
        aside: Aside | None = None,
    ) -> Iterator[None]:
        """Answer what is left of the front's prompts, as far as `above` has read for it; gives a sign whenever some may
        be answered.

        `fired` are calls of ablated projections so far, by head set. One prompt is put `aside`, where there is such.
        """
        rows = [self._rows[member] for member in front.prompts]
        sets = list(dict.fromkeys(heads for row in rows for heads in _of(row, above)))
        if not sets:
            return
        first, capacity = rows[0], self._capacity(front)
        tree = first.read_tree(sets)
        held = () if above is None else handed_down([above], [0], tree, capacity)
        if not front.children:
            with torch.inference_mode():
                for one in first.read(sets, held, room=room, halvings=self._halvings, fired=fired):
                    self._waiting.take(one, aside)
            yield
            return
        branching = Branching(self._loaded, first.front_replacement)
        tokens = first.ask.prompt.token_ids[front.start : front.stop]
        read = prefill(self._loaded, branching, tree, tokens, (), capacity=capacity, room=room, held=held)
        for shared in _inferring(read):
            branching.check()
            aside = self._aside(front, shared, room)
            for child in front.children:
                if child.children:
                    self._waiting.answer(aside)
                yield from self._read(child, shared, branching.fired_in(0) + Counter(fired), room, aside)
            self._waiting.answer(aside)
            yield

    def _aside(self, front: Front, read: SharedPrompt, room: Room) -> Aside | None:
        """For as many of the front's prompts as may wait beside one that is read, where they are answered together."""
        rows = [self._rows[child.prompts[0]] for child in front.children if not child.children]
        if not all(row.goes_with_others for row in rows):
            return None
        trees = [row.read_tree(sets) for row in rows if (sets := _of(row, read))]
        if len(trees) < 2:
            return None
        n_rows = [max(level.n_parents for level in levels) for levels in zip(*(t.levels for t in trees), strict=True)]
        capacity, most = self._capacity(front), max(row.ask.max_new_tokens for row in rows)
        n_leaves = max(len(tree.leaves) for tree in trees)
        each = (sum(n_rows) * (capacity - front.stop) + n_leaves * len(n_rows) * most) / capacity
        fit = min(len(trees), self._waiting.most, int((room.rows - sum(n_rows)) / each))
        return Aside(read, fit, n_rows, capacity - front.stop) if fit > 1 else None


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
