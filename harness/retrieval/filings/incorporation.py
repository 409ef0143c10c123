"""Incorporation: in which state and year the registrant became a corporation.

A company that was "founded", or "formed" without a word on corporation or law, states no incorporation. A sentence on
one that moved to another state, or grew out of a predecessor, states two: neither is taken.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.places import STATE
from harness.retrieval.filings.registrant import Registrant
from harness.retrieval.filings.statements import Doubt, Statement, one_of

STATE_TASK, YEAR_TASK = "incorporation_state", "incorporation_year"

_MONTH = one_of(
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DATE = (
    rf"(?:(?:in|on) )?(?:early |late |the year )?(?:{_MONTH}(?: \d{{1,2}},| of)? )?"
    r"(?P<year>(?:18|19|20)\d\d)\b(?![-–]\d)"
)
_LAW = (
    one_of("in", "under the (?:general )?(?:corporation |corporate )?[Ll]aws? of", "pursuant to the laws of")
    + rf" (?:the )?(?:[Ss]tate of |[Cc]ommonwealth of )?(?P<state>{STATE})\b"
)
_AS = rf"as an? (?P<as_state>{STATE}) (?:business )?corporation"
_MADE = one_of("incorporated", "organized", "formed", "chartered")
_WORDS = ("ncorporated", "rganized", "ormed", "ounded", "stablished", "hartered", "corporation")
_LOOK = re.compile(
    rf"\b(?:incorporated|organized|formed|founded|established|chartered)\b[^.;]{{0,80}}(?:\b(?:18|19|20)\d\d\b|\b{STATE}\b)"
    rf"|\b{STATE} corporation\b|\b[Ii]ncorporated in\b"
)
_PAST = re.compile(r"\b(?:was|were)\b|^Incorporated|^Originally")
_MOVED = re.compile(
    r"re-?incorporat|re-?domicil|re-?domesticat|changed (?:its|our) state|conver(?:ted|ting|sion) (?:in)?to an?\b",
    re.IGNORECASE,
)
_TWO = re.compile(
    _MOVED.pattern + r"|re-?organiz|predecessor|successor|merged (?:with and )?into|subsidiar(?:y|ies) of|spun off"
    "|spin-off|holding company for",
    re.IGNORECASE,
)


def find_incorporation(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The state and the year of incorporation that the sentence states."""
    if not any(word in sentence for word in _WORDS) or not (_LOOK.search(sentence) or _MOVED.search(sentence)):
        return
    if "incorporated by reference" in sentence or "incorporated herein" in sentence:
        return
    found = [match for pattern in _patterns(registrant.subject) if (match := pattern.search(sentence))]
    states = _groups(found, "state", "as_state", "state_behind")
    years = _groups(found, "year", "year_before")
    if not states and not years:
        if (away := _MOVED.search(sentence)) and re.search(registrant.subject, sentence):
            yield Doubt(STATE_TASK, f"more than one corporation or state may be meant: {away[0]}", moved=True)
        elif founded := re.search(rf"{registrant.subject} (?:was|were) (?:founded|formed|established)\b", sentence):
            yield Doubt(YEAR_TASK, f"not incorporated: {founded[0]}")
        elif re.search(rf"\bincorporated\b|\b{STATE} corporation\b", sentence):
            yield Doubt(STATE_TASK, "not said of the registrant in a known form")
        return
    past = any(_PAST.search(match[0]) for match in found)
    for task, values in ((STATE_TASK, states), (YEAR_TASK, years)):
        if values and (two := _TWO.search(sentence)):
            moved = _MOVED.fullmatch(two[0]) is not None
            yield Doubt(task, f"more than one corporation or state may be meant: {two[0]}", moved)
        elif len(values) > 1:
            yield Doubt(task, f"several values: {', '.join(values)}")
        elif values:
            yield Statement(task, values[0], past)


def _groups(found: list[re.Match[str]], *names: str) -> list[str]:
    """What the groups of these names hold, each value once."""
    values = [match.groupdict().get(name) for match in found for name in names]
    return sorted({value for value in values if value})


@lru_cache(maxsize=256)
def _patterns(subject: str) -> tuple[re.Pattern[str], ...]:
    own = rf"{subject}(?:,? ?\([^()]{{0,120}}\))?"
    was = f"{own},?(?: which)? (?:is|was|are|were)(?: originally| first| initially)?"
    incorporated = f"(?:{_MADE} (?:{_LAW}|{_AS})|incorporated)"
    law_behind = _LAW.replace("?P<state>", "?P<state_behind>")
    date_before = _DATE.replace("?P<year>", "?P<year_before>")
    corporation = rf"an? (?P<state>{STATE}) (?:business )?corporation\b"
    patterns = (
        # We were incorporated in Delaware in June 1988; was incorporated in April 1995 under the laws of Nevada
        f"{was} {incorporated}(?: {_DATE})?(?:,? {law_behind})?",
        # was incorporated in 1992 as Visioneer, Inc. under the laws of the state of Delaware
        rf"{was} incorporated {date_before} as [A-Z][\w ]{{1,40}},? (?:Inc\.|Corp\.|Corporation),? {law_behind}",
        # was organized in 1929 under the laws of Ohio; was formed in 1995 as a Delaware corporation
        f"{was} {_MADE} {date_before} (?:{_LAW}|{_AS})",
        # was formed under Washington law on May 22, 1995
        f"{was} {_MADE} under (?P<state>{STATE}) law(?: {_DATE})?",
        # Incorporated in 1984, SPACEHAB
        f"^(?:Originally )?[Ii]ncorporated (?:{_LAW} )?{_DATE},? {subject}",
        # Zurn Industries, Inc., a corporation founded in 1900 and incorporated in 1932
        f"{own},? a corporation [^.;,]{{0,40}}incorporated {_DATE}",
        # Worthington Industries is a corporation formed under the laws of the State of Ohio
        f"{own},? (?:is|are) a (?:[a-z]+ )?corporation (?:that was )?{_MADE} {_LAW}(?: {_DATE})?",
        # The Company, a Delaware corporation, ...; SanDisk Corporation (a Delaware corporation)
        rf"{own},? \(?{corporation}",
        # We are a Delaware corporation; is a Delaware corporation that was formed in 1995
        f"{own} (?:is|are) {corporation}(?: (?:that was )?{_MADE} {_DATE})?",
        rf"^As {corporation}, {subject}",
        # Turner Broadcasting System, Inc. is a ... company which was incorporated in the State of Georgia in 1965
        f"^{own} is an? [^.;]{{0,80}} (?:which|that) was {incorporated}(?: {_DATE})?",
    )
    return tuple(re.compile(pattern) for pattern in patterns)
