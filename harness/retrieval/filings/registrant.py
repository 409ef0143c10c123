"""The registrant: the words by which a filing speaks of the company that files it, and what a sentence states of it.

"We", "the Company" and the like, the name that the source gives it, and the short names that the filing itself
defines ("SanDisk Corporation ("SanDisk" or the "Company")"). Never those of subsidiaries.

Of its name is taken the one in full, with Inc., Corporation or the like, as the subject of a sentence that defines it
("(the "Company")") or says what it is, or as what "we" refers to.

Patterns find statements (`find_...`, also in `people` and `places`), and are made to be right rather than to find
much. Knows nothing about tasks; `harness.retrieval.filings.candidates` asks every sentence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from harness.retrieval.filings.filing import Filing

_ENDINGS = {
    "INC": r"Inc(?:\.|orporated)?",
    "CORP": r"Corp(?:\.|oration)?",
    "CO": r"Co(?:\.|mpany)?",
    "LTD": r"(?:Ltd\.?|Limited)",
    "LLC": r"L\.?L\.?C\.?",
    "LP": r"L\.?P\.?",
    "PLC": r"plc",
}
_LONG = {"INCORPORATED": "INC", "CORPORATION": "CORP", "COMPANY": "CO", "LIMITED": "LTD"}
_ACCENTS = {"a": "aáàâä", "c": "cç", "e": "eéèêë", "i": "iíï", "n": "nñ", "o": "oóôö", "u": "uúü"}
# A first word that many companies share says nothing by itself.
_COMMON = frozenset(
    "american associated central communications community eastern federal first general global home industrial "
    "innovative international national northern pacific peoples southern standard union united western".split()
)
_SUFFIX = (
    r"(?:,? (?i:Inc\.?|Incorporated|Corp\.?|Corporation|Company|Companies|Co\.|Ltd\.?|Limited|L\.?L\.?C\.?"
    r"|L\.?P\.?|plc)(?![a-z]))"
)
_QUOTED = re.compile(r"[\"“]([^\"“”]{2,40}?),?[\"”]")
# Acme Widgets, Inc. (the "Company"), ("Peekskill" or the "Company"), (“Astrotech,” “the Company,” “we”)
DEFINED = re.compile(
    rf"(?P<name>[A-Z][\w&.’'\-]*(?:,? (?:of |and |& |the )?[A-Z][\w&.’'\-]*){{0,6}}?{_SUFFIX}) ?"
    r"\((?P<inner>[^()]{0,160}[\"“](?:the )?(?:Company|Registrant|Corporation|we),?[\"”][^()]{0,80})\)"
)
_STATEMENTS = frozenset({"8", "14", "15"})
"""Sections that hold financial statements, of which some are of other companies."""
_COMPANY = "[Tt]he (?:[Cc]ompany|[Rr]egistrant|Corporation)"


@dataclass(frozen=True, slots=True)
class Registrant:
    """How a filing speaks of its company; patterns without groups of their own, which begin where a word does.

    `subject` matches it as the subject of a sentence, `possessive` its owner's form, `full_name` its name in full
    (None: unknown). `given_name` is the name that the source gives.
    """

    subject: str
    possessive: str
    full_name: str | None
    given_name: str | None
    doubtful_sections: frozenset[str]
    """Sections that call another company "the Company": they hold its financial statements too."""


def registrant_of(filing: Filing) -> Registrant:
    """What names the registrant in this filing."""
    given = filing.facts.get("company") or filing.facts.get("company_name") or None
    full = _name_pattern(given) if given else None
    names = {full} if full else set()
    for name in _names_in_text(filing, full):
        names.add(re.escape(name))
    if full is None:
        full = next((re.escape(found["name"]) for found in _definitions(filing)), None)
    if given and (word := given.split()[0].strip(",.")) and len(word) > 4 and word.lower() not in _COMMON:
        names.add(_word_pattern(word))
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    subject = "|".join(["[Ww]e", _COMPANY, *longest_first])
    owners = "|".join(["[Oo]ur", *(rf"(?:{name})[’']s?" for name in (_COMPANY, *longest_first))])
    doubtful = frozenset(
        section.name for section in filing.sections if section.name in _STATEMENTS and _has_others(section.text, full)
    )
    return Registrant(
        rf"(?<![\w’'-])(?:{subject})(?![\w’'-])", rf"(?<![\w’'-])(?:{owners})(?!\w)", full, given, doubtful
    )


def _name_pattern(given: str) -> str:
    """A pattern of a name as EDGAR has it: `HOME HEALTH CORP OF AMERICA INC \\PA\\`, `WALT DISNEY CO/`."""
    words = re.sub(r"[/\\][A-Z]{0,5}[/\\]?\s*$", "", given).replace(",", " ").replace("/", " ").split()
    if len(words) > 1 and words[0].upper() == "THE":
        words = words[1:]
    parts = [_word_pattern(word.strip(".")) for word in words]
    while len(parts) > 1 and _ending(words[len(parts) - 1]) is not None:
        parts.pop()
    return rf"(?:The )?{',?[ -]'.join(parts)}{_SUFFIX}{{0,2}}"


def _ending(word: str) -> str | None:
    plain = word.strip(".").upper()
    return _ENDINGS.get(_LONG.get(plain, plain))


def _word_pattern(word: str) -> str:
    if word in ("&", "and", "AND"):
        return "(?:&|and)"
    if (ending := _ending(word)) is not None:
        return ending
    letters = "".join(_letter(char) for char in word)
    return rf"\b{letters}\b"


def _letter(char: str) -> str:
    lower = char.lower()
    if lower in _ACCENTS:
        return f"[{_ACCENTS[lower]}{_ACCENTS[lower].upper()}]"
    return f"[{lower}{lower.upper()}]" if char.isalpha() else rf"{re.escape(char)}"


def _has_others(text: str, full: str | None) -> bool:
    """Whether a text calls companies of several names, or of another one, the Company."""
    names = {found["name"] for found in DEFINED.finditer(text)}
    return len(names) > 1 if full is None else any(not re.search(full, name) for name in names)


def _definitions(filing: Filing) -> Iterator[re.Match[str]]:
    """Where the filing's first pages define who "the Company" is."""
    section = filing.section("1")
    if section is not None:
        yield from DEFINED.finditer(section.text[:4000])


