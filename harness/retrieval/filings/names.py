"""The registrant's name: a sentence that says which company the filing is of.

Taken is the name in full, with Inc., Corporation or the like, as the subject of a sentence that defines it ("(the
"Company")") or says what it is, or as what "we" refers to.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.registrant import DEFINED, Registrant
from harness.retrieval.filings.statements import Doubt, Statement

TASK = "registrant_name"

_SUFFIX = re.compile(
    r"(?:Inc\.?|Incorporated|Corp\.?|Corporation|Company|Companies|Co\.|Ltd\.?|Limited|LLC|L\.P\.|plc)$"
)


def find_names(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The registrant's full name, where the sentence states it."""
    if registrant.full_name is None or section not in ("1", "8", "15"):
        return
    found = next((match for each in _patterns(registrant.full_name) if (match := each.search(sentence))), None)
    if found is None:
        defined = DEFINED.match(sentence) if section == "1" and registrant.given_name else None
        if defined is not None and not re.search(registrant.full_name, defined["name"]):
            given = registrant.given_name
            yield Doubt(TASK, f"the filing calls the Company {defined['name']}, its field company is {given}")
        return
    value = found["name"].rstrip(",")
    if _SUFFIX.search(value):
        yield Statement(TASK, value)
    else:
        yield Doubt(TASK, f"not the name in full: {value}")


@lru_cache(maxsize=256)
def _patterns(full_name: str) -> tuple[re.Pattern[str], ...]:
    name = rf"(?P<name>{full_name})(?![\w’'])"
    short = r"(?:,? ?\([^()]{0,160}\))"
    return (
        re.compile(rf"^{name} ?\([^()]{{0,160}}[\"“](?:the )?(?:Company|Registrant|Corporation|we)[,.]?[\"”]"),
        re.compile(
            rf"^{name}{short}?,? (?:is (?:an?|the|one of)|was (?:incorporated|organized|formed|founded)"
            r"|an? [A-Z]\w+(?: \w+)? corporation)\b"
        ),
        re.compile(
            rf"[\"“](?:we|the Company|us|our),?[\"”][^.;]{{0,80}}(?:refers?|mean)s?(?: collectively)? to {name}"
        ),
    )
