"""Places: the states of the USA as filings write them, and `City, State` in a sentence.

Knows nothing about filings or what happened at a place.
"""

import re
from dataclasses import dataclass

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
