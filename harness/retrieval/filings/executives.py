"""The chief executive: the last name of the person who leads the registrant.

Taken is a name beside the title, as its holder now: "our President and Chief Executive Officer, Jane Doe", "Mr. Doe has
served as Chief Executive Officer of the Company since 1993". Not "he"; not a former, interim, deputy or joint holder;
not the title at another company.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from harness.retrieval.filings.registrant import Registrant
from harness.retrieval.filings.statements import Doubt, Statement

TASK = "ceo_lastname"

CEO = r"(?:[Cc]hief [Ee]xecutive [Oo]fficer|CEO)"
_LOOK = re.compile(rf"\b{CEO}\b")
_GIVEN = r"(?:[A-Z][a-zé’'-]+|[A-Z]\.(?: ?[A-Z]\.)*)"
_LAST = r"(?:(?:Mc|Mac|O[’'’]|De|Di|Van|Von|La|Le)?[A-Z][a-zé’'-]+(?:-[A-Z][a-z]+)?)"
_JUNIOR = r"(?:,? (?:Jr|Sr)\.?|,? I{2,3}V?|,? (?:M\.D\.|Ph\.D\.|Esq\.))?"
_PERSON = rf"(?:(?:Mr|Ms|Mrs|Dr)\.? (?:{_GIVEN} ){{0,3}}|{_GIVEN} (?:{_GIVEN} ){{0,2}})(?P<last>{_LAST}){_JUNIOR}"
_CAPITALS = rf"[A-Z]{{2,}}\.? (?:[A-Z]\.? )?(?P<last_capitals>[A-Z]{{3,}}){_JUNIOR}"
_TITLE = (
    r"(?:(?:founder|co-founder|Founder|Co-Founder|[Cc]hairman|[Cc]hairwoman|[Cc]hair|of the Board(?: of Directors)?|[Pp]resident"
    r"|[Dd]irector|a member of the Board|and as|and|,|the|as|a|&|[Vv]ice|Chief Operating Officer|[Pp]resident,)[ ,]+)*"
)
_NO_NAME = frozenset(
    "Company Corporation Board Officer President Chairman Director Directors Bank Inc Corp Group Committee Plan "
    "Registrant Executive Chief Holdings Financial He She It They Operating Vice Secretary Treasurer Founder Senior".split()
)
_NOT_NOW = re.compile(
    r"\b(?:former(?:ly)?|retire[ds]?|retirement|resign\w*|interim|acting|co-chief|deputy|until|previously|predecessor"
    r"|succeed\w*|successor|designate|elect|deceased|terminat\w*|severance|will become|through \w+ \d{4}|Co-CEO)\b",
    re.IGNORECASE,
)
_DIVISION = re.compile(r"\b(?:division|segment|subsidiary)\b", re.IGNORECASE)


def find_executives(sentence: str, section: str, registrant: Registrant) -> Iterator[Statement | Doubt]:
    """The chief executive's last name that the sentence states."""
    if "xecutive" not in sentence and "CEO" not in sentence or not _LOOK.search(sentence):
        return
    names: list[str] = []
    elsewhere: str | None = None
    for pattern in _patterns(registrant.subject, registrant.possessive):
        for found in () if names else list(pattern.finditer(sentence)):
            groups = found.groupdict()
            last = groups.get("last") or groups["last_capitals"]
            if last not in _NO_NAME:
                names.append(last)
                elsewhere = elsewhere or _elsewhere(sentence, found, registrant.subject)
    if re.match(r"\W*(?:\d+\.\d+ )?(?:Exhibit|Certification)", sentence):
        return
    if elsewhere is not None:
        yield Doubt(TASK, f"perhaps of another company, or of a part of this one: {elsewhere}")
    elif not names:
        if re.search(rf"(?:Mr|Ms|Mrs|Dr)\. [A-Z]|^(?:He|She) |{_GIVEN} {_LAST}, [^.]{{0,40}}{CEO}", sentence):
            yield Doubt(TASK, "no name beside the title at the registrant, in a known form")
    elif other := _NOT_NOW.search(sentence):
        yield Doubt(TASK, f"not, or not only, the present one: {other[0]}")
    elif other := _DIVISION.search(sentence):
        yield Doubt(TASK, f"perhaps of a part of the company: {other[0]}")
    elif len(set(names)) > 1:
        yield Doubt(TASK, f"several names: {', '.join(sorted(set(names)))}")
    else:
        yield Statement(TASK, names[0])


