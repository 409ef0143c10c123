"""Headquarters: the city and state of the registrant's principal executive offices.

Taken are headquarters, and executive, corporate or principal offices, of the registrant as a whole at one place; not
those of a region, a division or a subsidiary, nor old or future ones. A state counts where it is written in full.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.places import Place, places_in
from harness.retrieval.filings.registrant import Registrant
from harness.retrieval.filings.statements import Doubt, Statement

CITY_TASK, STATE_TASK = "headquarters_city", "headquarters_state"

_LOOK = re.compile(r"\bheadquarter(?:s|ed)\b|\b(?:executive|corporate|principal|home) offices?\b", re.IGNORECASE)
_CHANGED = re.compile(
    r"\b(?:former(?:ly)?|previous(?:ly)?|moved?|relocat\w*|will be|prior|construct\w*|new (?:corporate )?headquarters"
    r"|until|expected to|plans? to|vacat\w*|sold|sale|sublet|sublease[sd]?)\b",
    re.IGNORECASE,
)
_SEAT = (
    r"(?:(?:principal|corporate|executive|worldwide|world|global|general|main|company|business|home|and|, )+ ?)?"
    r"(?:headquarters(?: (?:facility|building|offices?|facilities|campus|complex))?"
    r"|(?:principal|executive|corporate) (?:executive )?(?:corporate )?offices?)"
)
_MIDDLE = r"[^.;()]{0,60}?"
_SECOND = re.compile(r"(?: \d{5}(?:-\d{4})?)?,? (?:and|or)(?: in| at)?\b[^.;]{0,60}$")
_GAP = 70
"""How many characters of street may stand between "at" and the city."""


def find_headquarters(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The city and the state of the headquarters that the sentence states."""
    if not any(word in sentence for word in ("eadquarter", "ffice")) or not _LOOK.search(sentence):
        return
    places = places_in(sentence)
    if not places:
        return
    place, behind = _seat(sentence, places, registrant)
    if place is None:
        yield Doubt(CITY_TASK, "not the seat of the registrant as a whole, in a known form")
        return
    after = sentence[place.end :]
    if changed := _CHANGED.search(sentence):
        yield Doubt(CITY_TASK, f"not, or not only, the present seat: {changed[0]}")
    elif behind is not None and _SECOND.match(sentence[place.end : behind.start]):
        yield Doubt(CITY_TASK, "more than one place")
    elif re.match(r"-| (?:area|metropolitan)", after):
        yield Doubt(CITY_TASK, "an area")
    else:
        if place.has_clear_city:
            yield Statement(CITY_TASK, place.city)
        else:
            yield Doubt(CITY_TASK, f"city and street run together: {place.city}")
        if place.state:
            yield Statement(STATE_TASK, place.state)
        else:
            yield Doubt(STATE_TASK, "the state is abbreviated")


def _seat(sentence: str, places: tuple[Place, ...], registrant: Registrant) -> tuple[Place | None, Place | None]:
    """The place that the sentence calls the registrant's seat, and the next place behind it."""
    for pattern in _patterns_of(registrant.subject, registrant.possessive):
        if found := pattern.search(sentence):
            for number, place in enumerate(places):
                if place.start >= found.end() and _is_address(sentence[found.end() : place.start]):
                    return place, next(iter(places[number + 1 :]), None)
                if place.start >= found.end():
                    break
    for place, following in zip(places, (*places[1:], None), strict=True):
        if _where(registrant.possessive).match(sentence, place.end):
            return place, following
    return None, None


def _is_address(text: str) -> bool:
    """Whether nothing but a street, a building or a word like "downtown" stands there."""
    return len(text) <= _GAP and not re.search(r"[;:()]|\b(?:and|or|which|where|with|from|to|our|its)\b", text)


@lru_cache(maxsize=256)
def _patterns_of(subject: str, possessive: str) -> tuple[re.Pattern[str], ...]:
    lead = r"(?<![\w’'-])"
    at = r"(?:(?:is|are)(?: currently| presently| also)?(?: located| situated| maintained)?(?: in| at)|, ?located (?:in|at)|located (?:in|at)|in|at)\b"
    return (
        re.compile(rf"{lead}{possessive} {_SEAT}(?: and (?:[a-z]+ ){{1,3}}(?:facilities|offices))?,? {at}"),
        re.compile(
            rf"\b[Tt]he {_SEAT} of (?:[A-Z]\w+ and )?(?:{subject})(?: and (?:the Bank|its subsidiaries|[A-Z]\w+))? {at}"
        ),
        re.compile(
            rf"{lead}(?:{subject})(?: (?:was|were) [^.;()]{{0,60}} and)? (?:is|are)(?: an? [^.;(),]{{0,80}})? headquartered "
            r"(?:in|at)\b"
        ),
        re.compile(rf"^[Hh]eadquartered in(?= [^;]{{0,60}}, (?:{subject})\b)"),
        re.compile(rf"{lead}(?:{subject})(?:, [^.;()]{{0,60}},)? (?:has|have|maintains?|leases?|owns?|occup(?:y|ies)) {_MIDDLE}\b(?:its|our) {_SEAT},? {at}"),
        re.compile(rf"^(?:{subject}) (?:is|are) an? [^.;()]{{0,60}} whose {_SEAT} {at}"),
    )


@lru_cache(maxsize=256)
def _where(possessive: str) -> re.Pattern[str]:
    """In San Jose, California, in which our headquarters ... are located."""
    return re.compile(rf",? (?:where|in which) {possessive} {_SEAT}\b")
