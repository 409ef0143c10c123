"""Scoring: does a completion give the value that was asked for?

Pure functions of (completion, value, compare), so kept completions are scored again at any time, by any later
version, without a model. Knows nothing about rows or tasks.

Two rules. `value` compares whole tokens and is ours. `published` is the substring rule of the EDGAR haystack
study (https://github.com/dersual/EDGAR-Haystack), kept so that figures can be set beside that study's. Number
words are read by text2num (https://pypi.org/project/text2num/), in English.
"""

import re
import unicodedata
from collections import Counter
from decimal import Decimal
from typing import Literal

from text_to_num import alpha2digit  # type: ignore[import-untyped]  # it ships no types

from harness.errors import DataError

SCORER_VERSION = 1
"""Grows whenever a rule can judge an old completion differently."""

Compare = Literal["text", "number"]

_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
# Not beside a letter, nor beside a separator and more digits: none is read out of 3M, 5th, 1.2.3 or 1,2345.
_NUMBER = re.compile(
    r"(?<!\w)(?<!\d[.,'])(?P<sign>-?)"
    r"(?P<digits>(?:\d{1,3}(?:[,']\d{3})+|\d+)(?:\.\d+)?|(?<!\.)\.\d+)(?!\w|[.,']\d)"
    rf"(?P<scales>(?:\s+(?:{'|'.join(_SCALES)})\b)*)"
)
_GROUPS = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,])")
_TYPOGRAPHY = str.maketrans({"’": "'", "−": "-", "‑": "-", "‐": "-", "–": " ", "—": " "})
_SPACED = re.compile(r"(?<![\w.,])\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\w)")


def matches_value(completion: str, value: str, compare: Compare) -> bool:
    """Rule `value`: the value's tokens stand in the completion, whole, in order and side by side.

    For `number` the tokens are the numbers alone: words between them do not matter, and of several numbers in
    a completion any one may be the value (an answer that lists numbers is for a validity check to find).

    Raises:
        DataError: the value has no tokens: it would be found everywhere.
    """
    sought, found = normalise(value, compare), normalise(completion, compare)
    if not sought:
        expected = "a number" if compare == "number" else "a letter or a digit"
        raise DataError(f"needle_value: got {value!r}; expected {expected} in it; correct the value")
    return any(found[at : at + len(sought)] == sought for at in range(len(found) - len(sought) + 1))


def matches_published(completion: str, value: str) -> bool:
    """Rule `published`: both in lower case, commas out, number words as digits; then value in completion.

    So `5` is found in `1500`, as by the study's rule. Two departures: number words are read as whole numbers
    ("seven hundred" is 700, where the study's word-by-word reading gave "7 100"), and an empty value is an
    error, where it matched everything.

    Raises:
        DataError: nothing is left of the value.
    """
    sought = _published(value)
    if not sought:
        raise DataError(f"needle_value: got {value!r}; expected text; correct the value")
    return sought in _published(completion)


def unigram_recall(completion: str, value: str) -> float:
    """ROUGE-1 recall: the share of the value's words that the completion has, each as often as it has it.

    Words are runs of ASCII letters and digits in lower case, and are not stemmed; 0 for a value without any.

    Source: C.-Y. Lin (2004), ROUGE: a package for automatic evaluation of summaries, with the words of
    Google's `rouge-score` (https://pypi.org/project/rouge-score/).
    """
    sought, found = (Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in (value, completion))
    return (sought & found).total() / sought.total() if sought else 0.0


def normalise(text: str, compare: Compare) -> tuple[str, ...]:
    """The tokens that rule `value` compares.

    Both: compatibility form (NFKC), case folded. `text`: runs of letters, digits and their marks, with
    thousands separators taken out and & read as "and"; all other characters, currency signs among them, only
    separate. Number words stay words: "Second" is a name.

    `number`: every number, as an exact decimal in plain digits ("1,500.50" gives "1500.5"), in order; nothing
    else. Read are digits, with groups of three after comma, apostrophe or no-break space, a decimal point
    and a minus sign; number words ("seven hundred", "twenty-five"); and both ("1.5 million"). Not read are
    digits that are part of something else (3M, 5th, 1.2.3, x²), dozens, and years said in pairs
    ("nineteen ninety-three").
    """
    return _numbers(text) if compare == "number" else _words(text)


def _words(text: str) -> tuple[str, ...]:
    folded = _GROUPS.sub(lambda found: found[0].replace(",", ""), _folded(text)).replace("&", " and ")
    return tuple("".join(char if _in_word(char) else " " for char in folded).split())


def _numbers(text: str) -> tuple[str, ...]:
    joined = _SPACED.sub(lambda found: "".join(found[0].split()), text)
    # NFKC writes 10² as 102 and 2½ as 21⁄2; a letter in their place keeps them from being read as numbers.
    plain = "".join("x" if unicodedata.category(char) == "No" else char for char in joined)
    # Digits first: text2num reads "3 million" as two numbers.
    digits = _NUMBER.sub(_decimal, _folded(plain).translate(_TYPOGRAPHY))
    return tuple(_decimal(found) for found in _NUMBER.finditer(_words_as_digits(digits)))


def _decimal(found: re.Match[str]) -> str:
    """A match of `_NUMBER` in plain digits; exact, so no arithmetic with Decimal's limited precision."""
    sign, digits, exponent = Decimal(re.sub("[,']", "", found["digits"])).as_tuple()
    assert isinstance(exponent, int)  # finite: it was written in digits
    exponent += sum(_SCALES[word] for word in found["scales"].split())
    plain = format(Decimal((sign, digits, exponent)), "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain if plain == "0" else found["sign"] + plain


def _published(text: str) -> str:
    return _words_as_digits(text.lower().replace(",", "")).strip()


def _words_as_digits(text: str) -> str:
    """English number words as digits, from zero up (by default the library leaves small ones as words)."""
    return str(alpha2digit(text, "en", 0))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _in_word(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char).startswith("M")
