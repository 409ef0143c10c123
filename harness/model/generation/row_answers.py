"""A prompt's answers on their way: what is known of each condition, and the drafts that each has followed.

A prompt, with the gold value after it, is run once over the layer-prefix tree of the conditions' heads
(`harness.experiment.prefix_tree`); in the last layer only keys and values. Where heads are ablated from the prompt's
last token on, the prompt before it is run once for all conditions, and what was read is copied for those that part
after it.

Then the last layer at the last positions gives every condition's own choice after the prompt and after each token of
the gold value, its first draft, unless that is fed to the conditions of many prompts together (`answering`). The
untouched model's answer is a draft for the others.

Knows nothing of other prompts, but that what comes first of this one may have been read already; nor of how what
departs from a draft is decoded (`answering`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from harness.experiment.heads import Head
from harness.experiment.intervention import MeanValues, Rescue
from harness.experiment.prefix_tree import PrefixTree, prefix_tree
from harness.experiment.record import Ask, Completion, noted
from harness.model.generation.branching import Branching
from harness.model.generation.decoding import Greedy, Leaf, Reading
from harness.model.generation.leaf_step import can_step_by_leaf
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.room import Room
from harness.model.generation.shared_prefill import prefill
from harness.model.generation.shared_prompt import SharedPrompt, read_prefilled, spread
from harness.model.intervention.head_values import replacement_of
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.loaded_model import LoadedModel

NOTHING: Mapping[frozenset[Head], int] = Counter()
"""No calls of ablated projections."""


@dataclass(slots=True)
class _Answer:
    """What is known of one condition so far."""

    leaf: Leaf
    gold_logprob: float | None = None
    baseline_logprob: float | None = None
    baseline_logprobs: tuple[float, ...] | None = None
    halvings: int = 0

    def note_baseline(self, logprobs: Sequence[float]) -> None:
        """How likely each token of the untouched model's answer is."""
        self.baseline_logprob, self.baseline_logprobs = fsum(logprobs), noted(logprobs)

    def completion(self, with_baseline: bool) -> Completion:
        greedy, gold_logprob = self.leaf.greedy, self.gold_logprob
        assert gold_logprob is not None
        ids, ended = greedy.token_ids, greedy.ended
        return Completion(
            token_ids=tuple(ids[:-1] if ended else ids),
            end_token_id=ids[-1] if ended else None,
            gold_logprob=gold_logprob,
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

    def greedy(self) -> Greedy:
        """A condition that has said nothing yet."""
        return Greedy(self._loaded.end_token_ids, self.ask.max_new_tokens)

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
        last_id = row.ask.prompt.token_ids[-1]
        self.answers = [_Answer(Leaf(each, last_id, row.greedy()), halvings=halvings) for each in shared.tree.leaves]
        self._fired = fired
        # what says of all leaves how likely the gold value is, and its first row that is theirs
        self._of_gold: tuple[Reading, int] | None = None

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
        return self.gold[: len(self.draft)] == self.draft

    @property
    def gold(self) -> tuple[int, ...]:
        """The value asked for, which is the first draft."""
        return self.row.ask.prompt.value_ids

    @property
    def gold_is_read(self) -> bool:
        """Whether the leaves have followed it."""
        return self._of_gold is not None

    def read_gold(self, loaded: LoadedModel) -> None:
        """Begin the answers: follow the gold value, which is behind the prompt in the layers' memory."""
        last_id = self.row.ask.prompt.token_ids[-1]
        for leaf in self.leaves:
            leaf.draft = self.gold
        self.follow_gold(Reading(read_prefilled(loaded, self.branching, self.shared, (last_id, *self.gold))))

    def follow_gold(self, reading: Reading, first: int = 0) -> None:
        """As far as the leaves say the gold value; their rows in the reading of it begin with `first`."""
        self._of_gold = reading, first
        logprobs = reading.logprobs(self.gold, range(first, first + len(self.answers)))
        for row, (answer, each) in enumerate(zip(self.answers, logprobs, strict=True), start=first):
            answer.gold_logprob = fsum(each)
            reading.follow(row, self.gold, answer.leaf.greedy)
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
        places = self.to_follow
        if reading is None:
            assert self._of_gold is not None
            (reading, first), places = self._of_gold, [*range(len(self.answers))]
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
