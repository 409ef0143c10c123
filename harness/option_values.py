"""Values of options: how the text of each becomes what it means, or one line that says what was expected.

Raises SettingsError alone, without saying where the text was given. Knows no option by its name, and imports next to
nothing: every pytest run that has the plugin installed imports this module.
"""

import re
from collections.abc import Callable
from pathlib import Path

from harness.choices import Nodes
from harness.errors import SettingsError
from harness.settings import OUR_FACTS

_NOT_ARGUMENTS = frozenset("messages conversation chat_template tokenize add_generation_prompt tools documents".split())
_NODES = re.compile(
    r"((?P<n>[1-9]\d{0,5})x)?(?P<gpus>[1-9]\d{0,3})x"
    r"(?!.*GB\s+\d+x)(?P<card>[A-Za-z][\w. -]{0,40})-(?P<gb>[1-9]\d{0,3})GB",  # a second kind is no part of a name
    re.ASCII,
)
_HEAD = re.compile(r"[^\s/]+:(?P<port>\d{1,5})", re.ASCII)
_PART = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
_ENTRY = re.compile(r"\w+\s*=\s*[\w.]+\s*,\s*[\w.]+")


def as_characters(text: str) -> str:
    """The text, of which a report can be written: bytes that are no UTF-8 come as halves of surrogate pairs."""
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise SettingsError(f"{text!r}; expected characters in UTF-8; rename what it names")
    return text


def as_path(text: str) -> Path:
    """As a shell would read it: in an ini file, and after `=`, no shell has read a `~`."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"{text!r}; expected a path; nobody of that name has a home here") from None


def as_facts(text: str) -> Path | str:
    """`ours`, or a path."""
    return text if text == OUR_FACTS else as_path(text)


def as_integer(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` up."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise SettingsError(f"{text!r}; expected a whole number of at least {least}")
        return number

    return parse


def as_integers(text: str) -> tuple[int, ...]:
    """Different whole numbers from 1 up with commas between, least first."""
    numbers = tuple(as_integer(1)(part.strip()) for part in text.split(","))
    if len(set(numbers)) != len(numbers):
        raise SettingsError(f"{text!r}; expected different whole numbers, as in 1,2,5")
    return tuple(sorted(numbers))


def as_depths(text: str) -> tuple[float, ...]:
    """Different numbers from 0 to 1 with commas between, in their order."""
    try:
        depths = tuple(float(part) for part in text.split(","))
    except ValueError:
        depths = (-1.0,)
    if not all(0 <= depth <= 1 for depth in depths) or len(set(depths)) != len(depths):
        raise SettingsError(f"{text!r}; expected different numbers from 0 to 1, as in 0.25,0.5,0.75")
    return depths


def as_fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise SettingsError(f"{text!r}; expected a number from 0 to 1, as 0.1 for 10 points")
    return number


def as_margin(text: str) -> float:
    """A number from 0 up to, not including, 1."""
    margin = as_fraction(text)
    if margin == 1:
        raise SettingsError(f"{text!r}; expected less than 1: no heads cost more than all right answers")
    return margin


def as_gate_k(text: str) -> int | str:
    """A whole number from 1 up, or `band`."""
    try:
        return "band" if text == "band" else as_integer(1)(text)
    except SettingsError as error:
        raise SettingsError(f"{error}, or band") from None


def as_strata(text: str) -> str:
    """`layer`, `model`, or a whole number from 1 up, as text."""
    if text not in ("layer", "model") and not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingsError(f"{text!r}; expected layer, model, or a number of neighbouring layers")
    return text


def as_names(text: str) -> tuple[str, ...]:
    """Different names with commas between."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise SettingsError(f"{text!r}; expected different names with commas between, as in ceo_lastname,general")
    return names


def as_entries(text: str) -> tuple[str, ...]:
    """Lines of `model_type = layers, projection`; a semicolon ends a line too."""
    lines = tuple(line.strip() for line in text.replace(";", "\n").splitlines() if line.strip())
    for line in lines:
        if not _ENTRY.fullmatch(line):
            raise SettingsError(
                f"{line!r}; expected a model type, its list of layers, and in a layer the attention's output "
                "projection, as in my_model = model.layers, self_attn.o_proj"
            )
    if len({line.partition("=")[0].strip() for line in lines}) != len(lines):
        raise SettingsError(f"{text!r}; expected each model type once")
    return lines


def as_arguments(text: str) -> tuple[str, ...]:
    """Entries of `NAME=VALUE`, a line each; a semicolon ends a line too."""
    lines = tuple(line.strip() for line in text.replace(";", "\n").splitlines() if line.strip())
    names = [line.partition("=")[0].strip() for line in lines]
    for name, line in zip(names, lines, strict=True):
        if "=" not in line or not name.isidentifier():
            raise SettingsError(f"{line!r}; expected NAME=VALUE, as in enable_thinking=false")
        if name in _NOT_ARGUMENTS:
            raise SettingsError(f"{line!r}; expected another name: {name} is what a prompt is made of")
    if len(set(names)) != len(names):
        raise SettingsError(f"{text!r}; expected each name once")
    return lines


def as_choice(*choices: str) -> Callable[[str], str]:
    """A reader of one of these words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise SettingsError(f"{text!r}; expected {' or '.join(choices)}")
        return text

    return parse


def as_address(text: str) -> str:
    """`HOST:PORT`, `auto` or `local`."""
    if text not in ("auto", "local") and not ((found := _HEAD.fullmatch(text)) and 1 <= int(found["port"]) <= 65535):
        raise SettingsError(
            f"{text!r}; expected HOST:PORT of a cluster's head, as 10.0.0.1:6379, with a port from 1 to 65535, or "
            "auto, or local"
        )
    return text


def as_switch(text: str) -> bool:
    """True or false, by the words of ini files."""
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.strip().lower() not in known:
        raise SettingsError(f"{text!r}; expected true or false")
    return known[text.strip().lower()]


def as_cluster(text: str) -> tuple[Nodes, ...]:
    """Kinds of nodes with commas between, each as `2x4xA100-40GB`."""
    found = [_NODES.fullmatch(part.strip()) for part in text.split(",")]
    if None in found:
        raise SettingsError(
            f"{text!r}; expected GPUs, card and memory of each kind of node, how many such nodes first where there are "
            "several, as in 8xH100-80GB,2x4xA100-40GB"
        )
    return tuple(Nodes(int(each["n"] or 1), int(each["gpus"]), each["card"], int(each["gb"])) for each in found if each)


def as_part(text: str) -> tuple[int, int]:
    """`I/N`: the part's number from 1 on, and of how many."""
    found = _PART.fullmatch(text.strip())
    number, parts = (int(each) for each in found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise SettingsError(f"{text!r}; expected I/N, part I of N, from 1/N to N/N")
    return number, parts


def as_run_name(text: str) -> str:
    """The name of a folder."""
    if text in ("", ".", "..") or any(character in text for character in "/\\\0"):
        raise SettingsError(f"{text!r}; expected the name of a folder, without slashes")
    return text
