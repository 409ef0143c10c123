"""Placement: where in a haystack the needle stands, how much of the haystack is kept, and what else stands there.

A needle is put at a sentence boundary, so that no neighbouring sentence is broken, or at a bare character position, as
the EDGAR haystack study did (https://github.com/dersual/EDGAR-Haystack).

What is cut, so that a whole prompt has at most a given number of tokens, lies away from the needle, at sentence
boundaries: of a document that the needle is put into, its end; of one that holds its needle already, both ends, so that
the needle keeps its place in between. The needle is never touched, and the most is kept that fits. A shorter prompt
stays as it is: nothing is made up to lengthen it. Rows of one document are cut alike, as far as one part of it can hold
what each of them asks for: they keep what their prompts begin with in common.

A row whose value stands in its document anyway may be answered without its needle: a right answer says less of the
heads that look there. In place that is so of nearly every row. Whether the value is said there in answer to the
question is not known. Knows nothing of tokens or models.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.choices import Insertion
from harness.errors import DataError
from harness.retrieval.rows import Row, occurrences
from harness.retrieval.scoring import Compare, normalise
from harness.retrieval.tasks import Task

# A sentence ends with a stop and closing marks before whitespace, an ideographic stop, or a blank line.
_ENDS = re.compile(
    r"(?P<stop>[.!?…])[\"'”’)\]]*(?=\s+(?P<next>\S))"
    r"|[。！？][」』”’）]*"
    r"|\S(?=[^\S\n]*\n[^\S\n]*\n)"
)
# A full stop after one of these, or after a single letter, ends an abbreviation and not a sentence.
_ABBREVIATIONS = frozenset(
    (
        *("approx", "ave", "bros", "co", "corp", "dept", "dr", "est", "fig", "inc", "jr", "llc", "ltd"),
        *("mr", "mrs", "ms", "no", "nos", "sr", "st", "vs"),
        *("apr", "aug", "dec", "feb", "jan", "jul", "jun", "mar", "nov", "oct", "sep", "sept"),
    )
)
_LAST_WORD = re.compile(r"[^\W\d_]+$")


@dataclass(frozen=True, slots=True)
class Placed:
    """A document, the needle's half-open characters in it (None when left out), and its depth.

    `depth` is the number of the haystack's characters before the needle / all of them; for a document without
    its needle it is where the needle would stand.
    """

    document: str
    needle: tuple[int, int] | None
    depth: float


def place_needle(row: Row, *, depth: float, insertion: Insertion = "sentence", keep: bool = True) -> Placed:
    """A row's document with its needle at `depth` (0 start, 1 end), or without it when `keep` is false.

    `sentence`: at the sentence boundary nearest to depth x characters of the haystack (the earlier of two;
    the start and the end are boundaries), set apart by one space where no whitespace stands already, so that
    the text around it is untouched. `published`: at character int(depth x length), between two spaces, even
    inside a word; the study did this at the midpoint, depth 0.5. A row placed `in_place` has its needle
    already: `depth` and `insertion` do not matter, and without it the document closes up by one space.

    Raises:
        DataError: `depth` is outside [0, 1], or an `in_place` needle does not stand exactly once.
    """
    if not 0 <= depth <= 1:
        raise DataError(f"row {row.id}: depth: got {depth!r}; expected a number from 0 to 1; correct the depth")
    haystack, needle = row.haystack_text, row.needle_sentence.strip()
    if row.placement == "in_place":
        return _in_place(row, needle, keep=keep)
    if insertion == "published":
        at = int(len(haystack) * depth)
        before, after = " ", " "
    else:
        at = min(sentence_boundaries(haystack), key=lambda boundary: abs(boundary - depth * len(haystack)))
        before = "" if at == 0 or haystack[at - 1].isspace() else " "
        after = "" if at == len(haystack) or haystack[at].isspace() else " "
    achieved = at / len(haystack) if haystack else 0.0
    if not keep:
        return Placed(haystack, None, achieved)
    start = at + len(before)
    document = haystack[:at] + before + needle + after + haystack[at:]
    return Placed(document, (start, start + len(needle)), achieved)


def without_needle(row: Row) -> str:
    """A row's document without its needle, wherever that would stand. Raises DataError as `place_needle` does."""
    if row.placement == "in_place":
        return _in_place(row, row.needle_sentence.strip(), keep=False).document
    return row.haystack_text


