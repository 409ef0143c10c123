"""The trie over tokens: which prompts begin alike, and how far.

Rows of one filing ask different questions of one document: their prompts have a front in common, and what a model
makes of it is the same for all of them. A node is a run of tokens that its prompts share, from where the node above
ends; prompts that part there are its children.

Knows no models, and nothing of what tokens mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEAST_SHARED = 32
"""Tokens that a run must have to be worth a pass of its own; shorter ones, a chat template's, stay with their rows."""


@dataclass(frozen=True, slots=True)
class Front:
    """Tokens `start` to `stop` of every prompt in `prompts`, which are numbers of those that the trie was made of.

    Without children it is one prompt, from where it parts from all others to its end.
    """

    start: int
    stop: int
    prompts: tuple[int, ...]
    children: "tuple[Front, ...]" = ()

    @property
    def n_tokens(self) -> int:
        """How many tokens are fed here."""
        return self.stop - self.start

    @property
    def depth(self) -> int:
        """How many fronts lie above each other before a prompt's own part, at most."""
        return 1 + max(child.depth for child in self.children) if self.children else 0

    def nodes(self) -> "Iterator[Front]":
        """This node and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.nodes()


def token_trie(prompts: Sequence[Sequence[int]], *, least: int = LEAST_SHARED) -> tuple[Front, ...]:
    """The trie's first nodes, one for each set of prompts that share at least `least` tokens from the first on.

    The last token of a prompt is never shared: what is fed after it belongs to its row. Prompts keep their order among
    the children of a node; equal prompts are different children.
    """
    return _part(prompts, tuple(range(len(prompts))), 0, least)


def _part(prompts: Sequence[Sequence[int]], members: Sequence[int], start: int, least: int) -> tuple[Front, ...]:
    """The nodes of prompts that are equal up to `start`."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for member in members:
        key = tuple(prompts[member][start : start + least])
        # too short to share: a group of its own
        alone = len(prompts[member]) - 1 < start + least
        groups.setdefault((-1, member) if alone else key, []).append(member)
    nodes = []
    for group in groups.values():
        if len(group) == 1:
            nodes.append(Front(start, len(prompts[group[0]]), tuple(group)))
            continue
        shared = _n_common([prompts[member][:-1] for member in group])
        nodes.append(Front(start, shared, tuple(group), _part(prompts, group, shared, least)))
    return tuple(nodes)


def _n_common(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all of them have in common."""
    shortest = min(map(len, prompts))
    return next((i for i in range(shortest) if any(each[i] != prompts[0][i] for each in prompts)), shortest)
