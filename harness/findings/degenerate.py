"""Degenerate completions: those that tell of a broken model, or of one that guesses, whatever their match.

A pure function of a completion; knows nothing of rows, models or conditions.
"""

import re
from typing import Literal

from harness.retrieval.scoring import answer_of, normalise

Fault = Literal["empty", "repeating", "cut_off", "several_numbers", "hedging", "turn_marker"]

_REPEATING = re.compile(r"(\S.{0,40}?)\s*(?:\1\s*){3,}$", re.DOTALL)
"""The end of a text that says the same, up to some forty characters of it, four times over."""
_TURN_MARKER = re.compile(r"<\|\w+\|>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>")
"""How models mark where a turn begins or ends, where their tokenizer does not know it for a special token."""


def faults_of(completion: str, value: str, *, ended: bool) -> frozenset[Fault]:
    """What is wrong with a completion as a piece of text.

    `empty`: no letter, digit or sign. `repeating`: it ends with the same piece, up to some forty characters long, at
    least four times in a row; a number's own digits are not looked at. `cut_off`: no end token came within the tokens
    allowed. `several_numbers`: the value is one number, and the answer holds different ones. `turn_marker`: the model
    went on into another turn, by a mark in the text. (What else tells of one, and `hedging`, is
    not in a text alone.)
    """
    text = answer_of(completion).strip()
    found: set[Fault] = set()
    if not text:
        found.add("empty")
    if _repeats(completion.strip()):
        found.add("repeating")
    if _TURN_MARKER.search(completion):
        found.add("turn_marker")
    if not ended:
        found.add("cut_off")
    if len(normalise(value, "number")) == len(normalise(value, "text")) == 1:
        found.update(["several_numbers"] if len(set(normalise(text, "number"))) > 1 else [])
    return frozenset(found)


def _repeats(text: str) -> bool:
    match = _REPEATING.search(text)
    return match is not None and not match[0].replace(",", "").strip().isdigit()
