"""The conditions of prompts answered: drafts checked, and what departs from them decoded.

1. A prompt, with the gold value after it, is run once over the layer-prefix tree of the conditions' heads
   (`harness.experiment.prefix_tree`); in the last layer only keys and values.
2. Drafts are checked: the last layer at the last positions gives every condition's own choice after the
   prompt and after each token of the gold value. A condition that says the draft and then ends needs no
   decoding. The untouched model's answer is a draft for the others, where it is another than the gold value.
3. What departs is decoded, all such conditions in one batch, which shrinks as they end.

On a GPU, which waits for launches, prompts that were read are answered together: their leaves are one batch, over what
each prompt's nodes hold, to which the untouched model's answers are fed as well. Elsewhere drafts are read over the
tree's nodes, prompt by prompt.

Where heads are ablated from the prompt's last token on, the prompt before it is run once for all conditions, and
what was read is copied for those that part after it.

Knows nothing of other prompts, but that what comes first of this one may have been read already.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues, Rescue
from harness.experiment.prefix_tree import PrefixTree, prefix_tree
from harness.experiment.record import Ask, Completion, noted
from harness.model.generation.branching import Branching
from harness.model.generation.decoding import Greedy, GrowingRows, Leaf, Reading, decode, filled
from harness.model.generation.leaf_step import LeafStep, can_step_by_leaf
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.room import COMPUTED, Room, free_memory
from harness.model.generation.shared_prefill import (
    SharedPrompt,
    gather,
    parts_of,
    prefill,
    read_draft,
    read_prefilled,
    spread,
)
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.head_values import replacement_of
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.loaded_model import LoadedModel

NOTHING: Mapping[frozenset[Head], int] = Counter()


LOGITS_BYTES = 2**32
"""What the logits of drafts that are fed by leaf may take, at least: a tenth of what is free, if that is more."""

MOST_LOGITS = 2**31
"""As many numbers as one tensor may have without kernels that count further."""


@dataclass(slots=True)
class _Answer:
    """What is known of one condition so far."""

    leaf: Leaf
    gold_logprob: float
    baseline_logprob: float | None = None
    baseline_logprobs: tuple[float, ...] | None = None
    halvings: int = 0

    def note_baseline(self, logprobs: Sequence[float]) -> None:
        """How likely each token of the untouched model's answer is."""
        self.baseline_logprob, self.baseline_logprobs = fsum(logprobs), noted(logprobs)

    def completion(self, with_baseline: bool) -> Completion:
        greedy = self.leaf.greedy
        ids, ended = greedy.token_ids, greedy.ended
        return Completion(
            token_ids=tuple(ids[:-1] if ended else ids),
            end_token_id=ids[-1] if ended else None,
            gold_logprob=self.gold_logprob,
            baseline_logprob=self.baseline_logprob if with_baseline else None,
            hooks_fired=self.leaf.hooks_fired,
            smallest_gap=min(greedy.gaps),
            halvings=self.halvings,
            baseline_logprobs=self.baseline_logprobs if with_baseline else None,
        )


