"""Scoring: does a completion give the value that was asked for, and where?

Pure functions of (completion, value, compare), so kept completions are scored again at any time, by any later
version, without a model. Knows nothing about rows or tasks.

Two rules. `value` compares whole tokens and is ours. `published` is the substring rule of the EDGAR haystack
study (https://github.com/dersual/EDGAR-Haystack), kept so that figures can be set beside that study's.

Of a completion that thinks aloud, what follows the thought is the answer. A model that answers in sentences says the
value somewhere in them: its place is found in the text by rule `value`, and its tokens by what each adds to the text.
"""

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from harness.errors import DataError
from harness.retrieval.number_words import NO_NUMBER, SCALE, SCALES, exactly_written, words_as_digits

SCORER_VERSION = 2
"""Grows whenever a rule can judge an old completion differently."""

Compare = Literal["text", "number"]
Tokens = tuple[str, ...]

THOUGHT, END_OF_THOUGHT = "<think>", "</think>"
"""Between these a model thinks aloud."""

# Not beside a letter, nor beside a separator and more digits: none is read out of 3M, 3 M, 5th, 1.2.3 or 1,2345.
_NUMBER = re.compile(
    r"(?<!\w)(?<!\d[.,'])(?P<sign>-?)"
    r"(?P<digits>(?:\d{1,3}(?:[,']\d{3})+|\d+)(?:\.\d+)?|(?<!\.)\.\d+)(?!\w|[.,']\d|\s[kmb]\b)"
    rf"(?P<scales>(?:[\s-]+{SCALE})*)"
)
# What no token of either kind ends within: a run of letters and digits, or a single other character.
_UNIT = re.compile(r"[^\W_]+|[^\s\w]|_")
_GROUPS = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,])")
_SPACED = re.compile(r"(?<![\w.,])\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\w)")
_MIXED = re.compile(r"(?<![\w.,/])\d+\s+\d/\d+(?![\w/])")
_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?"
)
# "March 5,1988" and "1985,1986": commas that cannot stand within one number
_BETWEEN_NUMBERS = re.compile(rf"(\b(?:{_MONTHS})\.?\s+\d{{1,2}}|(?<![\w.,'])\d{{4,}}),(?=\d{{4,}}\b)")
_DASHES = str.maketrans({"−": "-", "‑": "-", "‐": "-", "–": " ", "—": " "})
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛´`ʼʻʹ′＇", "'"))
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z]\w*);", re.IGNORECASE)
_TRADEMARK = re.compile(r"\((?:tm|sm|r)\)", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")


def matches_value(completion: str, value: str, compare: Compare, others: Iterable[str] = ()) -> bool:
    """Rule `value`: the value's tokens stand in the completion's answer, whole, in order and side by side.

    For `number` the tokens are the numbers alone: words between them do not matter, and of several numbers in
    a completion any one may be the value (an answer that lists numbers is for a validity check to find).
    `others` are other values of the task: where one that is longer is said, the value within it is not ("Virginia" in
    "West Virginia").

    Raises:
        DataError: the value has no tokens: it would be found everywhere.
    """
    sought = normalise(value, compare)
    if not sought:
        expected = "a number" if compare == "number" else "a letter or a digit"
        raise DataError(f"needle_value: got {value!r}; expected {expected} in it; correct the value")
    return sought in _said(completion, [value, *others], compare)


def hedges(completion: str, value: str, compare: Compare, others: Iterable[str]) -> bool:
    """Whether the answer says two different values of the task, which are texts: right or not, it is a guess."""
    return compare == "text" and len(_said(completion, [value, *others], compare)) > 1


def answer_of(completion: str) -> str:
    """What follows the thought of a model that thinks aloud; nothing where the thought has no end."""
    return completion.rpartition(END_OF_THOUGHT)[2].partition(THOUGHT)[0]


def value_span(completion: str, value: str, compare: Compare, others: Iterable[str] = ()) -> tuple[int, int] | None:
    """Where rule `value` first finds the value in a completion: half-open characters; `None` where it does not.

    The stretch is the shortest that says the value's tokens and, cut out, leaves all others what they are: neither 1 of
    "1,234" nor "two hundred" of "one thousand two hundred" is one. Where no cut does that, `None` too. Raises DataError
    as `matches_value`.
    """
    if not matches_value(completion, value, compare, others):
        return None
    answer, sought = answer_of(completion), normalise(value, compare)
    offset = completion.rfind(END_OF_THOUGHT) + len(END_OF_THOUGHT) if END_OF_THOUGHT in completion else 0
    whole = normalise(answer, compare)
    places = _places(whole, [value, *others], compare)
    first = min(start for (start, _), tokens in places.items() if tokens == sought)
    before, until, after = whole[:first], whole[: first + len(sought)], whole[first + len(sought) :]
    units = list(_UNIT.finditer(answer))
    for last in units:
        end = last.end()
        if normalise(answer[:end], compare) != until or normalise(answer[end:], compare) != after:
            continue
        for start in (unit.start() for unit in reversed(units) if unit.start() < end):
            if normalise(answer[:start], compare) == before and normalise(answer[start:end], compare) == sought:
                return offset + start, offset + end
    return None


def matches_published(completion: str, value: str) -> bool:
    """Rule `published`: value and answer in lower case, commas out, number words as digits; then value in completion.

    So `5` is found in `1500`, as by the study's rule. Two departures: number words are read as whole numbers
    ("seven hundred" is 700, where the study's word-by-word reading gave "7 100"), and an empty value is an
    error, where it matched everything.

    Raises:
        DataError: nothing is left of the value.
    """
    sought = _published(value)
    if not sought:
        raise DataError(f"needle_value: got {value!r}; expected text; correct the value")
    return sought in _published(answer_of(completion))


def unigram_recall(completion: str, value: str) -> float:
    """ROUGE-1 recall: the share of the value's words that the completion has, each as often as it has it.

    Words are runs of ASCII letters and digits in lower case, and are not stemmed; 0 for a value without any.

    Source: C.-Y. Lin (2004), ROUGE: a package for automatic evaluation of summaries, with the words of
    Google's `rouge-score` (https://pypi.org/project/rouge-score/).
    """
    sought, found = (Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in (value, completion))
    return (sought & found).total() / sought.total() if sought else 0.0


@lru_cache(maxsize=1 << 14)
def normalise(text: str, compare: Compare) -> Tokens:
    """The tokens that rule `value` compares.

    Both: HTML entities read, trademark and other signs that the compatibility form would glue to a word taken out; then
    that form (NFKC), case folded. `text`: runs of letters, digits and their marks, with thousands separators taken out
    and & read as "and"; all other characters, currency signs and apostrophes among them, only separate. Number words
    stay words: "Second" is a name.

    `number`: every number, as an exact decimal in plain digits ("1,500.50" gives "1500.5"), in order; nothing
    else. Read are digits, with groups of three after comma, apostrophe or no-break space, a decimal point
    and a minus sign; number words ("seven hundred", "one thousand, two hundred", "nineteen ninety-three"); and both
    ("1.5 million", "half a million"). Not read are digits that are part of something else (3M, 5th, 1.2.3, x²), dozens,
    fractions, vague quantities ("several hundred"), and a "one" that counts nothing ("no one").
    """
    return _numbers(text) if compare == "number" else _words(text)


def _said(completion: str, values: Iterable[str], compare: Compare) -> set[Tokens]:
    """Which of the values the answer says; none is said that stands within a longer one."""
    return set(_places(normalise(answer_of(completion), compare), values, compare).values())


def _places(found: Tokens, values: Iterable[str], compare: Compare) -> dict[tuple[int, int], Tokens]:
    """Which of the values stand where in these tokens; none that stands within a longer one."""
    sought = {tokens for value in values if (tokens := normalise(value, compare))}
    spans = {
        (at, at + len(tokens)): tokens
        for tokens in sought
        for at in range(len(found) - len(tokens) + 1)
        if found[at : at + len(tokens)] == tokens
    }
    return {span: tokens for span, tokens in spans.items() if not any(_within(span, other) for other in spans)}


def _within(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def _words(text: str) -> Tokens:
    marked = _folded(_TRADEMARK.sub(" ", _plain(text)))
    folded = _GROUPS.sub(lambda found: found[0].replace(",", ""), marked).replace("&", " and ")
    return tuple(folded.translate(_APART).split())


def _numbers(text: str) -> Tokens:
    joined = _SPACED.sub(lambda found: "".join(found[0].split()), _plain(text))
    # NFKC writes 10² as 102 and 2½ as 21⁄2; a letter in their place keeps them from being read as numbers.
    plain = _folded(joined.translate(_NO_NUMBERS))
    apart = _BETWEEN_NUMBERS.sub(r"\1, ", _EMPHASIS.sub(" ", plain.translate(_DASHES)))
    # Digits first: text2num reads "3 million" as two numbers.
    digits = _NUMBER.sub(_decimal, exactly_written(_MIXED.sub(NO_NUMBER, apart)))
    return tuple(_decimal(found) for found in _NUMBER.finditer(words_as_digits(digits)))


def _plain(text: str) -> str:
    """Text without HTML entities, with one apostrophe, and without signs whose compatibility form is letters."""
    return _ENTITY.sub(_unescaped, text).translate(_APOSTROPHES).translate(_NO_SIGNS)


def _unescaped(found: re.Match[str]) -> str:
    """Their names are told apart by case, but what they stand for here is not."""
    lower = html.unescape(found[0].lower())
    return html.unescape(found[0]) if lower == found[0].lower() else lower


def _decimal(found: re.Match[str]) -> str:
    """A match of `_NUMBER` in plain digits; exact, so no arithmetic with Decimal's limited precision."""
    sign, digits, exponent = Decimal(re.sub("[,']", "", found["digits"])).as_tuple()
    assert isinstance(exponent, int)  # finite: it was written in digits
    exponent += sum(SCALES[word.strip(NO_NUMBER)] for word in re.split(r"[\s-]+", found["scales"]) if word)
    plain = format(Decimal((sign, digits, exponent)), "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain if plain == "0" else found["sign"] + plain


def _published(text: str) -> str:
    return words_as_digits(text.lower().replace(",", "")).strip()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


class _Replaced(dict[int, str]):
    """What `str.translate` puts in each character's place, found out when it is first met."""

    def __init__(self, replaced: Callable[[str], str]) -> None:
        super().__init__()
        self._replaced = replaced

    def __missing__(self, number: int) -> str:
        self[number] = self._replaced(chr(number))
        return self[number]


_NO_SIGNS = _Replaced(lambda char: " " if unicodedata.category(char) in ("So", "Sk") else char)
_NO_NUMBERS = _Replaced(lambda char: NO_NUMBER if unicodedata.category(char) == "No" else char)
_APART = _Replaced(lambda char: char if char.isalnum() or unicodedata.category(char).startswith("M") else " ")


Decode = Callable[[list[int]], str]
"""From token ids to the text that is scored."""


def value_tokens(
    token_ids: Sequence[int], value: str, compare: Compare, decode: Decode, others: Iterable[str] = ()
) -> tuple[int, int] | None:
    """The half-open tokens that the value's first place in the completion has; `None` where it does not say the value.

    `others` are other values of the task, as `matches_value` takes them.

    Every token that brings one of the value's characters counts, with what else it brings (a space before it). A
    character of several tokens belongs to all of them.

    Raises:
        DataError: the value has nothing to find.
    """
    text = decode(list(token_ids))
    span = value_span(text, value, compare, others)
    if span is None:
        return None
    start, end = span
    said = [decode(list(token_ids[:n])) for n in range(1, len(token_ids) + 1)]
    # a letter that is not complete yet decodes to another sign: it has begun, and is not said
    first = next(index for index, so_far in enumerate(said) if len(so_far) > start)
    last = next(index for index, so_far in enumerate(said) if _in_common(so_far, text) >= end)
    return first, last + 1


def _in_common(text: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
