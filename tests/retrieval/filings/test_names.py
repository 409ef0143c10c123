"""Which sentences say whose filing it is."""

import pytest

from harness.retrieval.filings.names import find_names

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
def test_stated(sentence: str, name: str) -> None:
    assert stated(find_names, sentence) == {"registrant_name": name}


def test_a_short_name_is_doubted() -> None:
    assert doubted(find_names, "Acme Widgets is a maker of widgets.") == ["not the name in full: Acme Widgets"]


@pytest.mark.parametrize("sentence", ["Acme Widgets, Inc. sold land.", "Acme Widgets, Inc. is seeking land."])
def test_a_mere_mention_is_no_candidate(sentence: str) -> None:
    assert doubted(find_names, sentence) == []


def test_another_name_than_the_sources_is_listed() -> None:
    (reason,) = doubted(find_names, 'Zeta Gadgets Corporation (the "Company") makes gadgets.')
    assert reason == "the filing calls the Company Zeta Gadgets Corporation, its field company is ACME WIDGETS INC /OH/"
