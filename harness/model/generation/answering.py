"""The conditions of prompts answered: drafts checked, and what departs from them decoded.

A condition that says the draft and then ends needs no decoding. The untouched model's answer is a draft for the
others, where it is another than the gold value. What departs is decoded, all such conditions in one batch, which
shrinks as they end.

On a GPU, which waits for launches, prompts that were read are answered together: their leaves are one batch, over what
each prompt's nodes hold, to which drafts are fed as well: the gold value, where it was not fed with the prompt, and the
untouched model's answers. Elsewhere drafts are read over the tree's nodes, prompt by prompt.

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

WORTH_KEEPING = 0.9
"""A step goes on with those of its rows that are left where they are less than this share: else all stay in it."""

MOST_LOGITS = 2**31
"""As many numbers as one tensor may have without kernels that count further."""


def answer_together(loaded: LoadedModel, reads: Sequence[ReadPrompt]) -> None:
    """Answer prompts that were read, of one replacement; those that were put aside have followed the gold value.

    Raises:
        AblationError: an ablation that was not sound.
    """
    steady = all(read.branching.replacement.steady for read in reads)
    by_leaf = loaded.waits_for_launches and can_step_by_leaf(loaded) and steady
    fed_by_leaf = by_leaf and all(
        read.shared.n_held and not read.gold_is_read and read.shared.hidden is None for read in reads
    )
    for read in reads:
        if not fed_by_leaf and not read.gold_is_read:
            read.read_gold(loaded)
    if fed_by_leaf:
        for some in _in_runs(loaded, reads, [len(read.leaves) for read in reads], [read.gold for read in reads]):
            _answer_by_leaf(loaded, some, _feed_gold(loaded, some))
    elif by_leaf:
        _answer_by_leaf(loaded, reads, None)
    else:
        for read in reads:
            _answer_by_node(loaded, read)
    for branching in {id(read.branching): read.branching for read in reads}.values():
        branching.check()
    for read in reads:
        read.keep()


def _in_runs(
    loaded: LoadedModel, reads: Sequence[ReadPrompt], n_leaves: Sequence[int], drafts: Sequence[Sequence[int]]
) -> Iterator[Sequence[ReadPrompt]]:
    """As many at once as the logits of so many leaves of each, after its draft, have room for."""
    n_words, n_bytes = loaded.model.config.get_text_config().vocab_size, loaded.model.dtype.itemsize
    most = min(MOST_LOGITS, max(LOGITS_BYTES, COMPUTED * min(free_memory(loaded).values())) / n_bytes)
    start = 0
    for stop in range(1, len(reads) + 1):
        width = 1 + max(map(len, drafts[start:stop]))
        if stop - start > 1 and sum(n_leaves[start:stop]) * width * n_words > most:
            yield reads[start : stop - 1]
            start = stop - 1
    yield reads[start:]


def _answer_by_leaf(loaded: LoadedModel, reads: Sequence[ReadPrompt], step: LeafStep | None) -> None:
    """All leaves at once: a step costs about the same for one as for all; `step` is of all of them, if there is one."""
    to_feed, others = _by_whether(lambda read: read.row.baseline_ids is not None and not read.draft_is_read, reads)
    _feed_baselines(loaded, to_feed)
    known, unknown = _by_whether(lambda read: read.row.baseline_ids is not None, others)
    for read in known:
        read.follow_baseline()
    leaves = [leaf for read in reads for leaf in read.leaves]
    if step is None and _left(leaves):
        places = [_left(read.leaves) for read in reads]
        step, leaves = _step(loaded, reads, places), _at(reads, places)
    _decode_left(loaded, step, leaves, reads[0].branching.replacement)
    for read in unknown:
        read.note_baseline()
    known, _ = _by_whether(lambda read: read.row.baseline_ids is not None, unknown)
    read_already, to_read = _by_whether(lambda read: read.draft_is_read, known)
    for read in read_already:
        read.follow_baseline()
    for read in to_read:
        read.note_those_alike()
    _feed_baselines(loaded, to_read)


def _feed_gold(loaded: LoadedModel, reads: Sequence[ReadPrompt]) -> LeafStep:
    """Begin the answers: what all leaves say along the gold values. The step is of all leaves."""
    return _feed_drafts(
        loaded,
        reads,
        [[*range(len(read.leaves))] for read in reads],
        [read.gold for read in reads],
        [read.follow_gold for read in reads],
    )


def _feed_baselines(loaded: LoadedModel, reads: Sequence[ReadPrompt]) -> None:
    """What leaves say along the untouched model's answer, of which that is to be known, and go on to say."""
    reads = [read for read in reads if read.to_follow]
    if not reads:
        return
    for some in _in_runs(loaded, reads, [len(read.to_follow) for read in reads], [read.draft for read in reads]):
        places = [read.to_follow for read in some]
        follow = [read.follow_baseline for read in some]
        step = _feed_drafts(loaded, some, places, [read.draft for read in some], follow)
        _decode_left(loaded, step, _at(some, places), some[0].branching.replacement)


