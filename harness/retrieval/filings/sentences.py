"""Sentences of a filing: where each stands in its section.

A line of a section is a paragraph, a heading or a row of a table: no sentence goes beyond it. (Both crawlers join the
lines of a paragraph. One that a page break cut in two stays in two; its halves begin in lower case or have no end,
and `is_whole` says so.) Within a line sentences end where `harness.retrieval.placement` has them end, and where an
abbreviated name of a company is followed by a word that opens a sentence: "Sync Research, Inc. Accordingly, ...".
The splitter pysbd (https://pypi.org/project/pysbd/) differed in 7 places of 200,000 characters, half of them for the
worse ("Ph.D.|s", "Marygold & Co.|Advisory Services").
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.retrieval.filings.filing import Filing, Section
from harness.retrieval.placement import sentence_boundaries

_NAME_ENDS = re.compile(
    r"\b(?:Inc|Corp|Co|Ltd|LLC|Jr|Sr)\.[\"”’)]*(?=\s+(?:A|Accordingly|After|All|Although|An|As|At|Both|By|Certain|Each"
    r"|During|Effective|For|From|Following|He|However|If|In|It|Its|Mr|Mrs|Ms|Dr|No|On|Our|Prior|She|Since|Substantially|The|There"
    r"|These|They|This|Through|Under|Unless|Upon|We|When|While|With)\b)"
)
_LINE = re.compile(r"[^\n]+")
_OPENS = re.compile(r"[\"“‘'(•·*\-–—\s]*[A-Z0-9]")
_CLOSES = re.compile(r"[.!?][\"”’')\]]*$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, half-open characters of its section's text, without spaces around it; `line` counts from 0."""

    section: str
    start: int
    end: int
    text: str
    line: int

    @property
    def is_whole(self) -> bool:
        """Whether it begins as a sentence does, and ends with a stop; a heading or a table's row does not."""
        return bool(_OPENS.match(self.text) and _CLOSES.search(self.text))


def sentences_of(filing: Filing) -> tuple[Sentence, ...]:
    """All sentences, headings and rows of tables, in the filing's order."""
    return tuple(sentence for section in filing.sections for sentence in section_sentences(section))


def section_sentences(section: Section) -> Iterator[Sentence]:
    """A section's sentences: together they hold every character of it but spaces between them."""
    for number, line in enumerate(_LINE.finditer(section.text)):
        text = line[0]
        cuts = sorted({*sentence_boundaries(text), *(found.end() for found in _NAME_ENDS.finditer(text))})
        for start, end in itertools.pairwise(cuts):
            piece = text[start:end]
            kept = piece.strip()
            if kept:
                first = line.start() + start + piece.index(kept)
                yield Sentence(section.name, first, first + len(kept), kept, number)
