"""Placement: where in a haystack the needle stands.

Knows nothing about tasks or tokens. A needle is put at a sentence boundary, so that no neighbouring sentence
is broken, or at a bare character position, as the EDGAR haystack study did
(https://github.com/dersual/EDGAR-Haystack).
"""

import re
from dataclasses import dataclass

from harness.choices import Insertion
from harness.errors import DataError
from harness.retrieval.rows import Row, occurrences

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
