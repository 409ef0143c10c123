"""By which words a filing speaks of its company, and by which of others."""

import re

import pytest
from made_up_filing import ACME, filing

from harness.retrieval.filings.registrant import find_names, registrant_of

from .finding import doubted, stated


@pytest.mark.parametrize(
    "text", ["We", "we", "The Company", "the company", "the Registrant", "Acme", "Acme Widgets, Inc.", "ACME WIDGETS"]
)
def test_its_own_words(text: str) -> None:
    assert re.fullmatch(ACME.subject, text)


@pytest.mark.parametrize("text", ["Zeta", "Zeta Corp.", "The Bank", "He", "It", "Acme Sales", "Acme's", "Our"])
def test_words_of_others(text: str) -> None:
    assert not re.fullmatch(ACME.subject, text)


@pytest.mark.parametrize("text", ["Our", "our", "the Company's", "The Company’s", "Acme's", "Acme Widgets’"])
def test_what_is_its_own(text: str) -> None:
    assert re.fullmatch(ACME.possessive, text)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("HOME HEALTH CORP OF AMERICA INC \\PA\\", "Home Health Corporation of America, Inc."),
        ("WALT DISNEY CO/", "The Walt Disney Company"),
        ("ESTEE LAUDER COMPANIES INC", "The Estée Lauder Companies Inc."),
        ("COMMUNICATIONS & POWER INDUSTRIES INC", "Communications and Power Industries, Inc."),
        ("Marygold Companies, Inc.", "The Marygold Companies, Inc."),
        ("FIRST AMERICAN SCIENTIFIC CORP \\NV\\", "FIRST AMERICAN SCIENTIFIC CORP."),
        ("AT&T INC", "AT&T Inc."),
        ("WAL MART STORES INC", "Wal-Mart Stores, Inc."),
    ],
)
def test_a_name_as_edgar_has_it_and_as_it_is_written(given: str, written: str) -> None:
    registrant = registrant_of(filing(facts={"company": given}, item_1="Text."))
    assert registrant.full_name is not None
    assert re.fullmatch(registrant.full_name, written)
    assert not re.fullmatch(registrant.full_name, f"{written} Services")


def test_a_short_name_is_learnt_where_the_filing_defines_it() -> None:
    text = "International Widgets, Inc. (“IWI” or the “Company”) makes widgets."
    registrant = registrant_of(filing(facts={"company": "INTERNATIONAL WIDGETS INC"}, item_1=text))
    assert re.fullmatch(registrant.subject, "IWI")
    assert not re.fullmatch(registrant.subject, "International")


def test_without_a_name_from_the_source_the_filings_own_definition_is_taken() -> None:
    registrant = registrant_of(filing(facts={}, item_1='Acme Widgets, Inc. (the "Company") makes widgets.'))
    assert registrant.given_name is None
    assert registrant.full_name is not None
    assert re.fullmatch(registrant.full_name, "Acme Widgets, Inc.")
    assert registrant_of(filing(facts={}, item_1="Text.")).full_name is None


def test_sections_that_call_another_company_the_company() -> None:
    own, other = 'Acme Widgets, Inc. (the "Company") sells.', 'Zeta Corp. ("Zeta" or the "Company") buys.'
    registrant = registrant_of(filing(item_1=f"{own} {other}", item_8=f"{own} {own}", item_14=f"{own} {other}"))
    assert registrant.doubtful_sections == {"14"}


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
