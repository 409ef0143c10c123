"""The fast way: all conditions of one row together, sharing every layer that they have in common.

1. The prompt, with the gold value after it, is run once over the layer-prefix tree of the conditions' heads
   (`harness.experiment.prefix_tree`); in the last layer only keys and values.
2. Drafts are checked: the last layer at the last positions gives every condition's own choice after the
   prompt and after each token of the gold value. A condition that says the draft and then ends needs no
   decoding. The untouched model's answer is a draft for the others, where it is another than the gold value.
3. What departs is decoded, all such conditions in one batch, which shrinks as they end.

Where heads are ablated from the prompt's last token on, the prompt before it is run once for all conditions, and
what was read is copied for those that part after it.

What it says is that of `harness.model.generation.reference`, up to rounding. Layers run by the model's own modules
(`layer_calls`, `branching`); where that is not possible (`can_branch`), or a prompt would take memory of many
positions x positions, the reference itself does the work.

Breadth-first while the branches of a level fit into memory, else depth-first: one run of branches at a time,
with keys and values of its own path alone.

Knows nothing of experiments, of what tokens mean, nor of what is stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from harness.errors import ModelError
from harness.experiment.completion import Completion
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Intervention
from harness.experiment.prefix_tree import PrefixTree, prefix_tree
from harness.model.generation import reference
from harness.model.generation.branching import Branching, can_branch
from harness.model.generation.decoding import decode, decode_statically
from harness.model.generation.greedy import Greedy, Reading
from harness.model.generation.memory import branches_that_fit, is_out_of_memory
from harness.model.generation.shared_prefill import SharedPrompt, gather, prefill, read_draft, read_prefilled, spread
from harness.model.generation.static_step import can_be_static
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.head_values import replacement_of
from harness.model.intervention.projection_input import Replacement
from harness.model.loading.loaded_model import LoadedModel
from harness.model.loading.pieces import takes_square_memory
from harness.retrieval.prompts import Prompt

MOST_SQUARE = 8192
"""Positions of a prompt that may be fed whole where this takes memory that grows with their square."""

ENGINE_VERSION = 2
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
    square = takes_square_memory(loaded, len(prompt.token_ids))
    if not can_branch(loaded) or (square and len(prompt.token_ids) > MOST_SQUARE):
        return reference.run_row(loaded, prompt, head_sets, baseline_ids, intervention, max_new_tokens=max_new_tokens)
    reference.check_request(loaded, prompt, baseline_ids, max_new_tokens=max_new_tokens)
    if not head_sets:
        return ()
    Ablation(loaded.outputs, head_sets)  # every head exists
    with Ablation(loaded.outputs, [()]):  # and no other ablation is open
        pass
    row = _RowRun(loaded, prompt, baseline_ids, intervention, max_new_tokens)
    row.run(prefix_tree(head_sets, len(loaded.outputs)), branches)
    untouched = frozenset[Head]()
    # as one by one: the baseline's tokens serve itself and what comes after it
    known_from = 0 if baseline_ids is not None else head_sets.index(untouched) if untouched in head_sets else None
    return tuple(
        row.answers[heads].completion(known_from is not None and position >= known_from)
        for position, heads in enumerate(head_sets)
    )


@dataclass(slots=True)
class _Answer:
    """What is known of one condition so far."""

    greedy: Greedy
    gold_logprob: float = 0.0
    baseline_logprob: float | None = None
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
        )


class _RowRun:
    """One prompt's conditions on their way; `answers` holds those that are done."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Prompt,
        baseline_ids: tuple[int, ...] | None,
        intervention: Intervention,
        max_new_tokens: int,
    ) -> None:
        self.answers: dict[frozenset[Head], _Answer] = {}
        self._loaded = loaded
        self._prompt = prompt
        self._last = prompt.token_ids[-1]
        self._baseline_ids = baseline_ids
        self._intervention = intervention
        self._max_new_tokens = max_new_tokens
        self._halvings = 0
        self._static = loaded.device.type == "cuda" and can_be_static(loaded)
        drafted = max(len(prompt.value_ids), max_new_tokens, len(baseline_ids or ()))
        self._capacity = len(prompt.token_ids) + drafted

    @torch.inference_mode()
    def run(self, tree: PrefixTree, branches: int | None) -> None:
        """Answer every leaf of the tree."""
        branches = branches or branches_that_fit(self._loaded, self._capacity)
        replacement = None
        while True:
            try:
                if replacement is None:
                    replacement = self._find_replacement(tree)
                self._run(tree.part(slice(len(self.answers), None)), replacement, branches)
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if branches == 1:
                    raise ModelError(
                        f"{self._prompt.row_id}: out of memory at one condition of {self._capacity} tokens; "
                        "expected room for one; use shorter documents, a smaller dtype or more devices"
                    ) from error
            branches //= 2
            self._halvings += 1
            torch.cuda.empty_cache()

    def _find_replacement(self, tree: PrefixTree) -> Replacement:
        return replacement_of(
            self._loaded, self._prompt, tree.leaves, self._intervention, max_new_tokens=self._max_new_tokens
        )

    def _run(self, tree: PrefixTree, replacement: Replacement, branches: int) -> None:
        branching = Branching(self._loaded, replacement)
        for shared in self._read_prompt(tree, branching, branches):
            answers = self._answer(shared, branching)
            branching.check()
            self.answers.update(zip(shared.tree.leaves, answers, strict=True))

    def _read_prompt(self, tree: PrefixTree, branching: Branching, branches: int) -> Iterator[SharedPrompt]:
        """The leaves, their prompt read, at most `branches` at once."""
        decode_only = self._intervention.phase == "decode"
        read = prefill(
            self._loaded,
            branching,
            prefix_tree([()], len(tree.levels)) if decode_only else tree,
            self._prompt.token_ids,
            () if decode_only else self._prompt.value_ids,
            capacity=self._capacity,
            branches=branches,
        )
        if not decode_only:
            yield from read
            return
        (untouched,) = read
        for leaves in tree.split(len(tree.levels) - 1, branches):
            yield spread(untouched, tree.part(leaves))

    def _answer(self, shared: SharedPrompt, branching: Branching) -> list[_Answer]:
        """Check drafts, then decode what departs from them; one answer for each leaf."""
        loaded, tree, gold = self._loaded, shared.tree, self._prompt.value_ids
        ends, most = loaded.end_token_ids, self._max_new_tokens
        answers = [_Answer(Greedy(ends, most), halvings=self._halvings) for _ in tree.leaves]
        reading = Reading(read_prefilled(loaded, branching, shared, (self._last, *gold)))
        for leaf, (answer, logprob) in enumerate(zip(answers, reading.logprobs(gold), strict=True)):
            answer.gold_logprob = logprob
            reading.follow(leaf, gold, answer.greedy)
        if self._baseline_ids is None and not tree.leaves[0]:
            # on a GPU a step costs about the same for one condition as for all
            first = answers if self._loaded.device.type == "cuda" and not answers[0].greedy.done else answers[:1]
            self._decode(shared, branching, first)
            self._baseline_ids = tuple(answers[0].greedy.token_ids)
        if self._baseline_ids is not None:
            draft = self._baseline_ids[:-1]
            if draft != gold[: len(draft)]:
                reading = Reading(read_draft(loaded, branching, shared, (self._last, *draft)))
            logprobs = reading.logprobs(self._baseline_ids)
            for leaf, (answer, logprob) in enumerate(zip(answers, logprobs, strict=True)):
                answer.baseline_logprob = logprob
                reading.follow(leaf, draft, answer.greedy)
        self._decode(shared, branching, answers)
        for heads, answer in zip(tree.leaves, answers, strict=True):
            answer.hooks_fired += branching.fired[heads]
        return answers

    def _decode(self, shared: SharedPrompt, branching: Branching, answers: Sequence[_Answer]) -> None:
        """Decode to their ends those of the first leaves, whose answers are given, that are not done."""
        leaves = [leaf for leaf, answer in enumerate(answers) if not answer.greedy.done]
        if not leaves:
            return
        sets = [shared.tree.leaves[leaf] for leaf in leaves]
        greedy = [answers[leaf].greedy for leaf in leaves]
        static = self._static and branching.replacement.steady
        decoding = decode_statically if static else decode
        fired = decoding(self._loaded, gather(shared, leaves), self._last, sets, greedy, branching.replacement)
        for leaf in leaves:
            answers[leaf].hooks_fired += fired[shared.tree.leaves[leaf]]