class RowAnswers:
    """One prompt's conditions on their way; `answers` holds those that are done.

    `baseline_ids` are what the untouched model said, its end token included, once that is known.
    """

    def __init__(self, loaded: LoadedModel, ask: Ask) -> None:
        self.ask = ask
        self.answers: dict[frozenset[Head], _Answer] = {}
        self.baseline_ids = ask.baseline_ids
        self._loaded = loaded
        self._replacement: Replacement | None = None

    @property
    def capacity(self) -> int:
        """Positions that prompt and drafts take at most."""
        ask = self.ask
        drafted = max(len(ask.prompt.value_ids), ask.max_new_tokens, len(ask.baseline_ids or ()))
        return len(ask.prompt.token_ids) + drafted

    @property
    def left(self) -> list[frozenset[Head]]:
        """The head sets without an answer."""
        return [heads for heads in dict.fromkeys(self.ask.head_sets) if heads not in self.answers]

    @property
    def replacement(self) -> Replacement:
        """What ablated heads put out here; found once, which a donor's run may be needed for."""
        if self._replacement is None:
            ask = self.ask
            self._replacement = replacement_of(
                self._loaded, ask.prompt, ask.head_sets, ask.intervention, max_new_tokens=ask.max_new_tokens
            )
        return self._replacement

    @property
    def front_replacement(self) -> Replacement:
        """The same before the prompt's last token, where it does not hang on the row: of any row that begins alike."""
        return ZERO if isinstance(self.ask.intervention.values, Rescue) else self.replacement

    @property
    def goes_with_others(self) -> bool:
        """Whether it may be answered together with other prompts, and gains by it."""
        values, phase = self.ask.intervention.values, self.ask.intervention.phase
        steady = values is None or isinstance(values, MeanValues)
        return steady and phase == "all" and self._loaded.waits_for_launches and can_step_by_leaf(self._loaded)

    def read(
        self,
        head_sets: Sequence[frozenset[Head]],
        held: Sequence[NodeLayer] = (),
        *,
        room: Room,
        halvings: int = 0,
        fired: Mapping[frozenset[Head], int] = NOTHING,
    ) -> Iterator["ReadPrompt"]:
        """The prompt read for these head sets, as many at once as there is room for.

        `held` are the layers of `read_tree(head_sets)` with the prompt's first tokens in them, which `fired` calls of
        ablated projections were needed for. What was given out before is to be answered, or put aside, before the next
        is asked for.
        """
        tree = prefix_tree(head_sets, len(self._loaded.outputs))
        branching = Branching(self._loaded, self.replacement)
        for shared in self._read_prompt(tree, held, branching, room):
            yield ReadPrompt(self, shared, branching, fired, halvings)

    def read_tree(self, head_sets: Sequence[frozenset[Head]]) -> PrefixTree:
        """The tree over which the prompt is read, but for its last token."""
        decode_only = self.ask.intervention.phase == "decode"
        return prefix_tree([frozenset()] if decode_only else head_sets, len(self._loaded.outputs))

    def completions(self) -> tuple[Completion, ...]:
        """A completion for each head set that was asked for, in their order."""
        untouched, sets = frozenset[Head](), self.ask.head_sets
        # as one by one: the baseline's tokens serve itself and what comes after it
        known = self.ask.baseline_ids is not None
        known_from = 0 if known else sets.index(untouched) if untouched in sets else None
        return tuple(
            self.answers[heads].completion(known_from is not None and position >= known_from)
            for position, heads in enumerate(sets)
        )

    def _read_prompt(
        self, tree: PrefixTree, held: Sequence[NodeLayer], branching: Branching, room: Room
    ) -> Iterator[SharedPrompt]:
        """The leaves, their prompt read, as many at once as there is room for."""
        prompt = self.ask.prompt
        decode_only = self.ask.intervention.phase == "decode"
        n_held = held[0].length if held else 0
        read = prefill(
            self._loaded,
            branching,
            self.read_tree(tree.leaves),
            prompt.token_ids[n_held:],
            () if decode_only else prompt.value_ids,
            capacity=self.capacity,
            room=room,
            held=held,
        )
        if not decode_only:
            yield from read
            return
        (untouched,) = read
        # a copy for each leaf
        for leaves in tree.split(len(tree.levels) - 1, max(1, int(room.rows / len(tree.levels)))):
            yield spread(untouched, tree.part(leaves))


