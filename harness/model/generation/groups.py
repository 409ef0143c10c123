"""Which prompts are read together, and how: from a common front on, side by side, or each by itself.

Rows of one filing share what they begin with, so they are read one behind the other, down the trie of their tokens.
Where one prompt alone would leave a GPU waiting for what it is to do next (small models, short prompts) they are read
side by side, as one batch, be they of one filing or of many. Then as many as are useful, and fit into memory, are
answered together: a decoding step, for which a GPU waits in any case, takes about as long for all as for one.

Knows nothing of how prompts are read and answered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.experiment.intervention import Edges
from harness.experiment.prefix_tree import token_trie
from harness.experiment.record import Ask
from harness.model.generation import reference
from harness.model.generation.leaf_step import can_step_by_leaf
from harness.model.generation.room import busy_tokens
from harness.model.generation.row_answers import RowAnswers
from harness.model.intervention.ablation import check_free, check_heads
from harness.model.loading.loaded_model import LoadedModel, takes_square_memory
from harness.retrieval.prompts import Prompt

MOST_SQUARE = 8192
"""Positions of a prompt that may be fed whole where this takes memory that grows with their square."""

SIDE_BY_SIDE = 32
"""Prompts that are to be read side by side, where any are: of a killed process their answers are lost."""

USUAL = 1000
"""Tokens of a prompt, as long as no prompt is known."""


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Prompts that are read together, and their numbers among all that are asked together.

    They may share what they begin with; or nothing, where they are to be read `side_by_side`. `alone`: no other row may
    be in flight meanwhile.
    """

    numbers: Sequence[int]
    asks: Sequence[Ask]
    by_reference: bool = False
    alone: bool = False
    side_by_side: bool = False


def groups_of(loaded: LoadedModel, asks: Sequence[Ask]) -> list[Group]:
    """Those that share nothing, each on its own, and all others.

    Raises:
        ModelError: nothing to complete or no gold value; prompt and completion longer than the model's window.
        AblationError: an unknown head, or another ablation of the model is open.
    """
    for ask in asks:
        reference.check_request(loaded, ask.prompt, ask.baseline_ids, max_new_tokens=ask.max_new_tokens)
        check_heads(loaded.outputs, ask.head_sets)
    check_free(loaded.outputs)
    single: list[Group] = []
    together: list[int] = []
    for number, ask in enumerate(asks):
        if not ask.head_sets or _is_for_the_reference(loaded, ask.prompt):
            single.append(Group([number], [ask], by_reference=True, alone=bool(ask.head_sets)))
        elif isinstance(ask.intervention.values, Prompt):
            single.append(Group([number], [ask]))
        else:
            together.append(number)
    if not together:
        return single
    # whose attention is noted is for the config to say, which all rows in flight have in common
    noted = any(isinstance(asks[number].intervention.values, Edges) for number in together)
    return [*single, Group(together, [asks[number] for number in together], alone=noted)]


def apart(group: Group, least: int) -> Iterator[Group]:
    """The same in groups that have less in common than a quarter of a prompt: a template, no document.

    `least` is how many tokens prompts must begin with alike at any rate.
    """
    prompts = [ask.prompt.token_ids for ask in group.asks]
    for front in token_trie(prompts, least=max(least, min(map(len, prompts)) // 4)):
        asks = [group.asks[member] for member in front.prompts]
        yield replace(group, numbers=[group.numbers[member] for member in front.prompts], asks=asks)


def rounds_at_once(loaded: LoadedModel) -> int:
    """Of how many rounds prompts are read side by side, where each has one prompt of `USUAL` tokens."""
    return _at_once(loaded, USUAL) if can_step_by_leaf(loaded) else 1


def at_once(loaded: LoadedModel, prompts: Sequence[Prompt]) -> int:
    """How many prompts like these are read side by side; 1 where one keeps a GPU busy more than half of the time."""
    return _at_once(loaded, max((len(prompt.token_ids) for prompt in prompts), default=1))


def _at_once(loaded: LoadedModel, n_tokens: int) -> int:
    return SIDE_BY_SIDE if 2 * n_tokens <= busy_tokens(loaded) else 1


def to_read(loaded: LoadedModel, asks: Sequence[Ask], least: int) -> Iterator[Group]:
    """`groups_of`, in which prompts are put side by side where a GPU would wait. Raises what that does."""
    for group in groups_of(loaded, asks):
        waits = not group.by_reference and at_once(loaded, [ask.prompt for ask in group.asks]) > 1
        if waits and all(RowAnswers(loaded, ask).goes_with_others for ask in group.asks):
            yield from _side_by_side(loaded, group, least)
        else:
            yield group


def _side_by_side(loaded: LoadedModel, group: Group, least: int) -> Iterator[Group]:
    """In groups of one replacement, none more than twice as long as another; those that share much stand together.

    Where there are a few more than are to be read at once, these go with them.
    """
    alike: dict[tuple[int, int], list[tuple[int, Ask]]] = {}
    short = 0
    for part in sorted(apart(group, least), key=_longest):
        # the shorter are filled up
        short = short if _longest(part) <= 2 * short else _longest(part)
        for number, ask in zip(part.numbers, part.asks, strict=True):
            alike.setdefault((id(ask.intervention.values), short), []).append((number, ask))
    for pairs in alike.values():
        n_groups = max(1, round(len(pairs) / at_once(loaded, [ask.prompt for _, ask in pairs])))
        ends = [len(pairs) * place // n_groups for place in range(n_groups + 1)]
        for start, stop in pairwise(ends):
            numbers, some = zip(*pairs[start:stop], strict=True)
            yield replace(group, numbers=numbers, asks=some, side_by_side=True)


def _longest(group: Group) -> int:
    """The tokens of the longest prompt."""
    return max(len(ask.prompt.token_ids) for ask in group.asks)


def _is_for_the_reference(loaded: LoadedModel, prompt: Prompt) -> bool:
    n_tokens = len(prompt.token_ids)
    return loaded.one_by_one is not None or (n_tokens > MOST_SQUARE and takes_square_memory(loaded, n_tokens))
