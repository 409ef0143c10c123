"""Sentences of a filing: where each stands in its section, and runs of them, which a haystack is made of.

A line of a section is a paragraph, a heading or a row of a table: no sentence goes beyond it. (Both crawlers join the
lines of a paragraph. One that a page break cut in two stays in two; its halves begin in lower case or have no end,
and `is_whole` says so.) Within a line sentences end where `harness.retrieval.placement` has them end, and where an
abbreviated name of a company is followed by a word that opens a sentence: "Sync Research, Inc. Accordingly, ...".
The splitter pysbd (https://pypi.org/project/pysbd/) differed in 7 places of 200,000 characters, half of them for the
worse ("Ph.D.|s", "Marygold & Co.|Advisory Services").

What a haystack keeps are runs of characters of the filing, each as it stands there, so that a list of runs is a recipe
from which the text is made again, letter for letter. Runs are joined by a space where they stood in one paragraph (or
where a page break had cut a paragraph in two), by a new line where they did not, and by a blank line between sections.
Knows nothing about tasks, rows or tokens.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.errors import DataError
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


_STOPS = (".", "!", "?", ":", ";")


@dataclass(frozen=True, slots=True)
class Run:
    """Half-open characters of a section's text."""

    section: str
    start: int
    end: int


def runs_of(sentences: Iterable[tuple[int, Sentence]]) -> tuple[Run, ...]:
    """The sentences, each with its number in the filing, as the fewest runs; a cut paragraph is two."""
    runs: list[Run] = []
    last: tuple[int, Sentence] | None = None
    for number, sentence in sentences:
        if (
            last is not None
            and last[0] == number - 1
            and last[1].section == sentence.section
            and not (last[1].line != sentence.line and _is_cut(last[1].text, sentence.text))
        ):
            runs[-1] = Run(sentence.section, runs[-1].start, sentence.end)
        else:
            runs.append(Run(sentence.section, sentence.start, sentence.end))
        last = number, sentence
    return tuple(runs)


def text_of(filing: Filing, runs: Sequence[Run]) -> str:
    """The runs' text, joined.

    Raises:
        DataError: the filing has no such section, or not as many characters in it.
    """
    parts: list[str] = []
    for number, run in enumerate(runs):
        section = filing.section(run.section)
        if section is None or not 0 <= run.start < run.end <= len(section.text):
            raise DataError(
                f"{filing.name}: no characters {run.start} to {run.end} of section {run.section}; expected the filing "
                "that the manifest was made of; check where it comes from"
            )
        text = section.text[run.start : run.end]
        if number:
            before = runs[number - 1]
            if before.section != run.section:
                parts.append("\n\n")
            elif "\n" in section.text[before.end : run.start] and not _is_cut(parts[-1], text):
                parts.append("\n")
            else:
                parts.append(" ")
        parts.append(text)
    return "".join(parts)


def _is_cut(before: str, after: str) -> bool:
    """Whether the second of two lines goes on with the first's sentence."""
    return after[:1].islower() and not before.endswith(_STOPS)


@dataclass(frozen=True, slots=True)
class Window:
    """Ever larger parts of a list of numbered sentences: from its start, or around some that stand together.

    Part n of `size` holds the first n sentences; around `held` (a half-open range of indices) it holds those, and of
    what stands on either side, the nearest first, the same share.
    """

    sentences: Sequence[tuple[int, Sentence]]
    held: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """The number of the largest part, which is everything."""
        if self.held is None:
            return len(self.sentences)
        return max(self.held[0], len(self.sentences) - self.held[1])

    def part(self, number: int) -> tuple[Run, ...]:
        """The runs of a part."""
        if self.held is None:
            return runs_of(self.sentences[:number])
        first, last = self.held
        share = number / self.size if self.size else 1.0
        after = len(self.sentences) - last
        return runs_of(self.sentences[first - round(share * first) : last + round(share * after)])


def largest_part(window: Window, fits: Callable[[tuple[Run, ...]], bool]) -> tuple[Run, ...] | None:
    """The largest part that fits, by trying few of them; None where not even the smallest does.

    What fits must fit when it is smaller, too.
    """
    least = 0 if window.held is not None else 1
    high = least
    while high < window.size and fits(window.part(high)):
        high = min(2 * high + 8, window.size)
    if high == window.size and fits(window.part(high)):
        return window.part(high)
    low = least - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(window.part(middle)) else (low, middle)
    return window.part(low) if low >= least else None
