"""The conditions of prompts answered: drafts checked, and what departs from them decoded.

A condition that says the draft and then ends needs no decoding. The untouched model's answer is a draft for the
others, where it is another than the gold value. What departs is decoded, all such conditions in one batch, which
shrinks as they end.

On a GPU, which waits for launches, prompts that were read are answered together: their leaves are one batch, over what
each prompt's nodes hold, to which the untouched model's answers are fed as well. Elsewhere drafts are read over the
tree's nodes, prompt by prompt.

Knows nothing of how prompts were read, nor of those that are not read yet; what is known of each is `row_answers`'s.
"""

from collections.abc import Callable, Iterator, Sequence

from harness.model.generation.decoding import GrowingRows, Leaf, Reading, decode, filled
from harness.model.generation.leaf_step import LeafStep, can_step_by_leaf
from harness.model.generation.room import COMPUTED, free_memory
from harness.model.generation.row_answers import ReadPrompt
from harness.model.generation.shared_prompt import gather, parts_of, read_draft
from harness.model.intervention.ablation import Ablation
from harness.model.intervention.projection_input import Replacement
from harness.model.loading.loaded_model import LoadedModel

LOGITS_BYTES = 2**32
"""What the logits of drafts that are fed by leaf may take, at least: a tenth of what is free, if that is more."""

MOST_LOGITS = 2**31
"""As many numbers as one tensor may have without kernels that count further."""


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
