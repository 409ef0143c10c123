"""Cities and states in a text; which sentences say where the registrant sits, and where it was incorporated."""

import pytest
from made_up_filing import ACME

from harness.retrieval.filings.places import STATES, Place, find_headquarters, find_incorporation, places_in
from harness.retrieval.filings.registrant import Doubt, Statement

from .finding import doubted, stated


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
def test_headquarters_are_stated(sentence: str, city: str, state: str) -> None:
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
def test_headquarters_are_doubted(sentence: str, reason: str) -> None:
    assert doubted(find_headquarters, sentence)[0].startswith(reason)


def test_without_a_place_it_is_no_candidate() -> None:
    assert doubted(find_headquarters, "Our headquarters are near major earthquake faults.") == []


LAW, YEAR = "incorporation_state", "incorporation_year"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("We were incorporated in Delaware in June 1988.", {LAW: "Delaware", YEAR: "1988"}),
        ("Acme was incorporated in April 1995 under the laws of the State of Nevada.", {LAW: "Nevada", YEAR: "1995"}),
        ("The Company was incorporated April 12, 1995 as a small firm.", {YEAR: "1995"}),
        ("We were incorporated in 1992 as Roller, Inc. under the laws of Ohio.", {LAW: "Ohio", YEAR: "1992"}),
        ("Acme was organized in 1929 under the laws of Ohio.", {LAW: "Ohio", YEAR: "1929"}),
        ("Acme was formed under Washington law on May 22, 1995.", {LAW: "Washington", YEAR: "1995"}),
        ("Incorporated in 1984, Acme was the first.", {YEAR: "1984"}),
        ("Acme Widgets, Inc., a corporation founded in 1900 and incorporated in 1932, sells.", {YEAR: "1932"}),
        ("The Company, a West Virginia corporation, has its offices there.", {LAW: "West Virginia"}),
        ("We have audited the books of Acme Widgets, Inc. (an Ohio corporation).", {LAW: "Ohio"}),
        ("We are a Delaware corporation.", {LAW: "Delaware"}),
        ("As a Delaware corporation, we obey its law.", {LAW: "Delaware"}),
        (
            "The Company is a firm which was incorporated in the State of Georgia in 1965.",
            {LAW: "Georgia", YEAR: "1965"},
        ),
    ],
)
def test_an_incorporation_is_stated(sentence: str, expected: dict[str, str]) -> None:
    assert stated(find_incorporation, sentence) == expected


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("The Company was founded in 1990.", "not incorporated: The Company was founded"),
        ("Zeta Corp. was incorporated in Nevada in 1994.", "not said of the registrant"),
        ("We merged with Zeta, a Delaware corporation, in 1994.", "not said of the registrant"),
    ],
)
def test_an_incorporation_is_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_incorporation, sentence)
    assert found.startswith(reason)


def test_who_moved_states_two() -> None:
    sentence = "We were incorporated in New Jersey on July 7, 1994 and were reincorporated in Delaware in 1995."
    found = list(find_incorporation(sentence, "1", ACME))
    assert [isinstance(each, Doubt) and each.moved for each in found] == [True, True]


def test_who_was_converted_moved_too() -> None:
    sentence = "We were incorporated in Delaware in 2003 and converted to a Texas corporation in 2024."
    assert all("converted to a" in reason for reason in doubted(find_incorporation, sentence))


def test_the_past_is_told_from_the_present() -> None:
    def past(sentence: str) -> list[bool]:
        return [each.past for each in find_incorporation(sentence, "1", ACME) if isinstance(each, Statement)]

    assert past("We were incorporated in Delaware in 1988.") == [True, True]
    assert past("We are incorporated in Delaware.") == [False]
    assert past("We are a Delaware corporation.") == [False]


def test_incorporated_by_reference_is_another_thing() -> None:
    assert doubted(find_incorporation, "Our 1994 report is incorporated by reference in Ohio.") == []
