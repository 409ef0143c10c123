"""English numbers in words, as digits.

text2num (https://pypi.org/project/text2num/) reads them. What it would read wrongly is first written otherwise: commas
within a number, halves and quarters, years said in pairs, numbers that share a scale. What says no exact number is
taken out: vague quantities ("several hundred"), dozens, fractions, and a "one" that counts nothing ("no one").

Knows nothing of completions. All texts here are folded to lower case.
"""

import re
from collections.abc import Callable

from text_to_num import alpha2digit  # type: ignore[import-untyped]  # it ships no types

SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "mln": 6, "mn": 6, "bn": 9}
"""Powers of ten by their names."""

NO_NUMBER = "ɸ"
"""Stands where a quantity was that is no exact number: a rare letter, so that nothing beside it is read as one."""

SCALE = rf"(?:{'|'.join(SCALES)}){NO_NUMBER}?\b"
"""One of them in a text; behind a decimal it bears that letter, or the library would read it as a number of its own."""

_OUT = f" {NO_NUMBER} "

_ONES = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_FROM_10 = rf"(?:(?:{_TENS})(?:[\s-]+(?:{_ONES}))?|{_TEENS})"
_TO_99 = rf"(?:{_FROM_10}|{_ONES})"
_WORD = rf"(?:{_ONES}|{_TEENS}|{_TENS}|{SCALE})"
_FEW_DIGITS = r"(?<![\w.,'])\d{1,3}(?:\.\d+)?"

Written = str | Callable[[re.Match[str]], str]


def words_as_digits(text: str) -> str:
    """Number words as digits, from zero up (by default the library leaves small ones as words)."""
    return str(alpha2digit(text, "en", 0))


def exactly_written(text: str) -> str:
    """The text, its numbers written so that digits with scales ("2.5 million") and text2num read them exactly.

    A quantity that is vague, or only a part of one, becomes `NO_NUMBER`.
    """
    for pattern, written in _REWRITTEN:
        text = re.sub(pattern, written, text)
    return text


def _half_more(found: re.Match[str]) -> str:
    return found[1] + (".5" if found[1].isdigit() else " point five")


def _part_of_a_scale(found: re.Match[str]) -> str:
    return f"{'0.75' if found[2] else {'half': '0.5', 'quarter': '0.25'}[found[1]]} {found[3]}"


def _plural(found: re.Match[str]) -> str:
    """Many hundreds are counted only where a number says how many."""
    return _OUT if found[1] is None else found[1] + found[2]


def _paired_year(found: re.Match[str]) -> str:
    return words_as_digits(found[1]) + words_as_digits(found[2])


def _comma(found: re.Match[str]) -> str:
    """Gone, if what follows is the smaller part of the same number: "one thousand, two thousand" are two."""
    own = SCALES[found[1]]
    following = max((SCALES[word] for word in found[2].split() if word in SCALES), default=0)
    return f"{found[1]} " if own >= 3 and following < own else found[0]


def _one(found: re.Match[str]) -> str:
    """`one` is a number beside a number, before what it counts, and where it ends an answer: "there is one"."""
    before, after = found[1] or "", found[2] or ""
    if re.fullmatch(_WORD, before) or re.fullmatch(rf"{_WORD}|point", after):
        return found[0]
    counts = after not in _AFTER_A_PRONOUN if after else not before or before in _BEFORE_A_NUMBER
    if counts and before not in _BEFORE_A_PRONOUN:
        return found[0]
    return re.sub(r"\bone$", NO_NUMBER, found[0])


_BEFORE_A_PRONOUN = frozenset("no any some every each which this that the another either neither not".split())
_BEFORE_A_NUMBER = frozenset(
    "is are was were be has have had only just exactly about approximately around employs employed number of total and "
    "or to point".split()
)
_AFTER_A_PRONOUN = frozenset(
    "of in on at for to from with by as is was are were has had that which who whom whose and or but if when where can "
    "could may might must shall should will would does did do not another anywhere here there such".split()
)

_REWRITTEN: tuple[tuple[str, Written], ...] = (
    (rf"\b(\d+|{_TO_99})[\s-]+and[\s-]+(?:a|one)[\s-]+half\b", _half_more),
    (
        rf"\b(?:(?:an?\s+|one[\s-]+)?(half|quarter)|(three)[\s-]+quarters)[\s-]+(?:of\s+)?(?:an?\s+)?({SCALE})",
        _part_of_a_scale,
    ),
    (rf"\b{_TO_99}(?:-|\s+)(?:half|halves|thirds?|quarters?|fifths?|tenths?)\s+of\b(?:\s+an?\s+{SCALE})?", _OUT),
    (rf"\b{_TO_99}-(?:half|halves|thirds?|quarters?|fifths?|tenths?)\b", _OUT),
    (
        rf"\b(?:several|few|many|some|multi|multiple|numerous|couple|tens|dozens|(?:{'|'.join(SCALES)})s)"
        rf"[\s-]+(?:of\s+)?(?:an?\s+)?(?:(?:{'|'.join(SCALES)})s?\b[\s-]*)+",
        _OUT,
    ),
    (rf"(?:\b{_TO_99}|(?<![\w.,'])\d[\d,.]*)[\s-]+dozens?\b", _OUT),
    (rf"((?:\d|\b{_WORD})[\s-]+)?\b({'|'.join(SCALES)})s\b", _plural),
    (r"\btens\b|\bno-one\b", _OUT),
    (rf"\b({_TO_99})(\s+(?:or|to)\s+)({_TO_99})[\s-]+({SCALE})", r"\1 \4\2\3 \4"),
    (rf"({_FEW_DIGITS})(\s*-\s*|\s+(?:or|to)\s+)(\d+(?:\.\d+)?)[\s-]+({SCALE})", r"\1 \4\2\3 \4"),
    (rf"\b(seventeen|eighteen|nineteen|twenty)[\s-]+({_FROM_10})\b(?![\s-]+{SCALE})", _paired_year),
    (rf"\b({'|'.join(SCALES)}),\s+(?=({_WORD}(?:[\s-]+(?:and\s+)?{_WORD})*))", _comma),
    (r"(?:\b(\w+)\s+)?(?<![-\w])one(?![-'\w])(?=(?:\s+(\w+))?)", _one),
    (rf"{NO_NUMBER}(?:[\s-]*{SCALE})+", f"{NO_NUMBER} "),
    (rf"(\bpoint(?:\s+(?:zero|{_ONES}))+\s+(?:{'|'.join(SCALES)}))\b", rf"\1{NO_NUMBER}"),
)
"""What is written otherwise, in this order."""
