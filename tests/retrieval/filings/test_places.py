"""Cities and states in a text."""

import pytest

from harness.retrieval.filings.places import STATES, Place, places_in


def test_fifty_states_and_one_territory() -> None:
    assert len(STATES) == 51


def test_a_state_in_full_and_as_a_code() -> None:
    text = "in Dayton, Ohio and Milpitas, CA 95035"
    assert places_in(text) == (Place("Dayton", "Ohio", 3, 15), Place("Milpitas", None, 20, 32))


@pytest.mark.parametrize(
    ("text", "city", "state"),
    [
        ("at 12 Main St., King of Prussia, Pennsylvania", "King of Prussia", "Pennsylvania"),
        ("in Charleston, West Virginia", "Charleston", "West Virginia"),
        ("in New York, New York", "New York", "New York"),
        ("in Coeur d'Alene, Idaho", "Alene", "Idaho"),
    ],
)
def test_longer_names(text: str, city: str, state: str) -> None:
    assert [(place.city, place.state) for place in places_in(text)] == [(city, state)]


def test_a_street_before_the_city_is_seen() -> None:
    clear = [
        places_in(text)[0].has_clear_city for text in ("Main Street Dayton, Ohio", "Dayton, Ohio", "Menlo Park, CA ")
    ]
    assert clear == [False, True, True]


def test_no_place() -> None:
    assert places_in("Georgia, and New York City. Paris, France; Yes, In time") == ()
