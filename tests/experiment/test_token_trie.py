"""The trie over tokens against the definition, worked out prompt by prompt."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from harness.experiment.token_trie import Front, token_trie

LEAST = 2
PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple), max_size=6)


def n_common(one: Sequence[int], other: Sequence[int]) -> int:
    """First tokens that two prompts share, the last of either left out."""
    n = 0
    while n < min(len(one), len(other)) - 1 and one[n] == other[n]:
        n += 1
    return n


def test_by_hand() -> None:
    prompts = [(1, 2, 3, 4, 9), (1, 2, 3, 5, 9, 9), (1, 2, 3, 4, 8, 7), (6, 7, 8)]
    assert token_trie(prompts, least=3) == (
        Front(0, 3, (0, 1, 2), (Front(3, 5, (0,)), Front(3, 6, (1,)), Front(3, 6, (2,)))),
        Front(0, 3, (3,)),
    )
    (first, _) = token_trie([(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), (1, 2, 8, 8, 8, 8), (3, 3)], least=2)
    assert first == Front(
        0, 2, (0, 1, 2), (Front(2, 5, (0, 1), (Front(5, 6, (0,)), Front(5, 6, (1,)))), Front(2, 6, (2,)))
    )
    assert (first.depth, first.n_tokens, len(list(first.nodes()))) == (2, 2, 5)


def test_equal_prompts_part_at_their_last_token() -> None:
    (front,) = token_trie([(4, 5, 6), (4, 5, 6)], least=1)
    assert front == Front(0, 2, (0, 1), (Front(2, 3, (0,)), Front(2, 3, (1,))))


@given(prompts=PROMPTS)
def test_every_prompt_is_read_once_and_whole(prompts: list[tuple[int, ...]]) -> None:
    read: dict[int, list[tuple[int, int]]] = {number: [] for number in range(len(prompts))}
    ends = set()
    for root in token_trie(prompts, least=LEAST):
        for node in root.nodes():
            assert node.children or len(node.prompts) == 1
            assert len({prompts[number][: node.stop] for number in node.prompts}) == 1
            assert (
                sorted(node.prompts) == sorted(number for child in node.children for number in child.prompts)
                or not node.children
            )
            for number in node.prompts:
                read[number].append((node.start, node.stop))
            ends |= {number for number in node.prompts if not node.children}
    assert ends == set(read)
    for number, parts in read.items():
        assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
        assert parts[-1][1] == len(prompts[number])


@given(prompts=PROMPTS)
def test_what_two_prompts_share_is_read_for_both_together(prompts: list[tuple[int, ...]]) -> None:
    nodes = [node for root in token_trie(prompts, least=LEAST) for node in root.nodes() if node.children]
    for i in range(len(prompts)):
        for j in range(i):
            together = sum(node.n_tokens for node in nodes if {i, j} <= set(node.prompts))
            shared = n_common(prompts[i], prompts[j])
            # less than `least` further tokens are not worth a pass of their own
            assert shared - LEAST < together <= shared
            assert together == 0 or together >= LEAST
