"""Which sentences state the registrant's seat, and which another place."""

import pytest

from harness.retrieval.filings.headquarters import find_headquarters

from .finding import doubted, stated

CITY, STATE = "headquarters_city", "headquarters_state"


@pytest.mark.parametrize(
    ("sentence", "city", "state"),
    [
        ("Our corporate headquarters are located in Dayton, Ohio.", "Dayton", "Ohio"),
        ("Our corporate headquarters is in Dayton, Ohio, and our other one is in Dublin, Ireland.", "Dayton", "Ohio"),
        ("Our headquarters are located at 811 Hansen Way, Palo Alto, California 94303.", "Palo Alto", "California"),
        ("Our corporate headquarters are located in downtown Dallas, Texas at One Center.", "Dallas", "Texas"),
        (
            "The executive offices of the Company and the Bank are located at 1 Elm Street, Rye, New York.",
            "Rye",
            "New York",
        ),
        ("We are a regional firm headquartered in Minneapolis, Minnesota.", "Minneapolis", "Minnesota"),
        ("We were incorporated in 1992 and are headquartered in San Jose, California.", "San Jose", "California"),
        ("Headquartered in Springdale, Arkansas, the Company had many employees.", "Springdale", "Arkansas"),
        (
            "The Company leases its corporate office in King of Prussia, Pennsylvania.",
            "King of Prussia",
            "Pennsylvania",
        ),
        ("We rent rooms in San Jose, California, in which our headquarters are located.", "San Jose", "California"),
        ("Sales people work at the Company's corporate headquarters in Rye, New York.", "Rye", "New York"),
    ],
)
def test_stated(sentence: str, city: str, state: str) -> None:
    assert stated(find_headquarters, sentence) == {CITY: city, STATE: state}


def test_an_abbreviated_state_gives_the_city_only() -> None:
    sentence = "Our principal executive offices are located at 601 McCarthy Blvd., Milpitas, CA 95035."
    assert stated(find_headquarters, sentence) == {CITY: "Milpitas"}


def test_a_street_without_a_comma_gives_the_state_only() -> None:
    sentence = "Our principal executive offices are located at 12 Main Street Dayton, Ohio."
    assert stated(find_headquarters, sentence) == {STATE: "Ohio"}


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("Acme Express is headquartered in Memphis, Tennessee.", "not the seat of the registrant"),
        ("We bought Zeta Corp., which is headquartered in Memphis, Tennessee.", "not the seat of the registrant"),
        ("Our European headquarters are located in Boston, Massachusetts.", "not the seat of the registrant"),
        ("Our corporate headquarters were sold; we own land in Dayton, Ohio.", "not the seat of the registrant"),
        (
            "We announced the sale of our corporate headquarters located in Dayton, Ohio.",
            "not, or not only, the present",
        ),
        ("Until 1999 our headquarters were, and now are located in Dayton, Ohio.", "not the seat of the registrant"),
        ("Our corporate offices are located in Dayton, Ohio and Boston, Massachusetts.", "more than one place"),
        ("Our corporate headquarters are located in the Pittsburgh, Pennsylvania area.", "an area"),
    ],
)
def test_doubted(sentence: str, reason: str) -> None:
    assert doubted(find_headquarters, sentence)[0].startswith(reason)


def test_without_a_place_it_is_no_candidate() -> None:
    assert doubted(find_headquarters, "Our headquarters are near major earthquake faults.") == []