def _names_in_text(filing: Filing, full: str | None) -> Iterator[str]:
    """Short names in quotes behind the registrant's full name, and the defined name where none is given."""
    if full is None:
        found = next(_definitions(filing), None)
        if found is not None:
            yield found["name"]
            yield from _short_names(found["inner"])
        return
    named = re.compile(rf"{full} ?\((?P<inner>[^()]{{0,200}})\)")
    for section in filing.sections:
        for found in named.finditer(section.text):
            yield from _short_names(found["inner"])


def _short_names(inner: str) -> Iterator[str]:
    for name in _QUOTED.findall(inner):
        bare = name.strip(" ,®™")
        if bare[:1].isupper() and not re.fullmatch(r"(?:The |the )?(?:Company|Registrant|Corporation|We|Our|Us)", bare):
            yield bare


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence states this value of the task, as it is written there.

    `past`: it tells how the registrant began, not what it is; where it moved since, that is another matter.
    """

    task: str
    value: str
    past: bool = False


@dataclass(frozen=True, slots=True)
class Doubt:
    """A sentence that looks like a statement of the task, and the reason why it is not taken for one.

    `moved`: it says that the registrant went to another state, or became another corporation.
    """

    task: str
    reason: str
    moved: bool = False


class Finder(Protocol):
    """What a module of patterns offers."""

    def __call__(self, sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
        """What this sentence of this section states of the registrant."""
        ...


def one_of(*patterns: str) -> str:
    """A pattern of alternatives, without a group of its own; a maybe is `one_of(...) + "?"`."""
    return f"(?:{'|'.join(patterns)})"


NAME_TASK = "registrant_name"

_NAME_SUFFIX = re.compile(
    r"(?:Inc\.?|Incorporated|Corp\.?|Corporation|Company|Companies|Co\.|Ltd\.?|Limited|LLC|L\.P\.|plc)$"
)


def find_names(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The registrant's full name, where the sentence states it."""
    if registrant.full_name is None or section not in ("1", "8", "15"):
        return
    found = next((match for each in _name_patterns(registrant.full_name) if (match := each.search(sentence))), None)
    if found is None:
        defined = DEFINED.match(sentence) if section == "1" and registrant.given_name else None
        if defined is not None and not re.search(registrant.full_name, defined["name"]):
            given = registrant.given_name
            yield Doubt(NAME_TASK, f"the filing calls the Company {defined['name']}, its field company is {given}")
        return
    value = found["name"].rstrip(",")
    if _NAME_SUFFIX.search(value):
        yield Statement(NAME_TASK, value)
    else:
        yield Doubt(NAME_TASK, f"not the name in full: {value}")


@lru_cache(maxsize=256)
def _name_patterns(full_name: str) -> tuple[re.Pattern[str], ...]:
    name = rf"(?P<name>{full_name})(?![\w’'])"
    short = r"(?:,? ?\([^()]{0,160}\))"
    return (
        re.compile(rf"^{name} ?\([^()]{{0,160}}[\"“](?:the )?(?:Company|Registrant|Corporation|we)[,.]?[\"”]"),
        re.compile(
            rf"^{name}{short}?,? (?:is (?:an?|the|one of)|was (?:incorporated|organized|formed|founded)"
            r"|an? [A-Z]\w+(?: \w+)? corporation)\b"
        ),
        re.compile(
            rf"[\"“](?:we|the Company|us|our),?[\"”][^.;]{{0,80}}(?:refers?|mean)s?(?: collectively)? to {name}"
        ),
    )
