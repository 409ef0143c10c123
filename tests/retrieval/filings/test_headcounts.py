"""Which sentences state how many people the registrant employs, and which only seem to."""

import pytest

from harness.retrieval.filings.headcounts import find_headcounts

from .finding import doubted, stated

TOTAL, FULL_TIME = "employees_count_total", "employees_count_full_time"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("As of June 30, 2001, we had 1,234 employees.", {TOTAL: "1,234"}),
        ("The Company employs approximately 38,000 people.", {TOTAL: "38,000"}),
        ("Acme and its wholly-owned subsidiaries employed 412 persons worldwide.", {TOTAL: "412"}),
        (
            "The Company had a staff of approximately 700 employees, including approximately 600 welders.",
            {TOTAL: "700"},
        ),
        ("The Company employed 3,068 full- and part-time employees.", {TOTAL: "3,068"}),
        ("We had 1,480 employees compared to 1,720 employees a year ago.", {TOTAL: "1,480"}),
        ("We have 500 employees, approximately 36 of whom are members of unions.", {TOTAL: "500"}),
        ("We had 8,200 employees and our joint ventures employed 2,300 more.", {TOTAL: "8,200"}),
        ("The Company, at June 30, 1996, employed 40 people.", {TOTAL: "40"}),
        ("We had 50 employees in 12 countries.", {TOTAL: "50"}),
        ("We had 3,267 full-time employees, including 1,236 in research.", {FULL_TIME: "3,267"}),
        ("Acme employed 192 regular full-time employees.", {FULL_TIME: "192"}),
        ("The Company employed 247 full-time and 29 part-time employees.", {FULL_TIME: "247"}),
        ("We had 1,234 employees, of whom 1,100 were full-time.", {TOTAL: "1,234", FULL_TIME: "1,100"}),
    ],
)
def test_stated(sentence: str, expected: dict[str, str]) -> None:
    assert stated(find_headcounts, sentence) == expected


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("Zeta Corp. had 77 full-time employees.", "not said of the registrant"),
        ("FedAcme Express employed 245,000 employees.", "not said of the registrant"),
        ("Acme Express employed 245,000 employees.", "not said of the registrant"),
        ("Of those who left, 27 were employees and 3 were other persons.", "not said of the registrant"),
        ("The collection center employs approximately 66 persons.", "not said of the registrant"),
        ("We had more than 500 employees.", "no number: more than 500"),
        ("We had 2,602 employees (full-time equivalent).", "full-time equivalents"),
        ("We had 2,602 full-time equivalent employees.", "full-time equivalents"),
        ("We had approximately 500 employees engaged in research.", "some of the employees: employees engaged in"),
        ("We had 142 full-time employees and 7 consultants.", "some of the employees: employees and 7"),
        ("We employed 30 hourly employees.", "some of the employees: hourly"),
        ("We had 90 employees in the United States.", "some of the employees: employees in the United States"),
    ],
)
def test_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_headcounts, sentence)
    assert found.startswith(reason)


@pytest.mark.parametrize("sentence", ["We value our employees.", "We sold 1,234 widgets in 2001."])
def test_about_something_else(sentence: str) -> None:
    assert list(doubted(find_headcounts, sentence)) == []