def in_another_document(row: Row, other: Row) -> Row:
    """The row's own needle, to be inserted into another row's document without that row's needle."""
    document = without_needle(other)
    return replace(
        row,
        filename=other.filename,
        haystack_text=document,
        placement="insert",
        cluster=other.cluster,
        split=other.split,
    )


def sentence_boundaries(text: str) -> list[int]:
    """Character positions at which a sentence ends, in order, with 0 and the text's length.

    By punctuation and blank lines, without a language model: a full stop counts unless it follows a single
    letter or a common abbreviation, or a lower-case letter comes next.
    """
    inside = [found.end() for found in _ENDS.finditer(text) if _ends_sentence(text, found)]
    return sorted({0, *inside, len(text)})


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    if found["stop"] is None:
        return True
    if found["next"].islower():
        return False
    if found["stop"] != ".":
        return True
    word = _LAST_WORD.search(text, max(0, found.start() - 12), found.start())
    return word is None or (len(word[0]) > 1 and word[0].casefold() not in _ABBREVIATIONS)


def _in_place(row: Row, needle: str, *, keep: bool) -> Placed:
    haystack = row.haystack_text
    if (count := occurrences(needle, haystack)) != 1:
        raise DataError(
            f"row {row.id}: placement in_place: the needle stands {count} times in the haystack; "
            "expected once; correct the needle or the placement"
        )
    start = haystack.index(needle)
    end = start + len(needle)
    around = len(haystack) - len(needle)
    depth = start / around if around else 0.0
    if keep:
        return Placed(haystack, (start, end), depth)
    left, right = haystack[:start], haystack[end:]
    if left.endswith(" ") and (not right or right[0].isspace()):
        left = left[:-1]
    elif right.startswith(" ") and (not left or left[-1].isspace()):
        right = right[1:]
    return Placed(left + right, None, depth)


def cut_to_length(row: Row, n_tokens: int, count: Callable[[Row], int]) -> Row:
    """The row with as much of its haystack as a prompt of at most `n_tokens` takes; itself where all of it fits.

    `count` says how many tokens the prompt of a row has, needle, question and template included.

    Raises:
        DataError: the prompt is longer even without any haystack.
    """
    (cut,) = cut_together([row], n_tokens, count)
    if cut is None:
        raise DataError(
            f"row {row.id}: a prompt of {count(_Place.of(row).alone())} tokens with no more than the needle in it; "
            f"expected at most {n_tokens}, as seq-len says; allow more"
        )
    return cut


def cut_together(rows: Sequence[Row], n_tokens: int, count: Callable[[Row], int]) -> tuple[Row | None, ...]:
    """Rows of one text and one placement, cut to prompts of at most `n_tokens`: as few different parts of it as may be.

    Where all of the text fits into every row's prompt, the rows themselves. Else windows: from the text's first needle
    on, each holds as many needles as fit into it together with what lies between them, and is then made as large as
    every one of its rows' prompts takes. Needles that are put in later all fit one window, the text's beginning.
    `None` for a row whose prompt is longer even without any haystack; the others are cut as if it were not there.
    """
    if all(count(row) <= n_tokens for row in rows):
        return tuple(rows)
    places = [_Place.of(row) for row in rows]
    alone = {place: count(place.alone()) for place in places}
    waiting = sorted(
        (place for place in places if alone[place] <= n_tokens), key=lambda place: (place.start, place.end)
    )
    boundaries = sentence_boundaries(rows[0].haystack_text)
    cut: dict[_Place, Row] = {}

    def too_many(n: int) -> bool:
        bare = _Parts.around(waiting[:n], boundaries)
        return any(count(bare.row(place.row, 0)) > n_tokens for place in waiting[:n])

    while waiting:
        # what is too many stays so with more of them
        n_held = 1 + bisect_left(range(2, len(waiting) + 1), True, key=too_many)
        held, waiting = waiting[:n_held], waiting[n_held:]
        parts = _Parts.around(held, boundaries)
        # the longest first, so that the others mostly fit at once
        held.sort(key=alone.__getitem__, reverse=True)
        part = _largest(parts, [place.row for place in held], n_tokens, count)
        cut |= {place: parts.row(place.row, part) for place in held}
    return tuple(cut.get(place) for place in places)


