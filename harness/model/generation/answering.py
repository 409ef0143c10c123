"""The conditions of one prompt answered: drafts checked, and what departs from them decoded.

1. The prompt, with the gold value after it, is run once over the layer-prefix tree of the conditions' heads
   (`harness.experiment.prefix_tree`); in the last layer only keys and values.
2. Drafts are checked: the last layer at the last positions gives every condition's own choice after the
   prompt and after each token of the gold value. A condition that says the draft and then ends needs no
   decoding. The untouched model's answer is a draft for the others, where it is another than the gold value.
3. What departs is decoded, all such conditions in one batch, which shrinks as they end.

Where heads are ablated from the prompt's last token on, the prompt before it is run once for all conditions, and
what was read is copied for those that part after it.

Knows nothing of other prompts, but that what comes first of this one may have been read already.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.experiment.heads import Head
from harness.experiment.intervention import Rescue
from harness.experiment.prefix_tree import PrefixTree, prefix_tree
from harness.experiment.record import Ask, Completion, noted
from harness.model.generation.branching import Branching
from harness.model.generation.decoding import Greedy, GrowingRows, Reading, decode
from harness.model.generation.leaf_step import LeafStep, can_step_by_leaf
from harness.model.generation.node_cache import NodeLayer
from harness.model.generation.room import Room
from harness.model.generation.shared_prefill import (
    SharedPrompt,
    gather,
    nodes_of,
    prefill,
    read_draft,
    read_prefilled,
    spread,
)
from harness.model.intervention.head_values import replacement_of
from harness.model.intervention.projection_input import ZERO, Replacement
from harness.model.loading.loaded_model import LoadedModel

NOTHING: Mapping[frozenset[Head], int] = Counter()


@dataclass(slots=True)
class _Answer:
    """What is known of one condition so far."""

    greedy: Greedy
    gold_logprob: float = 0.0
    baseline_logprob: float | None = None
    baseline_logprobs: tuple[float, ...] | None = None
    hooks_fired: int = 0
    halvings: int = 0

    def completion(self, with_baseline: bool) -> Completion:
        ids, ended = self.greedy.token_ids, self.greedy.ended
        return Completion(
            token_ids=tuple(ids[:-1] if ended else ids),
            end_token_id=ids[-1] if ended else None,
            gold_logprob=self.gold_logprob,
            baseline_logprob=self.baseline_logprob if with_baseline else None,
            hooks_fired=self.hooks_fired,
            smallest_gap=min(self.greedy.gaps),
            halvings=self.halvings,
            baseline_logprobs=self.baseline_logprobs if with_baseline else None,
        )


class RowAnswers:
    """One prompt's conditions on their way; `answers` holds those that are done."""

    def __init__(self, loaded: LoadedModel, ask: Ask) -> None:
        self.ask = ask
        self.answers: dict[frozenset[Head], _Answer] = {}
        self._loaded = loaded
        self._last = ask.prompt.token_ids[-1]
        self._baseline_ids = ask.baseline_ids
        self._replacement: Replacement | None = None
        self._by_leaf = can_step_by_leaf(loaded)

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

    def answer(
        self,
        head_sets: Sequence[frozenset[Head]],
        held: Sequence[NodeLayer] = (),
        *,
        room: Room,
        halvings: int = 0,
        fired: Mapping[frozenset[Head], int] = NOTHING,
    ) -> None:
        """Answer these head sets, as many at once as there is room for.

        `held` are the layers of `read_tree(head_sets)` with the prompt's first tokens in them, which `fired` calls of
        ablated projections were needed for.
        """
        tree = prefix_tree(head_sets, len(self._loaded.outputs))
        branching = Branching(self._loaded, self.replacement)
        for shared in self._read_prompt(tree, held, branching, room):
            answers = self._answer(shared, branching)
            branching.check()
            for heads, answer in zip(shared.tree.leaves, answers, strict=True):
                answer.hooks_fired += fired.get(heads, 0)
                answer.halvings = halvings
                self.answers[heads] = answer

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

    def _answer(self, shared: SharedPrompt, branching: Branching) -> list[_Answer]:
        """Check drafts, then decode what departs from them; one answer for each leaf."""
        loaded, tree, gold = self._loaded, shared.tree, self.ask.prompt.value_ids
        ends, most = loaded.end_token_ids, self.ask.max_new_tokens
        answers = [_Answer(Greedy(ends, most)) for _ in tree.leaves]
        fed: Sequence[int] = gold
        reading = Reading(read_prefilled(loaded, branching, shared, (self._last, *gold)))
        for leaf, (answer, logprob) in enumerate(zip(answers, reading.logprobs(gold), strict=True)):
            answer.gold_logprob = logprob
            reading.follow(leaf, gold, answer.greedy)
        if self._baseline_ids is None and not tree.leaves[0]:
            # on a GPU a step costs about the same for one condition as for all
            first = answers if self._loaded.waits_for_launches and not answers[0].greedy.done else answers[:1]
            self._decode(shared, branching, first, fed)
            self._baseline_ids = tuple(answers[0].greedy.token_ids)
        if self._baseline_ids is not None:
            draft = self._baseline_ids[:-1]
            if draft != gold[: len(draft)]:
                fed = draft
                reading = Reading(read_draft(loaded, branching, shared, (self._last, *draft)))
            sums, each = reading.logprobs(self._baseline_ids), reading.token_logprobs(self._baseline_ids)
            for leaf, answer in enumerate(answers):
                answer.baseline_logprob, answer.baseline_logprobs = sums[leaf], noted(each[leaf])
                reading.follow(leaf, draft, answer.greedy)
        self._decode(shared, branching, answers, fed)
        for prompt, heads, answer in zip(tree.prompts, tree.leaves, answers, strict=True):
            answer.hooks_fired += branching.fired[prompt, heads]
        return answers

    def _decode(
        self, shared: SharedPrompt, branching: Branching, answers: Sequence[_Answer], fed: Sequence[int]
    ) -> None:
        """Decode to their ends those of the first leaves, whose answers are given, that are not done.

        `fed` is the draft that was read last.
        """
        leaves = [leaf for leaf, answer in enumerate(answers) if not answer.greedy.done]
        if not leaves:
            return
        loaded, replacement = self._loaded, branching.replacement
        sets = [shared.tree.leaves[leaf] for leaf in leaves]
        greedy = [answers[leaf].greedy for leaf in leaves]
        if self._by_leaf and replacement.steady:
            most = self.ask.max_new_tokens
            step = LeafStep(loaded, shared.layers, nodes_of(shared, leaves), shared.n_held, most)
            fired = decode(loaded, step, self._last, sets, greedy, replacement, draft=fed)
        else:
            growing = GrowingRows(loaded, gather(shared, leaves))
            fired = decode(loaded, growing, self._last, sets, greedy, replacement)
        for leaf in leaves:
            answers[leaf].hooks_fired += fired[shared.tree.leaves[leaf]]