class ReadPrompt:
    """A prompt that has been read for some leaves, which are to be answered.

    `branching` read it, and reads on; `fired` are calls of ablated projections before that, by head set.
    """

    def __init__(
        self,
        row: RowAnswers,
        shared: SharedPrompt,
        branching: Branching,
        fired: Mapping[frozenset[Head], int] = NOTHING,
        halvings: int = 0,
    ) -> None:
        self.row = row
        self.shared = shared
        self.branching = branching
        self.answers: list[_Answer] = []
        self._fired = fired
        self._halvings = halvings
        self._reading: Reading | None = None

    @property
    def leaves(self) -> list[Leaf]:
        """Of all answers."""
        return [answer.leaf for answer in self.answers]

    @property
    def draft(self) -> tuple[int, ...]:
        """What the untouched model said, but the last of it."""
        return (self.row.baseline_ids or ())[:-1]

    @property
    def draft_is_read(self) -> bool:
        """Whether the gold value begins with it."""
        return self.row.ask.prompt.value_ids[: len(self.draft)] == self.draft

    def follow_gold(self, loaded: LoadedModel) -> None:
        """Begin the answers: as far as the leaves say the gold value, which was fed after the prompt."""
        ask, gold, last_id = self.row.ask, self.row.ask.prompt.value_ids, self.row.ask.prompt.token_ids[-1]
        self._reading = Reading(read_prefilled(loaded, self.branching, self.shared, (last_id, *gold)))
        logprobs = self._reading.logprobs(gold, range(len(self.shared.tree.leaves)))
        for place, heads in enumerate(self.shared.tree.leaves):
            leaf = Leaf(heads, last_id, Greedy(loaded.end_token_ids, ask.max_new_tokens), gold)
            self._reading.follow(place, gold, leaf.greedy)
            self.answers.append(_Answer(leaf, fsum(logprobs[place]), halvings=self._halvings))
        self.note_baseline()

    def note_baseline(self) -> None:
        """The untouched model's answer, where it is one of these and done."""
        untouched = self.answers[0].leaf
        if self.row.baseline_ids is None and not untouched.heads and untouched.greedy.done:
            self.row.baseline_ids = tuple(untouched.greedy.token_ids)

    @property
    def to_follow(self) -> list[int]:
        """The places of leaves that are not done, or of which it is not known how likely the baseline is."""
        known = [answer.leaf.greedy.done and answer.baseline_logprob is not None for answer in self.answers]
        return [place for place, each in enumerate(known) if not each]

    def follow_baseline(self, reading: Reading | None = None, first: int = 0) -> None:
        """As far as the leaves `to_follow` say what the untouched model said.

        Their rows in the reading of it begin with `first`; without one it is that of the gold value, of all leaves.
        """
        of_gold = reading is None
        reading, places = (self._reading, [*range(len(self.answers))]) if of_gold else (reading, self.to_follow)
        assert reading is not None
        assert self.row.baseline_ids is not None
        each = reading.logprobs(self.row.baseline_ids, range(first, first + len(places)))
        for row, (place, logprobs) in enumerate(zip(places, each, strict=True), start=first):
            self.answers[place].note_baseline(logprobs)
            reading.follow(row, self.draft, self.answers[place].leaf.greedy)

    def note_those_alike(self) -> None:
        """A leaf that said what the untouched model said has the log-probabilities that are asked: its own tokens'."""
        for answer in self.answers:
            if tuple(answer.leaf.greedy.token_ids) == self.row.baseline_ids:
                answer.note_baseline(answer.leaf.greedy.logprobs)

    def keep(self) -> None:
        """The answers, which are done, are the row's."""
        tree, fired = self.shared.tree, self.branching.fired
        for prompt, heads, answer in zip(tree.prompts, tree.leaves, self.answers, strict=True):
            answer.leaf.hooks_fired += fired[prompt, heads] + self._fired.get(heads, 0)
            self.row.answers[heads] = answer


def answer_together(loaded: LoadedModel, reads: Sequence[ReadPrompt]) -> None:
    """Answer prompts that were read, of one replacement; those that were put aside have followed the gold value.

    Raises:
        AblationError: an ablation that was not sound.
    """
    for read in reads:
        if not read.answers:
            read.follow_gold(loaded)
    by_leaf = loaded.waits_for_launches and can_step_by_leaf(loaded)
    if by_leaf and all(read.branching.replacement.steady for read in reads):
        for some in _in_runs(loaded, reads):
            _answer_by_leaf(loaded, some)
    else:
        for read in reads:
            _answer_by_node(loaded, read)
    for branching in {id(read.branching): read.branching for read in reads}.values():
        branching.check()
    for read in reads:
        read.keep()


def _in_runs(loaded: LoadedModel, reads: Sequence[ReadPrompt]) -> Iterator[Sequence[ReadPrompt]]:
    """As many at once as the logits of their drafts have room for."""
    n_words, n_bytes = loaded.model.config.get_text_config().vocab_size, loaded.model.dtype.itemsize
    most = min(MOST_LOGITS, max(LOGITS_BYTES, COMPUTED * min(free_memory(loaded).values())) / n_bytes)
    run: list[ReadPrompt] = []
    for read in reads:
        run.append(read)
        width = max(1 + max(each.row.ask.max_new_tokens, len(each.draft)) for each in run)
        if len(run) > 1 and sum(len(each.answers) for each in run) * width * n_words > most:
            yield run[:-1]
            run = [read]
    yield run


def _answer_by_leaf(loaded: LoadedModel, reads: Sequence[ReadPrompt]) -> None:
    """All leaves at once: a step costs about the same for one as for all."""
    known, unknown = _by_whether(lambda read: read.row.baseline_ids is not None, reads)
    for read in known:
        if read.draft_is_read:
            read.follow_baseline()
    _go_on(loaded, known, drafts=not all(read.draft_is_read for read in known))
    _go_on(loaded, unknown)
    for read in unknown:
        read.note_baseline()
    known, _ = _by_whether(lambda read: read.row.baseline_ids is not None, unknown)
    read_already, to_read = _by_whether(lambda read: read.draft_is_read, known)
    for read in read_already:
        read.follow_baseline()
    for read in to_read:
        read.note_those_alike()
    _go_on(loaded, to_read, drafts=True)


