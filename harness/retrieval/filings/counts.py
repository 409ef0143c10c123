"""Counts: how many people the registrant employs, in all and full time, and how many holders of record its stock has.

Taken is a number that the registrant itself "has" or "employs", of employees without any other restriction. Part-time
and full-time staff together are all employees; full-time equivalents are neither. "More than 500" is no number.

Of holders of record is taken a number of those of the one class of common stock. Where the sentence speaks of a class,
or of beneficial holders in the same number, it is not.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.registrant import Doubt, Registrant, Statement, one_of

TOTAL, FULL_TIME = "employees_count_total", "employees_count_full_time"

NUMBER = r"(?P<number>\d{1,3}(?:,\d{3})+|\d+)(?!\d|[.,]\d)"
ABOUT = "(?:approximately |about |roughly |some |an aggregate of |a total of |a total of approximately )?"
VAGUE = (
    "(?:(?P<vague>over|more than|nearly|almost|in excess of|at least|up to|fewer than|less than|only|around|another) )?"
)
_PEOPLE = one_of(
    *("employees", "people", "persons", "associates", "team members", "cast members", "individuals"),
    *("staff members", "personnel"),
)
_KIND = (
    "(?P<kind>(?:(?:full|part|regular|permanent|active|salaried|hourly|temporary|seasonal|worldwide|total|other"
    "|additional)(?:[- ]time)?(?: equivalent)?(?:-? ?,? ?(?:and|or|/|&) (?:part|full)[- ]time)? )*)"
)
_FULL_TIME_KINDS = frozenset({"full time", "regular full time", "permanent full time", "active full time"})
_VERB = one_of("employ(?:s|ed)?", "ha[sd]", "have", "staff", "work ?force", "were", "are", "was", "is")
_STAFF_LOOK = re.compile(
    rf"\b{_VERB}\b[^.;]{{0,40}}?\b\d[\d,]*\b[^.;]{{0,40}}?\b{_PEOPLE}\b"
    r"|\b(?:employees|persons employed|people employed)\b[^.;]{0,60}\b(?:was|were|totaled|numbered)\b[^.;]{0,20}\d"
)
# What may follow "1,480 employees" without making them some of the employees.
_AFTER = re.compile(
    r"\s*(?:\((?:[“\"][^)]{1,40}|including[^)]*)\)|,)?\s*"
    + one_of(
        *("$", "[.;:,]", r"(?:worldwide|globally|in total|in the aggregate|company-wide)\b", r"as of\b", "on [A-Z]"),
        *(r"at [A-Z][a-z]+ \d", "at (?:the end|year[- ]end|fiscal)", r"including\b", r",?\s*of (?:whom|which)\b"),
        *(
            r"compared (?:to|with)\b",
            "throughout the world",
            "around the world",
            r"in (?:\d+|[a-z]+) (?:countries|states)",
        ),
        *(r"and(?:, at any time,)? (?:our|its|had|have|we|none|no|is|are|was|were|believes?|considers?)\b",),
        *(r"none\b", r"located (?:in|throughout)\b", r"supplemented\b"),
    )
)
_NOT_ALL = re.compile(
    r"[\s,]*(?:excluding|not including|exclusive|other than|and independent|and (?:approximately |about )?\d|plus)\b"
)
_EQUIVALENT = re.compile(r"[\s,(]*(?:on a )?full[- ]time[- ]equivalent")
_OF_WHOM = re.compile(
    rf"(?:,|\() ?(?:of (?:whom|which)|including),? {ABOUT}{NUMBER}(?: of whom)?(?: (?:are|were|is|was))?"
    rf"(?: employed| working)?(?: on a)? full[- ]time(?: employees| basis)?(?=[,.;)]| and {ABOUT}\d)"
)


def find_headcounts(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The numbers of employees that the sentence states."""
    if not any(map(str.isdigit, sentence)) or not _STAFF_LOOK.search(sentence):
        return
    if both := _full_and_part_time(registrant.subject).search(sentence):
        yield Statement(FULL_TIME, both["number"])
        return
    found = _headcount(registrant.subject).search(sentence)
    if found is None:
        yield Doubt(TOTAL, "not said of the registrant as having or employing that many")
        return
    kind = " ".join(found["kind"].replace("-", " ").split())
    after = sentence[found.end() :]
    if found["vague"]:
        yield Doubt(TOTAL, f"no number: {found['vague']} {found['number']}")
    elif "equivalent" in kind or _EQUIVALENT.match(after):
        yield Doubt(FULL_TIME, "full-time equivalents")
    elif _NOT_ALL.match(after) or not _AFTER.match(after):
        yield Doubt(TOTAL, f"some of the employees: {found['people']} {after[:30].strip()}")
    elif not kind or kind in ("worldwide", "total", "active") or ("full" in kind and "part" in kind):
        yield Statement(TOTAL, found["number"])
        if of_whom := _OF_WHOM.match(after):
            yield Statement(FULL_TIME, of_whom["number"])
    elif kind in _FULL_TIME_KINDS:
        yield Statement(FULL_TIME, found["number"])
    else:
        yield Doubt(TOTAL, f"some of the employees: {kind}")


