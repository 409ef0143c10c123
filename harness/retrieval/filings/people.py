"""People: who leads the registrant, how many it employs, in all and full time, and how many holders its stock has.

Of the chief executive is taken the last name beside the title, as its holder now: "our President and Chief Executive
Officer, Jane Doe", "Mr. Doe has served as Chief Executive Officer of the Company since 1993". Not "he"; not a former,
interim, deputy or joint holder; not the title at another company, or at a part of this one.

Of employees is taken a number that the registrant itself "has" or "employs", without any other restriction. Part-time
and full-time staff together are all employees; full-time equivalents are neither. "More than 500" is no number.

Of holders of record is taken a number of those of the one class of common stock. Where the sentence speaks of a class,
or of beneficial holders in the same number, it is not.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.registrant import Doubt, Registrant, Statement, one_of

CEO_TASK = "ceo_lastname"

_CEO = "(?:[Cc]hief [Ee]xecutive [Oo]fficer|CEO)"
_CEO_LOOK = re.compile(rf"\b{_CEO}\b")
_GIVEN = r"(?:[A-Z][a-zé’'-]+|[A-Z]\.(?: ?[A-Z]\.)*)"
_LAST = "(?:(?:Mc|Mac|O[’']|De|Di|Van|Von|La|Le)?[A-Z][a-zé’'-]+(?:-[A-Z][a-z]+)?)"
_JUNIOR = r"(?:,? (?:Jr|Sr)\.?|,? I{2,3}V?|,? (?:M\.D\.|Ph\.D\.|Esq\.))?"
_MISTER = r"(?:Mr|Ms|Mrs|Dr)\.?"
_PERSON = rf"(?:{_MISTER} (?:{_GIVEN} ){{0,3}}|{_GIVEN} (?:{_GIVEN} ){{0,2}})(?P<last>{_LAST}){_JUNIOR}"
_IN_CAPITALS = rf"[A-Z]{{2,}}\.? (?:[A-Z]\.? )?(?P<last>[A-Z]{{3,}}){_JUNIOR}"
_AGE = r"(?:,? (?:age )?\d\d)?"
# Words of other titles that one person holds beside this one, before it.
_TITLES = (
    one_of(
        *("[Ff]ounder", "[Cc]o-[Ff]ounder", "[Cc]hair(?:man|woman)?", "of the Board(?: of Directors)?", "[Pp]resident"),
        *("[Dd]irector", "a member of the Board", "and as", "and", ",", "the", "as", "a", "&", "[Vv]ice"),
        "Chief Operating Officer",
    )
    + "[ ,]+"
)
_TITLE = f"(?:{_TITLES})*{_CEO}"
_AND_TITLE = rf"(?: and (?:{_TITLES})*(?:President|Chairman(?: of the Board)?))?"
_NO_NAME = frozenset(
    "Company Corporation Board Officer President Chairman Director Directors Bank Inc Corp Group Committee Plan He She "
    "Registrant Executive Chief Holdings Financial It They Operating Vice Secretary Treasurer Founder Senior".split()
)
_NOT_NOW = re.compile(
    r"\b(?:former(?:ly)?|retire[ds]?|retirement|resign\w*|interim|acting|co-chief|deputy|until|previously|predecessor"
    r"|succeed\w*|successor|designate|elect|deceased|terminat\w*|severance|will become|through \w+ \d{4}|Co-CEO)\b",
    re.IGNORECASE,
)
_PART = re.compile(r"\b(?:division|segment|subsidiary)\b", re.IGNORECASE)
_EXHIBIT = re.compile(r".{0,40}\b(?:Exhibit|Certification)\b")


def find_executives(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The chief executive's last name that the sentence states."""
    if ("xecutive" not in sentence and "CEO" not in sentence) or not _CEO_LOOK.search(sentence):
        return
    if _EXHIBIT.match(sentence):
        return
    found = _named(sentence, registrant)
    names = sorted({match["last"] for match in found})
    elsewhere = next((text for match in found if (text := _elsewhere(sentence, match, registrant.subject))), None)
    if not names:
        if re.search(rf"{_MISTER} [A-Z]|^(?:He|She) |{_GIVEN} {_LAST}, [^.]{{0,40}}{_CEO}", sentence):
            yield Doubt(CEO_TASK, "no name beside the title at the registrant, in a known form")
    elif elsewhere is not None:
        yield Doubt(CEO_TASK, f"perhaps of another company, or of a part of this one: {elsewhere}")
    elif other := _NOT_NOW.search(sentence):
        yield Doubt(CEO_TASK, f"not, or not only, the present one: {other[0]}")
    elif other := _PART.search(sentence):
        yield Doubt(CEO_TASK, f"perhaps of a part of the company: {other[0]}")
    elif len(names) > 1:
        yield Doubt(CEO_TASK, f"several names: {', '.join(names)}")
    else:
        yield Statement(CEO_TASK, names[0])


