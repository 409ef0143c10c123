"""Holders of record: how many the registrant's common stock has.

Taken is a number of holders of record of the one class of common stock. Where the sentence speaks of a class, or of
beneficial holders in the same number, it is not.
"""

import re
from collections.abc import Iterator

from harness.retrieval.filings.headcounts import ABOUT, NUMBER, VAGUE
from harness.retrieval.filings.registrant import Registrant
from harness.retrieval.filings.statements import Doubt, Statement

TASK = "holder_record_amount"

_WHO = "(?:share|stock)?(?:holders|owners)"
_OF_RECORD = rf"(?:registered )?(?:common )?(?:{_WHO} of record|record {_WHO})"
_LOOK = re.compile(rf"{_OF_RECORD}\b", re.IGNORECASE)
_BEFORE = re.compile(rf"(?<![$\d.,]){VAGUE}{ABOUT}{NUMBER} {_OF_RECORD}", re.IGNORECASE)
_BEHIND = re.compile(
    rf"number of (?:the )?{_OF_RECORD}[^.;\d]{{0,90}}?(?:as of [A-Z][a-z]+ \d{{1,2}}, \d{{4}},? )?"
    rf"(?:was|is|totaled) {VAGUE}{ABOUT}{NUMBER}(?=[.,;]? |[.,;]?$)",
    re.IGNORECASE,
)
_EVENT = re.compile(r"\b(?:dividends?|distribut|entitled|rights?|split|payable|paid)\b", re.IGNORECASE)
_OTHER = re.compile(r"\b(?:preferred|warrants?|notes|debentures|units|Class [A-Z]|Series [A-Z])\b", re.IGNORECASE)
_BENEFICIAL = re.compile(r",? (?:and|or|including) (?:approximately )?beneficial")


def find_holders(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The number of holders of record that the sentence states."""
    if "ecord" not in sentence or not any(map(str.isdigit, sentence)) or not _LOOK.search(sentence):
        return
    found = list(_BEFORE.finditer(sentence)) or list(_BEHIND.finditer(sentence))
    if not found:
        if not _EVENT.search(sentence):
            yield Doubt(TASK, "no number of holders of record in a known form")
    elif len(found) > 1:
        yield Doubt(TASK, f"{len(found)} numbers of holders of record")
    elif found[0]["vague"]:
        yield Doubt(TASK, f"no number: {found[0]['vague']} {found[0]['number']}")
    elif other := _OTHER.search(sentence):
        yield Doubt(TASK, f"not of the common stock as a whole: {other[0]}")
    elif _BENEFICIAL.match(sentence, found[0].end()):
        yield Doubt(TASK, "beneficial holders in the same number")
    elif section != "5" and not re.search(f"{registrant.subject}|{registrant.possessive}", sentence):
        yield Doubt(TASK, "not said of the registrant")
    else:
        yield Statement(TASK, found[0]["number"])