def _go_on(loaded: LoadedModel, reads: Sequence[ReadPrompt], *, drafts: bool = False) -> None:
    """Decode to their ends all leaves that are not done, after their `drafts` were read, if they are to be."""
    places = [read.to_follow if drafts else _left(read.leaves) for read in reads]
    leaves = [read.leaves[place] for read, some in zip(reads, places, strict=True) for place in some]
    if not leaves:
        return
    replacement = reads[0].branching.replacement
    step: LeafStep | None = None
    if drafts:
        step = _step(loaded, reads, places)
        for read, some in zip(reads, places, strict=True):
            for place in some:
                read.leaves[place].draft = read.draft
        reading, first = _fed_drafts(loaded, step, leaves, replacement), 0
        for read, some in zip(reads, places, strict=True):
            read.follow_baseline(reading, first)
            first += len(some)
    left = [row for row, leaf in enumerate(leaves) if not leaf.greedy.done]
    if not left:
        return
    if step is None:
        step = _step(loaded, reads, places)
    else:
        step.keep(left)
    decode(loaded, step, [leaves[row] for row in left], replacement)


def _step(loaded: LoadedModel, reads: Sequence[ReadPrompt], leaves: Sequence[Sequence[int]]) -> LeafStep:
    """Steps of these leaves of prompts that were read."""
    most = max(max(read.row.ask.max_new_tokens, 1 + len(read.draft)) for read in reads)
    prompts = [parts_of(read.shared, some) for read, some in zip(reads, leaves, strict=True) if some]
    return LeafStep(loaded, prompts, most)


def _fed_drafts(loaded: LoadedModel, step: LeafStep, leaves: Sequence[Leaf], replacement: Replacement) -> Reading:
    """What each leaf says at its prompt's last token and along its draft; what is filled up behind is not read."""
    feed = [[leaf.last_id, *(leaf.draft or ())] for leaf in leaves]
    width = max(map(len, feed))
    with Ablation(loaded.outputs, [leaf.heads for leaf in leaves], replacement):
        logits = step.feed([filled(tokens, width) for tokens in feed], [0] * len(leaves), every_logit=True)
    for leaf in leaves:
        leaf.hooks_fired += leaf.fires
    return Reading(logits)


def _answer_by_node(loaded: LoadedModel, read: ReadPrompt) -> None:
    """One prompt's drafts over the tree's nodes, and those leaves at once that depart from them."""
    if read.row.baseline_ids is None and not read.leaves[0].heads:
        # on a GPU a step costs about the same for one condition as for all
        _decode(loaded, read, len(read.leaves) if loaded.waits_for_launches else 1)
        read.note_baseline()
    if read.row.baseline_ids is not None:
        reading = None
        if not read.draft_is_read:
            last_id = read.leaves[0].last_id
            reading = Reading(read_draft(loaded, read.branching, read.shared, (last_id, *read.draft)))
            for leaf in read.leaves:
                leaf.draft = read.draft
        read.follow_baseline(reading)
    _decode(loaded, read, len(read.leaves))


def _decode(loaded: LoadedModel, read: ReadPrompt, n_leaves: int) -> None:
    """Decode to their ends those of the first leaves that are not done."""
    left = _left(read.leaves[:n_leaves])
    if not left:
        return
    leaves, replacement = [read.leaves[leaf] for leaf in left], read.branching.replacement
    if can_step_by_leaf(loaded) and replacement.steady:
        decode(loaded, _step(loaded, [read], [left]), leaves, replacement)
    else:
        for leaf in leaves:
            leaf.draft = None
        decode(loaded, GrowingRows(loaded, gather(read.shared, left)), leaves, replacement)


def _left(leaves: Sequence[Leaf]) -> list[int]:
    """The places of those that are not done."""
    return [place for place, leaf in enumerate(leaves) if not leaf.greedy.done]


def _by_whether(
    holds: Callable[[ReadPrompt], bool], reads: Sequence[ReadPrompt]
) -> tuple[list[ReadPrompt], list[ReadPrompt]]:
    """Those of which it holds, and the others."""
    return [read for read in reads if holds(read)], [read for read in reads if not holds(read)]