@lru_cache(maxsize=256)
def _headcount(subject: str) -> re.Pattern[str]:
    """The Company had a staff of approximately 700 full-time employees."""
    staff = "(?: an?(?: total| aggregate| worldwide| global)? (?:staff|work ?force) of)?"
    return re.compile(rf"{_has(subject)}{staff} {VAGUE}{ABOUT}{NUMBER} {_KIND}(?P<people>{_PEOPLE})\b")


@lru_cache(maxsize=256)
def _full_and_part_time(subject: str) -> re.Pattern[str]:
    """The Company employed 247 full-time and 29 part-time employees."""
    regular = "(?:permanent |regular )?"
    return re.compile(
        rf"{_has(subject)} {ABOUT}{NUMBER} {regular}full[- ]time(?: {_PEOPLE})? and {ABOUT}[\d,]+ {regular}"
        rf"part[- ]time {_PEOPLE}\b(?! (?:in|at|who|engaged)\b)"
    )


def _has(subject: str) -> str:
    """The registrant, perhaps with its subsidiaries, has or employs."""
    group = (
        r"(?:,? (?:and|together with|including) (?:its|our|all)(?: [\w-]+){0,3} subsidiaries,?)?(?: \([^()]{1,60}\))?"
    )
    # a clause of time may stand between the two: "The Company, at June 30, 1996, employed 40 people"
    between = r"(?:,? (?:at|as of|on) [A-Z][a-z]+ \d{1,2}, \d{4},)?"
    verb = "(?: currently| presently| also| collectively)? (?:had|has|have|employed|employs|employ)(?: currently)?"
    return rf"{subject}{group}{between}{verb}"


HOLDERS_TASK = "holder_record_amount"

_WHO = "(?:share|stock)?(?:holders|owners)"
_OF_RECORD = rf"(?:registered )?(?:common )?(?:{_WHO} of record|record {_WHO})"
_HOLDERS_LOOK = re.compile(rf"{_OF_RECORD}\b", re.IGNORECASE)
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
    if "ecord" not in sentence or not any(map(str.isdigit, sentence)) or not _HOLDERS_LOOK.search(sentence):
        return
    found = list(_BEFORE.finditer(sentence)) or list(_BEHIND.finditer(sentence))
    if not found:
        if not _EVENT.search(sentence):
            yield Doubt(HOLDERS_TASK, "no number of holders of record in a known form")
    elif len(found) > 1:
        yield Doubt(HOLDERS_TASK, f"{len(found)} numbers of holders of record")
    elif found[0]["vague"]:
        yield Doubt(HOLDERS_TASK, f"no number: {found[0]['vague']} {found[0]['number']}")
    elif other := _OTHER.search(sentence):
        yield Doubt(HOLDERS_TASK, f"not of the common stock as a whole: {other[0]}")
    elif _BENEFICIAL.match(sentence, found[0].end()):
        yield Doubt(HOLDERS_TASK, "beneficial holders in the same number")
    elif section != "5" and not re.search(f"{registrant.subject}|{registrant.possessive}", sentence):
        yield Doubt(HOLDERS_TASK, "not said of the registrant")
    else:
        yield Statement(HOLDERS_TASK, found[0]["number"])
