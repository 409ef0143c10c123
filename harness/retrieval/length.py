"""Length: a row's haystack cut so that its whole prompt has at most a given number of tokens.

What is cut lies away from the needle, at sentence boundaries: of a document that the needle is put into, its end; of
one that holds its needle already, both ends, so that the needle keeps its place in between. The needle is never
touched, and the most is kept that fits. A shorter prompt stays as it is: nothing is made up to lengthen it.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.errors import DataError
from harness.retrieval.placement import sentence_boundaries
from harness.retrieval.rows import Row


def cut_to_length(row: Row, n_tokens: int, count: Callable[[Row], int]) -> Row:
    """The row with as much of its haystack as a prompt of at most `n_tokens` takes; itself where all of it fits.

    `count` says how many tokens the prompt of a row has, needle, question and template included.

    Raises:
        DataError: the prompt is longer even without any haystack.
    """
    whole = count(row)
    if whole <= n_tokens:
        return row
    parts = _Parts.of(row)
    low, high = _Counted(0, count(parts.row(0))), _Counted(len(parts.shares) - 1, whole)
    if low.tokens > n_tokens:
        raise DataError(
            f"row {row.id}: a prompt of {low.tokens} tokens with no more than the needle in it; expected at most "
            f"{n_tokens}, as seq-len says; allow more"
        )
    interpolate = True
    while high.part - low.part > 1:
        middle = (low.part + high.part) // 2
        if interpolate:
            # tokens grow about as the share does; every other step halves, so that this cannot go on for long
            share = (n_tokens - low.tokens) / (high.tokens - low.tokens)
            at = parts.shares[low.part] + share * (parts.shares[high.part] - parts.shares[low.part])
            middle = min(max(bisect_right(parts.shares, at) - 1, low.part + 1), high.part - 1)
        tried = _Counted(middle, count(parts.row(middle)))
        low, high = (tried, high) if tried.tokens <= n_tokens else (low, tried)
        interpolate = not interpolate
    return parts.row(low.part)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A part of a haystack, by its number, and the tokens of its prompt."""

    part: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """Ever larger parts of a row's haystack, from nothing but the needle to all of it.

    The part of a share holds that share of the text on either side of the needle, down to whole sentences. Where the
    needle is put in later, all text counts as after it. `before` and `after` hold (share, boundary).
    """

    whole: Row
    needle_start: int
    needle_end: int
    before: tuple[tuple[float, int], ...]
    after: tuple[tuple[float, int], ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, row: Row) -> "_Parts":
        text, start, end = row.haystack_text, 0, 0
        if row.placement == "in_place":
            needle = row.needle_sentence.strip()
            start = text.index(needle)
            end = start + len(needle)
        boundaries = sentence_boundaries(text)
        before = tuple(((start - each) / start, each) for each in boundaries if each < start)
        after = tuple(((each - end) / (len(text) - end), each) for each in boundaries if each > end)
        shares = {0.0, *(share for share, _ in (*before, *after))}
        return cls(row, start, end, before, after, tuple(sorted(shares)))

    def row(self, part: int) -> Row:
        """The row with this part of its haystack."""
        most = self.shares[part]
        start = min((at for share, at in self.before if share <= most), default=self.needle_start)
        end = max((at for share, at in self.after if share <= most), default=self.needle_end)
        text = self.whole.haystack_text[start:end]
        return replace(self.whole, haystack_text=text.lstrip() if start else text, haystack_token_length=None)
