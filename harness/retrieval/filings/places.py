"""Places: the city and state of the registrant's headquarters, and the state and year of its incorporation.

Headquarters are those, and executive, corporate or principal offices, of the registrant as a whole at one place; not
those of a region, a division or a subsidiary, nor old or future ones. A state counts where it is written in full.

A company that was "founded", or "formed" without a word on corporation or law, states no incorporation. A sentence on
one that moved to another state, or grew out of a predecessor, states two: neither is taken.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.retrieval.filings.registrant import Doubt, Registrant, Statement, one_of

STATES = {
    **{"AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado"},
    **{"CT": "Connecticut", "DE": "Delaware", "FL": "Florida", "GA": "Georgia", "HI": "Hawaii", "ID": "Idaho"},
    **{"IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana"},
    **{"ME": "Maine", "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan", "MN": "Minnesota"},
    **{"MS": "Mississippi", "MO": "Missouri", "MT": "Montana", "NE": "Nebraska", "NV": "Nevada"},
    **{"NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico", "NY": "New York", "NC": "North Carolina"},
    **{"ND": "North Dakota", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania"},
    **{"PR": "Puerto Rico", "RI": "Rhode Island", "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee"},
    **{"TX": "Texas", "UT": "Utah", "VT": "Vermont", "VA": "Virginia", "WA": "Washington", "WV": "West Virginia"},
    **{"WI": "Wisconsin", "WY": "Wyoming"},
}
"""Full names by postal code."""

# the longer first: West Virginia is not Virginia
STATE = "(?:" + "|".join(sorted(STATES.values(), key=len, reverse=True)) + ")"
"""A pattern of full names."""

_WORD = r"[A-Z][\w’'\-]*\.?"
_CITY = rf"{_WORD}(?: (?:of |de |du |des |la )?{_WORD}){{0,3}}"
CITY_AND_STATE = re.compile(
    rf"(?P<city>{_CITY}), (?:(?P<state>{STATE})\b(?! City)|(?P<code>{'|'.join(STATES)}|Calif\.|Mass\.)(?=[,. ]|$))"
)
_STREET = re.compile(
    r"\b(?:Street|St|Avenue|Ave|Boulevard|Blvd|Road|Rd|Drive|Dr|Lane|Way|Place|Plaza|Parkway|Pkwy|Court|Suite|Floor"
    r"|Building|Center|Centre|Tower|Towers|Highway|Route|Box|Circle|Square|Park|Campus|Terrace|Turnpike|Inc|Corp)\b"
)
_CITIES_LIKE_STREETS = re.compile(
    r"(?:College|Winter|Menlo|Overland|Highland|Oak|Orland|Tinley|Buena|Deer) Park|.* Center"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A city, and its state where it is written in full; half-open characters of the whole."""

    city: str
    state: str | None
    start: int
    end: int

    @property
    def has_clear_city(self) -> bool:
        """Whether the city stands apart from a street or building before it."""
        return bool(_CITIES_LIKE_STREETS.fullmatch(self.city)) or not _STREET.search(self.city)


def places_in(text: str) -> tuple[Place, ...]:
    """Every `City, State` of a text, in order."""
    return tuple(
        Place(found["city"], found["state"], found.start(), found.end()) for found in CITY_AND_STATE.finditer(text)
    )


CITY_TASK, SEAT_STATE_TASK = "headquarters_city", "headquarters_state"

_SEAT_LOOK = re.compile(r"\bheadquarter(?:s|ed)\b|\b(?:executive|corporate|principal|home) offices?\b", re.IGNORECASE)
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
    if not any(word in sentence for word in ("eadquarter", "ffice")) or not _SEAT_LOOK.search(sentence):
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
            yield Statement(SEAT_STATE_TASK, place.state)
        else:
            yield Doubt(SEAT_STATE_TASK, "the state is abbreviated")


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
_LAW_LOOK = re.compile(
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
    if not any(word in sentence for word in _WORDS) or not (_LAW_LOOK.search(sentence) or _MOVED.search(sentence)):
        return
    if "incorporated by reference" in sentence or "incorporated herein" in sentence:
        return
    found = [match for pattern in _law_patterns(registrant.subject) if (match := pattern.search(sentence))]
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
def _law_patterns(subject: str) -> tuple[re.Pattern[str], ...]:
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