def _elsewhere(sentence: str, found: re.Match[str], subject: str) -> str | None:
    """What stands behind the title or before the name, where it is not the registrant's title."""
    behind = re.split(r"[.;]|\bsince\b", sentence[found.end() :], maxsplit=1)[0]
    if part := re.match(r"\s*[-–—(][^,.;]{0,40}", behind):
        return part[0].strip()
    for other in re.finditer(r"(?<!as )\b(?:of|at|for) (?:the )?[A-Z][^,;]{0,60}", behind):
        known = rf"(?:of|at|for) (?:the )?(?:Board|Directors)|.*(?:{subject})(?![\w’'-])"
        if not re.match(known, other[0]):
            return other[0]
    before = re.search(r"\bof wh(?:ich|om),?\s*$", sentence[: found.start()])
    return before[0].strip() if before else None


@lru_cache(maxsize=256)
def _patterns(subject: str, possessive: str) -> tuple[re.Pattern[str], ...]:
    # behind the title nothing, or the registrant: never another company
    of_it = rf"(?! of the [A-Z]\w+ [A-Z])(?:(?! (?:of|at|for) )|(?= (?:of|at) (?:{subject})(?![\w’'-])(?! [A-Z])))"
    own = possessive
    age = r"(?:,? (?:age )?\d\d)?"
    return (
        # Gary Stern, our President and Chief Executive Officer
        re.compile(rf"\b{_PERSON}{age}, {own} {_TITLE}{CEO}\b{of_it}"),
        # our President and Chief Executive Officer, Gary Stern
        re.compile(rf"{own} {_TITLE}{CEO}(?: and {_TITLE}(?:President|Chairman(?: of the Board)?))?,? {_PERSON}"),
        # Gary Stern is our President and Chief Executive Officer; has served as ... of the Company
        re.compile(
            rf"\b{_PERSON}{age},?(?: [^.;]{{0,60}},)? (?:is|has been|has served as|serves as|also serves as|has also been|currently serves as|is currently"
            rf"|has served|has also served as)(?: {own}| the)? ?{_TITLE}{CEO}\b{of_it}"
        ),
        # Mr. Iger was appointed Chairman of the Board and Chief Executive Officer effective March 13, 2012
        re.compile(
            rf"\b{_PERSON}{age},?(?: [^.;]{{0,60}},)? (?:was (?:appointed|named|elected|promoted to)|became|assumed the (?:role|position) of)"
            rf"(?: (?:as|to))?(?: {own}| (?:{subject})[’']s| the)? ?{_TITLE}{CEO}\b{of_it}"
        ),
        # The Company's success depends on its President and Chief Executive Officer, Bruce J. Feldman
        re.compile(
            rf"^(?:{subject}|{possessive})\b[^.;]{{0,160}}\bits {_TITLE}{CEO}(?: and {_TITLE}(?:President|Chairman(?: of the Board)?))?,? "
            rf"{_PERSON}"
        ),
        # Nicholas D. Gerber, the President and Chief Executive Officer of the Company
        re.compile(rf"\b{_PERSON}{age}, (?:the )?{_TITLE}{CEO} of (?:{subject})(?![\w’'-])(?! [A-Z])"),
        # ABRAHAM D. GOSMAN, age 70, has served ...
        re.compile(rf"^{_CAPITALS}{age}, (?:is|has been|has served as|serves as) {_TITLE}{CEO}\b{of_it}"),
    )