def _largest(parts: "_Parts", rows: Sequence[Row], n_tokens: int, count: Callable[[Row], int]) -> int:
    """The number of the largest part with which every row's prompt has at most `n_tokens`; the first is such a part.

    Few are counted: tokens grow about as the share does.
    """
    part = len(parts.shares) - 1
    while over := next((row for row in rows if count(parts.row(row, part)) > n_tokens), None):
        low, high = (_Counted(number, count(parts.row(over, number))) for number in (0, part))
        interpolate = True
        while high.part - low.part > 1:
            middle = (low.part + high.part) // 2
            if interpolate:
                # every other step halves, so that this cannot go on for long
                share = (n_tokens - low.tokens) / (high.tokens - low.tokens)
                at = parts.shares[low.part] + share * (parts.shares[high.part] - parts.shares[low.part])
                middle = min(max(bisect_right(parts.shares, at) - 1, low.part + 1), high.part - 1)
            tried = _Counted(middle, count(parts.row(over, middle)))
            low, high = (tried, high) if tried.tokens <= n_tokens else (low, tried)
            interpolate = not interpolate
        part = low.part
    return part


@dataclass(frozen=True, slots=True)
class _Counted:
    """A part of a haystack, by its number, and the tokens of its prompt."""

    part: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row's needle stands in its text: half-open characters; where it is put in later, before all of it."""

    row: Row
    start: int
    end: int

    @classmethod
    def of(cls, row: Row) -> "_Place":
        if row.placement == "insert":
            return cls(row, 0, 0)
        needle = row.needle_sentence.strip()
        start = row.haystack_text.index(needle)
        return cls(row, start, start + len(needle))

    def alone(self) -> Row:
        """The row without any haystack but its needle."""
        return replace(
            self.row, haystack_text=self.row.haystack_text[self.start : self.end], haystack_token_length=None
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Ever larger parts of a text, from nothing but what some needles span, in between included, to all of it.

    The part of a share holds that share of the text on either side of the needles, down to whole sentences. Where the
    needle is put in later, all text counts as after it. `before` and `after` hold (share, boundary).
    """

    start: int
    end: int
    before: tuple[tuple[float, int], ...]
    after: tuple[tuple[float, int], ...]
    shares: tuple[float, ...]

    @classmethod
    def around(cls, places: Sequence[_Place], boundaries: Sequence[int]) -> "_Parts":
        start, end, length = places[0].start, max(place.end for place in places), boundaries[-1]
        before = tuple(((start - each) / start, each) for each in boundaries if each < start)
        after = tuple(((each - end) / (length - end), each) for each in boundaries if each > end)
        shares = {0.0, *(share for share, _ in (*before, *after))}
        return cls(start, end, before, after, tuple(sorted(shares)))

    def row(self, row: Row, part: int) -> Row:
        """The row with this part of its text."""
        most = self.shares[part]
        start = min((at for share, at in self.before if share <= most), default=self.start)
        end = max((at for share, at in self.after if share <= most), default=self.end)
        text = row.haystack_text[start:end]
        return replace(row, haystack_text=text.lstrip() if start else text, haystack_token_length=None)


def value_recurs(row: Row, task: Task) -> bool:
    """Whether the row's value stands, by rule `value`, in its document without the needle.

    Raises:
        DataError: the needle of a row placed `in_place` does not stand there exactly once.
    """
    return value_stands(row.needle_value, without_needle(row), task.compare)


def recurring_rows(rows: Iterable[Row], tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """The ids of the rows whose value recurs, in their order."""
    return tuple(row.id for row in rows if value_recurs(row, tasks[row.task]))


def value_stands(value: str, text: str, compare: Compare) -> bool:
    """Whether the value's tokens stand in a text, whole, in order and side by side.

    Raises:
        DataError: the value has no tokens: it would be found everywhere.
    """
    sought, words = normalise(value, compare), normalise(text, compare)
    if not sought:
        raise DataError(f"needle_value: got {value!r}; expected something to compare; correct the value")
    return any(words[at : at + len(sought)] == sought for at in range(len(words) - len(sought) + 1))
