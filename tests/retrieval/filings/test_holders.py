"""Which sentences state how many holders of record the common stock has."""

import pytest

from harness.retrieval.filings.holders import find_holders

from .finding import doubted, stated


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
def test_stated(sentence: str, value: str) -> None:
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
def test_doubted(sentence: str, reason: str) -> None:
    (found,) = doubted(find_holders, sentence, section="5")
    assert found.startswith(reason)


def test_outside_of_item_5_the_registrant_must_be_named() -> None:
    sentence = "There were 30 holders of record of its common stock."
    assert doubted(find_holders, sentence, section="8") == ["not said of the registrant"]
    assert stated(find_holders, sentence.replace("its", "our"), section="8")


def test_a_dividend_is_no_candidate() -> None:
    sentence = "A dividend of 12 cents was paid to holders of record on July 3, 2003."
    assert doubted(find_holders, sentence, section="5") == []