def _feed_drafts(
    loaded: LoadedModel,
    reads: Sequence[ReadPrompt],
    places: Sequence[Sequence[int]],
    drafts: Sequence[Sequence[int]],
    follow: Sequence[Callable[[Reading, int], None]],
) -> LeafStep:
    """Feed to some leaves of each prompt its last token and its draft, which they `follow`; the step that did it."""
    step, leaves = _step(loaded, reads, places, drafts), _at(reads, places)
    for read, some, draft in zip(reads, places, drafts, strict=True):
        for place in some:
            read.leaves[place].draft = draft
    reading, first = _fed_drafts(loaded, step, leaves, reads[0].branching.replacement), 0
    for some, each in zip(places, follow, strict=True):
        each(reading, first)
        first += len(some)
    return step


def _fed_drafts(loaded: LoadedModel, step: LeafStep, leaves: Sequence[Leaf], replacement: Replacement) -> Reading:
    """What each leaf says at its prompt's last token and along its draft; what is filled up behind is not read."""
    feed = [[leaf.last_id, *(leaf.draft or ())] for leaf in leaves]
    width = max(map(len, feed))
    with Ablation(loaded.outputs, [leaf.heads for leaf in leaves], replacement):
        logits = step.feed([filled(tokens, width) for tokens in feed], [0] * len(leaves), every_logit=True)
    for leaf in leaves:
        leaf.hooks_fired += leaf.fires
    return Reading(logits)


def _decode_left(loaded: LoadedModel, step: LeafStep | None, leaves: Sequence[Leaf], replacement: Replacement) -> None:
    """Decode to their ends those leaves that are not done; row i of the step is `leaves[i]`."""
    left = _left(leaves)
    if not left or step is None:
        return
    if len(left) < WORTH_KEEPING * len(leaves):
        step.keep(left)
        leaves = [leaves[row] for row in left]
    decode(loaded, step, leaves, replacement)


def _step(
    loaded: LoadedModel,
    reads: Sequence[ReadPrompt],
    leaves: Sequence[Sequence[int]],
    drafts: Sequence[Sequence[int]] = (),
) -> LeafStep:
    """Steps of these leaves of prompts that were read, to which drafts may be fed."""
    most = max(*(read.row.ask.max_new_tokens for read in reads), *(1 + len(draft) for draft in drafts), 1)
    prompts = [parts_of(read.shared, some) for read, some in zip(reads, leaves, strict=True) if some]
    return LeafStep(loaded, prompts, most, anew=bool(drafts))


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


def _at(reads: Sequence[ReadPrompt], places: Sequence[Sequence[int]]) -> list[Leaf]:
    """These leaves of each prompt."""
    return [read.leaves[place] for read, some in zip(reads, places, strict=True) for place in some]


def _left(leaves: Sequence[Leaf]) -> list[int]:
    """The places of those that are not done."""
    return [place for place, leaf in enumerate(leaves) if not leaf.greedy.done]


def _by_whether(
    holds: Callable[[ReadPrompt], bool], reads: Sequence[ReadPrompt]
) -> tuple[list[ReadPrompt], list[ReadPrompt]]:
    """Those of which it holds, and the others."""
    return [read for read in reads if holds(read)], [read for read in reads if not holds(read)]
