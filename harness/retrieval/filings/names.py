"""Names: the registrant's own, and the last name of the chief executive who leads it.

Of the registrant is taken the name in full, with Inc., Corporation or the like, as the subject of a sentence that
defines it ("(the "Company")") or says what it is, or as what "we" refers to.

Of the chief executive is taken a name beside the title, as its holder now: "our President and Chief Executive Officer,
Jane Doe", "Mr. Doe has served as Chief Executive Officer of the Company since 1993". Not "he"; not a former, interim,
deputy or joint holder; not the title at another company, or at a part of this one.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.registrant import DEFINED, Doubt, Registrant, Statement, one_of

NAME_TASK = "registrant_name"

_NAME_SUFFIX = re.compile(
    r"(?:Inc\.?|Incorporated|Corp\.?|Corporation|Company|Companies|Co\.|Ltd\.?|Limited|LLC|L\.P\.|plc)$"
)


def find_names(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The registrant's full name, where the sentence states it."""
    if registrant.full_name is None or section not in ("1", "8", "15"):
        return
    found = next((match for each in _name_patterns(registrant.full_name) if (match := each.search(sentence))), None)
    if found is None:
        defined = DEFINED.match(sentence) if section == "1" and registrant.given_name else None
        if defined is not None and not re.search(registrant.full_name, defined["name"]):
            given = registrant.given_name
            yield Doubt(NAME_TASK, f"the filing calls the Company {defined['name']}, its field company is {given}")
        return
    value = found["name"].rstrip(",")
    if _NAME_SUFFIX.search(value):
        yield Statement(NAME_TASK, value)
    else:
        yield Doubt(NAME_TASK, f"not the name in full: {value}")


@lru_cache(maxsize=256)
def _name_patterns(full_name: str) -> tuple[re.Pattern[str], ...]:
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
