"""Which sentences say whose filing it is, and who leads the company."""

import pytest

from harness.retrieval.filings.names import find_executives, find_names

from .finding import doubted, stated


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ('Acme Widgets, Inc. ("Acme" or the "Company") makes widgets.', "Acme Widgets, Inc."),
        ("Acme Widgets, Inc. is a leading maker of widgets.", "Acme Widgets, Inc."),
        ("Acme Widgets Incorporated, an Ohio corporation, sells.", "Acme Widgets Incorporated"),
        ("The terms “we” and “our” refer to Acme Widgets, Inc. and its subsidiaries.", "Acme Widgets, Inc."),
    ],
)
def test_a_name_is_stated(sentence: str, name: str) -> None:
    assert stated(find_names, sentence) == {"registrant_name": name}


def test_a_short_name_is_doubted() -> None:
    assert doubted(find_names, "Acme Widgets is a maker of widgets.") == ["not the name in full: Acme Widgets"]


@pytest.mark.parametrize("sentence", ["Acme Widgets, Inc. sold land.", "Acme Widgets, Inc. is seeking land."])
def test_a_mere_mention_is_no_candidate(sentence: str) -> None:
    assert doubted(find_names, sentence) == []


def test_another_name_than_the_sources_is_listed() -> None:
    (reason,) = doubted(find_names, 'Zeta Gadgets Corporation (the "Company") makes gadgets.')
    assert reason == "the filing calls the Company Zeta Gadgets Corporation, its field company is ACME WIDGETS INC /OH/"


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("Gary Stern is our President and Chief Executive Officer.", "Stern"),
        ("Arthur Stern, our Chairman, and Gary Q. Roe, our President and Chief Executive Officer, decide.", "Roe"),
        ("We depend on our Chief Executive Officer, Jane Doe, and others.", "Doe"),
        ("Fabrizio Freda has been President and Chief Executive Officer of the Company since July 2009.", "Freda"),
        ("Mr. Iger was appointed Chairman of the Board and Chief Executive Officer effective March 13, 2012.", "Iger"),
        ("Mr. McDoe, a director since 2001, was appointed Chief Executive Officer in April 2003.", "McDoe"),
        ("The Company's success depends on its President and Chief Executive Officer, Bruce J. Feldman.", "Feldman"),
        ("Nicholas D. Gerber, the President and CEO of the Company, owns shares.", "Gerber"),
        ("MICHAEL T. DOE, age 35, has served as Chairman of the Board and Chief Executive Officer.", "DOE"),
        ("Ms. Doe became CEO and Chairman of the Board of Directors in September 2003.", "Doe"),
    ],
)
def test_a_chief_executive_is_stated(sentence: str, name: str) -> None:
    assert stated(find_executives, sentence) == {"ceo_lastname": name}


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("He has served as Chief Executive Officer since 1993.", "no name beside the title"),
        ("Mr. Lord was appointed Chief Executive Officer of Zeta Corp. in June 2008.", "no name beside the title"),
        ("Mr. Adams has served as its Chief Executive Officer.", "no name beside the title"),
        ("Zeta's shares are owned by John Feltl, its Chief Executive Officer.", "no name beside the title"),
        ("Mr. Doe has been Chief Executive Officer and a director of Palm Beach Bank.", "perhaps of another company"),
        ("Mr. Doe is the CEO and Chairman of the Board of Directors of Zeta Corp.", "perhaps of another company"),
        ("Mr. Doe has served as CEO Worldwide Stores since 2022.", "perhaps of another company"),
        ("John Smith is the Chief Executive Officer - Ground Operations.", "perhaps of another company"),
        (
            "Jane Doe, our former Chairman, and Mr. Roe, our Chief Executive Officer, met.",
            "not, or not only, the present",
        ),
        ("Mr. Doe is Chief Executive Officer and leads our division.", "perhaps of a part"),
        (
            "Mr. Doe is our Chief Executive Officer, and Mr. Roe is our Chief Executive Officer.",
            "several names: Doe, Roe",
        ),
    ],
)
def test_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_executives, sentence)
    assert found.startswith(reason)


@pytest.mark.parametrize(
    "sentence", ["Certification of Jane Doe, our Chief Executive Officer.", "Our Chief Executive Officer decides."]
)
def test_no_candidates(sentence: str) -> None:
    assert doubted(find_executives, sentence) == []
