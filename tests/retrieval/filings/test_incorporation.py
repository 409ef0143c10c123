"""Which sentences state where and when the registrant was incorporated."""

import pytest
from made_up_filing import ACME

from harness.retrieval.filings.incorporation import find_incorporation
from harness.retrieval.filings.statements import Doubt, Statement

from .finding import doubted, stated

STATE, YEAR = "incorporation_state", "incorporation_year"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("We were incorporated in Delaware in June 1988.", {STATE: "Delaware", YEAR: "1988"}),
        ("Acme was incorporated in April 1995 under the laws of the State of Nevada.", {STATE: "Nevada", YEAR: "1995"}),
        ("The Company was incorporated April 12, 1995 as a small firm.", {YEAR: "1995"}),
        ("We were incorporated in 1992 as Roller, Inc. under the laws of Ohio.", {STATE: "Ohio", YEAR: "1992"}),
        ("Acme was organized in 1929 under the laws of Ohio.", {STATE: "Ohio", YEAR: "1929"}),
        ("Acme was formed under Washington law on May 22, 1995.", {STATE: "Washington", YEAR: "1995"}),
        ("Incorporated in 1984, Acme was the first.", {YEAR: "1984"}),
        ("Acme Widgets, Inc., a corporation founded in 1900 and incorporated in 1932, sells.", {YEAR: "1932"}),
        ("The Company, a West Virginia corporation, has its offices there.", {STATE: "West Virginia"}),
        ("We have audited the books of Acme Widgets, Inc. (an Ohio corporation).", {STATE: "Ohio"}),
        ("We are a Delaware corporation.", {STATE: "Delaware"}),
        ("As a Delaware corporation, we obey its law.", {STATE: "Delaware"}),
        (
            "The Company is a firm which was incorporated in the State of Georgia in 1965.",
            {STATE: "Georgia", YEAR: "1965"},
        ),
    ],
)
def test_stated(sentence: str, expected: dict[str, str]) -> None:
    assert stated(find_incorporation, sentence) == expected


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("The Company was founded in 1990.", "not incorporated: The Company was founded"),
        ("Zeta Corp. was incorporated in Nevada in 1994.", "not said of the registrant"),
        ("We merged with Zeta, a Delaware corporation, in 1994.", "not said of the registrant"),
    ],
)
def test_doubted(sentence: str, reason: str) -> None:
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
