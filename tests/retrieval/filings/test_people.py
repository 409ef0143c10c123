"""Which sentences say who leads a registrant, how many employees it has, and how many holders its stock."""

import pytest

from harness.retrieval.filings.people import find_executives, find_headcounts, find_holders

from .finding import doubted, stated


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
def test_a_chief_executive_is_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_executives, sentence)
    assert found.startswith(reason)


@pytest.mark.parametrize(
    "sentence", ["Certification of Jane Doe, our Chief Executive Officer.", "Our Chief Executive Officer decides."]
)
def test_a_title_alone_is_no_candidate(sentence: str) -> None:
    assert doubted(find_executives, sentence) == []


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
def test_employees_are_stated(sentence: str, expected: dict[str, str]) -> None:
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
def test_employees_are_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_headcounts, sentence)
    assert found.startswith(reason)


@pytest.mark.parametrize("sentence", ["We value our employees.", "We sold 1,234 widgets in 2001."])
def test_about_something_else(sentence: str) -> None:
    assert list(doubted(find_headcounts, sentence)) == []


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("On May 3, 2000, there were approximately 23 holders of record of our common stock.", "23"),
        ("On April 9, 1999, there were 217 record holders for the Common Stock.", "217"),
        ("As of October 1, 2016, the approximate number of common shareholders of record was 890,200.", "890,200"),
        ("There were 1,044 beneficial shareholders and 124 shareholders of record.", "124"),
        ("There were 358 registered holders of record of our common stock.", "358"),
    ],
)
def test_holders_are_stated(sentence: str, value: str) -> None:
    assert stated(find_holders, sentence, section="5") == {"holder_record_amount": value}


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("There were 8,318 record holders of Class A and 17 record holders of Class B Common Stock.", "2 numbers"),
        ("There were 20,000 holders of record of our Class A stock.", "not of the common stock as a whole: Class A"),
        ("There were 12 holders of record of the preferred stock.", "not of the common stock as a whole: preferred"),
        ("We had 3,724 shareholders of record and beneficial holders in 2004.", "beneficial holders in the same"),
        ("There were over 500 holders of record of our common stock.", "no number: over 500"),
        ("The record holders of 40 % of the shares agreed to it in 2004.", "no number of holders of record"),
    ],
)
def test_holders_are_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_holders, sentence, section="5")
    assert found.startswith(reason)


def test_outside_of_item_5_the_registrant_must_be_named() -> None:
    sentence = "There were 30 holders of record of its common stock."
    assert doubted(find_holders, sentence, section="8") == ["not said of the registrant"]
    assert stated(find_holders, sentence.replace("its", "our"), section="8")


def test_a_dividend_is_no_candidate() -> None:
    sentence = "A dividend of 12 cents was paid to holders of record on July 3, 2003."
    assert doubted(find_holders, sentence, section="5") == []
