"""The haystack: a filing's text as runs of its sections, without some sentences, and cut.

What is kept are runs of characters of the filing, each as it stands there, so that a list of runs is a recipe from
which the text is made again, letter for letter. Runs are joined by a space where they stood in one paragraph (or where
a page break had cut a paragraph in two), by a new line where they did not, and by a blank line between sections.
Knows nothing about tasks, rows or tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.errors import DataError
from harness.retrieval.filings.filing import Filing
from harness.retrieval.filings.sentences import Sentence

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
    """Ever larger parts of a list of numbered sentences: from its start, or around one of them.

    Part n of `size` holds the first n sentences; around `centre` (an index) it holds that one, and of those on either
    side, the nearest first, the same share.
    """

    sentences: Sequence[tuple[int, Sentence]]
    centre: int | None = None

    @property
    def size(self) -> int:
        """The number of the largest part, which is everything."""
        if self.centre is None:
            return len(self.sentences)
        return max(self.centre, len(self.sentences) - 1 - self.centre)

    def part(self, number: int) -> tuple[Run, ...]:
        """The runs of a part."""
        if self.centre is None:
            return runs_of(self.sentences[:number])
        share = number / self.size if self.size else 1.0
        after = len(self.sentences) - 1 - self.centre
        low = self.centre - round(share * self.centre)
        return runs_of(self.sentences[low : self.centre + 1 + round(share * after)])


def largest_part(window: Window, fits: Callable[[tuple[Run, ...]], bool]) -> tuple[Run, ...] | None:
    """The largest part that fits, by trying few of them; None where not even the smallest does.

    What fits must fit when it is smaller, too.
    """
    least = 0 if window.centre is not None else 1
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
