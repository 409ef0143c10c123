"""Incorporation: in which state and year the registrant became a corporation.

A company that was "founded", or "formed" without a word on corporation or law, states no incorporation. One that
moved to another state, or grew out of a predecessor, states two: neither is taken.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.places import STATE
from harness.retrieval.filings.registrant import Registrant
from harness.retrieval.filings.statements import Doubt, Statement

STATE_TASK, YEAR_TASK = "incorporation_state", "incorporation_year"

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = rf"(?:(?:in|on) )?(?:early |late |the year )?(?:{_MONTH}(?: \d{{1,2}},| of)? )?(?P<year>(?:18|19|20)\d\d)\b(?![-–]\d)"
_LAW = rf"(?:in|under the (?:general )?(?:corporation |corporate )?[Ll]aws? of|pursuant to the laws of) (?:the )?(?:[Ss]tate of |[Cc]ommonwealth of )?(?P<state>{STATE})\b"
_AS = rf"as an? (?P<as_state>{STATE}) (?:business )?corporation"
_LOOK = re.compile(
    rf"\b(?:incorporated|organized|formed|founded|established|chartered)\b[^.;]{{0,80}}(?:\b(?:18|19|20)\d\d\b|\b{STATE}\b)"
    rf"|\b{STATE} corporation\b|\b[Ii]ncorporated in\b"
)
_TWO = re.compile(
    r"re-?incorporat|re-?organiz|predecessor|successor|re-?domicil|changed (?:its|our) state|merged (?:with and )?into"
    r"|subsidiar(?:y|ies) of|spun off|spin-off|holding company for",
    re.IGNORECASE,
)
_WORDS = ("ncorporated", "rganized", "ormed", "ounded", "stablished", "hartered", "corporation")
_MOVED = re.compile(r"re-?incorporat|re-?domicil|changed", re.IGNORECASE)


def find_incorporation(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The state and the year of incorporation that the sentence states."""
    if not any(word in sentence for word in _WORDS) or not _LOOK.search(sentence):
        return
    if "incorporated by reference" in sentence or "incorporated herein" in sentence:
        return
    states: list[str] = []
    years: list[str] = []
    past = False
    for pattern in _patterns(registrant.subject):
        if found := pattern.search(sentence):
            groups = found.groupdict()
            past = past or re.search(r"\b(?:was|were)\b|^Incorp|^Orig", found[0]) is not None
            states += [groups[name] for name in ("state", "as_state", "state_after") if groups.get(name)]
            years += [groups[name] for name in ("year", "year_after") if groups.get(name)]
    if not states and not years:
        if founded := re.search(rf"(?:{registrant.subject}) (?:was|were) (?:founded|formed|established)\b", sentence):
            yield Doubt(YEAR_TASK, f"not incorporated: {founded[0]}")
        elif re.search(r"\bincorporated\b", sentence) or re.search(rf"\b{STATE} corporation\b", sentence):
            yield Doubt(STATE_TASK, "not said of the registrant in a known form")
        return
    for task, values in ((STATE_TASK, states), (YEAR_TASK, years)):
        if not values:
            continue
        if two := _TWO.search(sentence):
            yield Doubt(task, f"more than one corporation or state may be meant: {two[0]}", moved=_MOVED.search(two[0]) is not None)
        elif len(set(values)) > 1:
            yield Doubt(task, f"several values: {', '.join(sorted(set(values)))}")
        else:
            yield Statement(task, values[0], past)


@lru_cache(maxsize=256)
def _patterns(subject: str) -> tuple[re.Pattern[str], ...]:
    own = rf"(?<![\w’'-])(?:{subject})"
    short = r"(?:,? ?\([^()]{0,120}\))?"
    was = rf"{short}(?:,)?(?: which)? (?:is|was|are|were)(?: originally| first| initially)?"
    verb = r"(?:incorporated|organized|formed|chartered)"
    law = _LAW.replace("?P<state>", "?P<state_after>")
    date = _DATE.replace("?P<year>", "?P<year_after>")
    incorporated = rf"(?:{verb} (?:{_LAW}|{_AS})|incorporated)"
    return (
        # was incorporated [in Delaware] [in June 1988]; was organized under the laws of Ohio in 1929
        re.compile(rf"{own}{was} {incorporated}(?: {_DATE})?(?:,? {law})?"),
        # was incorporated as Visioneer, Inc. in 1992 is left alone: names may hold years
        # was organized in 1929 under the laws of Ohio, was formed in 1995 as a Delaware corporation
        re.compile(rf"{own}{was} {verb} {date} (?:{_LAW}|{_AS})"),
        re.compile(rf"^(?:Originally )?[Ii]ncorporated (?:{_LAW} )?{_DATE},? (?:{subject})"),
        re.compile(rf"{own}{was} {verb} under (?P<state>{STATE}) law(?: {_DATE})?"),
        # Zurn Industries, Inc., a corporation founded in 1900 and incorporated in 1932
        re.compile(rf"{own}{short},? a corporation [^.;,]{{0,40}}incorporated {_DATE}"),
        # Worthington Industries is a corporation formed under the laws of the State of Ohio
        re.compile(rf"{own}{short},? (?:is|are) a (?:[a-z]+ )?corporation (?:that was )?{verb} {_LAW}(?: {_DATE})?"),
        # The Company, a Delaware corporation, ...; SanDisk Corporation (a Delaware corporation)
        re.compile(rf"{own}{short},? \(?an? (?P<state>{STATE}) (?:business )?corporation\b"),
        re.compile(rf"{own}{short} (?:is|are) an? (?P<state>{STATE}) (?:business )?corporation\b(?: (?:that was )?{verb} {_DATE})?"),
        re.compile(rf"^As an? (?P<state>{STATE}) corporation, (?:{subject})\b"),
        # ... company which was incorporated in the State of Georgia in 1965
        re.compile(rf"^(?:{subject}){short} is an? [^.;]{{0,80}} (?:which|that) was {incorporated}(?: {_DATE})?"),
    )
