"""Headquarters: the city and state of the registrant's principal executive offices.

Taken are headquarters, and executive, corporate or principal offices, of the registrant as a whole at one place; not
those of a region, a division or a subsidiary, nor old or future ones. A state counts where it is written in full.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from harness.retrieval.filings.places import Place, places_in
from harness.retrieval.filings.registrant import Registrant
from harness.retrieval.filings.statements import Doubt, Statement, one_of

CITY_TASK, STATE_TASK = "headquarters_city", "headquarters_state"

_LOOK = re.compile(r"\bheadquarter(?:s|ed)\b|\b(?:executive|corporate|principal|home) offices?\b", re.IGNORECASE)
_CHANGED = re.compile(
    r"\b(?:former(?:ly)?|previous(?:ly)?|moved?|relocat\w*|will be|prior|construct\w*|new (?:corporate )?headquarters"
    r"|until|expected to|plans? to|vacat\w*|sold|sale|sublet|sublease[sd]?)\b",
    re.IGNORECASE,
)
_KIND = one_of(
    *("[Pp]rincipal", "[Cc]orporate", "[Ee]xecutive", "[Ww]orldwide", "[Ww]orld", "[Gg]lobal", "[Gg]eneral", "main"),
    *("company", "business", "home"),
)
_SEAT = rf"(?:{_KIND}(?:,? and |, | )){{0,3}}" + one_of(
    "[Hh]eadquarters(?: (?:facility|building|offices?|facilities|campus|complex))?",
    "(?:[Pp]rincipal|[Ee]xecutive|[Cc]orporate) (?:[Ee]xecutive )?(?:corporate )?[Oo]ffices?",
)
_AT = one_of(
    "(?:is|are)(?: currently| presently| also)?(?: located| situated| maintained)?(?: in| at)",
    ",? ?located (?:in|at)",
    "in",
    "at",
)
_SECOND = re.compile(r"(?: \d{5}(?:-\d{4})?)?,? (?:and|or)(?: in| at)?\b[^.;]{0,60}$")
_NO_ADDRESS = re.compile(r"[;:()]|\b(?:and|or|which|where|with|from|to|our|its)\b")
_LONGEST_STREET = 70


def find_headquarters(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The city and the state of the headquarters that the sentence states."""
    if not any(word in sentence for word in ("eadquarter", "ffice")) or not _LOOK.search(sentence):
        return
    places = places_in(sentence)
    if not places:
        return
    number = _seat(sentence, places, registrant)
    if number is None:
        yield Doubt(CITY_TASK, "not the seat of the registrant as a whole, in a known form")
        return
    place, others = places[number], places[number + 1 :]
    if changed := _CHANGED.search(sentence):
        yield Doubt(CITY_TASK, f"not, or not only, the present seat: {changed[0]}")
    elif others and _SECOND.match(sentence[place.end : others[0].start]):
        yield Doubt(CITY_TASK, "more than one place")
    elif re.match(r"-| (?:area|metropolitan)", sentence[place.end :]):
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


def _seat(sentence: str, places: Sequence[Place], registrant: Registrant) -> int | None:
    """The number of the place that the sentence calls the registrant's seat."""
    for pattern in _before(registrant.subject, registrant.possessive):
        if found := pattern.search(sentence):
            behind = next((number for number, place in enumerate(places) if place.start >= found.end()), None)
            if behind is not None and _is_address(sentence[found.end() : places[behind].start]):
                return behind
    where = _behind(registrant.possessive)
    return next((number for number, place in enumerate(places) if where.match(sentence, place.end)), None)


def _is_address(text: str) -> bool:
    """Whether nothing but a street, a building or a word like "downtown" stands there."""
    return len(text) <= _LONGEST_STREET and not _NO_ADDRESS.search(text)


@lru_cache(maxsize=256)
def _before(subject: str, possessive: str) -> tuple[re.Pattern[str], ...]:
    """What stands before the place."""
    patterns = (
        # Our corporate headquarters are located in; the Company's corporate headquarters in
        rf"{possessive} {_SEAT}(?: and (?:[a-z]+ ){{1,3}}(?:facilities|offices))?,? {_AT}\b",
        # The executive offices of the Company and the Bank are located at
        rf"\b[Tt]he {_SEAT} of (?:[A-Z]\w+ and )?{subject}(?: and (?:the Bank|its subsidiaries|[A-Z]\w+))? {_AT}\b",
        # We were incorporated in 1992 and are headquartered in; We are a regional securities firm headquartered in
        rf"{subject}(?: (?:was|were) [^.;()]{{0,60}} and)? (?:is|are)(?: an? [^.;(),]{{0,80}})? headquartered "
        r"(?:in|at)\b",
        # Headquartered in Springdale, Arkansas, the Company
        rf"^[Hh]eadquartered in(?= [^;]{{0,60}}, {subject})",
        # The Company maintains its principal executive offices at
        rf"{subject}(?:, [^.;()]{{0,60}},)? (?:has|have|maintains?|leases?|owns?|occup(?:y|ies)) "
        rf"[^.;()]{{0,60}}?\b(?:its|our) {_SEAT},? {_AT}\b",
        # We are a Delaware corporation whose principal executive offices are located at
        rf"^{subject} (?:is|are) an? [^.;()]{{0,60}} whose {_SEAT} {_AT}\b",
    )
    return tuple(re.compile(pattern) for pattern in patterns)


@lru_cache(maxsize=256)
def _behind(possessive: str) -> re.Pattern[str]:
    """What stands behind it: ... in San Jose, California, in which our headquarters are located."""
    return re.compile(rf",? (?:where|in which) {possessive} {_SEAT}\b")