def _named(sentence: str, registrant: Registrant) -> list[re.Match[str]]:
    """Names beside the title, by the first pattern that finds any."""
    for pattern in _ceo_patterns(registrant.subject, registrant.possessive):
        found = [match for match in pattern.finditer(sentence) if match["last"] not in _NO_NAME]
        if found:
            return found
    return []


def _elsewhere(sentence: str, found: re.Match[str], subject: str) -> str | None:
    """What stands behind the title, or before the name, where it is not the registrant's title."""
    behind = re.split(r"[.;]|\bsince\b", sentence[found.end() :], maxsplit=1)[0]
    # "CEO Worldwide Stores", "Chief Executive Officer - Ground Operations"
    if part := re.match(r"\s*[-–—(][^,.;]{0,40}|\s+[A-Z][^,.;]{0,40}", behind):
        return part[0].strip()
    known = re.compile(rf"(?:the )?(?:Board|Directors)\b|.*{subject}")
    for other in re.finditer(r"(?<!as )\b(?:of|at|for) (?=((?:the )?[A-Z][^,;]{0,60}))", behind):
        if not known.match(other[1]):
            return f"of {other[1].strip()}"
    before = re.search(r"\bof wh(?:ich|om),?\s*$", sentence[: found.start()])
    return before[0].strip() if before else None


@lru_cache(maxsize=256)
def _ceo_patterns(subject: str, possessive: str) -> tuple[re.Pattern[str], ...]:
    # behind the title stands nothing, or the registrant
    its_own = rf"(?:(?! (?:of|at|for) )|(?= (?:of|at) {subject}(?! [A-Z])))"
    aside = "(?: [^.;]{0,60},)?"
    holds = one_of(
        *("is(?: currently)?", "has(?: also)? been", "has(?: also)? served(?: as)?", "(?:also |currently )?serves as")
    )
    began = one_of("was (?:appointed|named|elected|promoted to)", "became", "assumed the (?:role|position) of")
    patterns = (
        # Gary Stern, our President and Chief Executive Officer
        rf"\b{_PERSON}{_AGE}, {possessive} {_TITLE}\b{its_own}",
        # our President and Chief Executive Officer, Gary Stern
        f"{possessive} {_TITLE}{_AND_TITLE},? {_PERSON}",
        # Gary Stern is our President and Chief Executive Officer; Mr. Stern has served as ... of the Company
        rf"\b{_PERSON}{_AGE},?{aside} {holds}(?: {possessive}| the)? ?{_TITLE}\b{its_own}",
        # Mr. Iger was appointed Chairman of the Board and Chief Executive Officer effective March 13, 2012
        rf"\b{_PERSON}{_AGE},?{aside} {began}(?: as| to)?(?: {possessive}| the)? ?{_TITLE}\b{its_own}",
        # The Company's success depends on its President and Chief Executive Officer, Bruce J. Feldman
        rf"^(?:{subject}|{possessive})\b[^.;]{{0,160}}\bits {_TITLE}{_AND_TITLE},? {_PERSON}",
        # Nicholas D. Gerber, the President and Chief Executive Officer of the Company
        rf"\b{_PERSON}{_AGE}, (?:the )?{_TITLE} of {subject}(?! [A-Z])",
        # MICHAEL T. HEFFERNAN, age 35, has served as Chairman of the Board and Chief Executive Officer
        rf"^{_IN_CAPITALS}{_AGE}, {holds} {_TITLE}\b{its_own}",
    )
    return tuple(re.compile(pattern) for pattern in patterns)


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
