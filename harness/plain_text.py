"""Text that others wrote, fit for a terminal and for one line of a message.

A name in a file may hold sequences that move a terminal's cursor, change its title or turn the direction of what
follows; a path may hold bytes that are no text; and a cell may be millions of characters long. Knows nothing of where
a text comes from.
"""

import unicodedata

_UNFIT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is no character to be seen: control, format, half surrogates, separators of lines."""
HEAD, TAIL = 1200, 600
"""How much of a long text's beginning and end is kept."""


def plain(text: str) -> str:
    """The text on one line, what cannot be shown written as in a Python string: `\\x1b`, `\\n`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written(each) if unicodedata.category(each) in _UNFIT else each for each in text)


def shortened(text: str) -> str:
    """The beginning and the end of a long text, and how much was left out between them."""
    left_out = len(text) - HEAD - TAIL
    return text if left_out <= 0 else f"{text[:HEAD]}... ({left_out:,} characters left out) ...{text[-TAIL:]}"


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()
