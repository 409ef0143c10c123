"""Degenerate completions: those that tell of a broken model, or of one that guesses, whatever their match.

A pure function of a completion; knows nothing of rows, models or conditions.
"""

import re
from typing import Literal

from harness.retrieval.scoring import normalise

Fault = Literal["empty", "repeating", "cut_off", "several_numbers"]

_REPEATING = re.compile(r"(\S.{0,40}?)\s*(?:\1\s*){3,}$", re.DOTALL)
"""The end of a text that says the same, up to some forty characters of it, four times over."""


def faults_of(completion: str, value: str, *, ended: bool) -> frozenset[Fault]:
    """What is wrong with a completion as a piece of text.

    `empty`: no letter, digit or sign. `repeating`: it ends with the same piece, up to some forty characters long, at
    least four times in a row; a number's own digits are not looked at. `cut_off`: no end token came within the tokens
    allowed. `several_numbers`: the value is one number, and the completion holds different ones.
    """
    text = completion.strip()
    found: set[Fault] = set()
    if not text:
        found.add("empty")
    if _repeats(text):
        found.add("repeating")
    if not ended:
        found.add("cut_off")
    if len(normalise(value, "number")) == len(normalise(value, "text")) == 1:
        found.update(["several_numbers"] if len(set(normalise(text, "number"))) > 1 else [])
    return frozenset(found)


def _repeats(text: str) -> bool:
    match = _REPEATING.search(text)
    return match is not None and not match[0].replace(",", "").strip().isdigit()
