"""Values of the embedded world: names, places, counts, years and phrases, composed from small parts.

Every value belongs to one of two worlds, by a hash of its text: a fifth is *held out*. Training documents hold only
values of the first world and the demo's filings only of the second, so a model that answers about the demo cannot
have learnt the answer; it must have found it. Knows nothing about sentences or documents.
"""

import hashlib
import random
from collections.abc import Callable, Mapping
from itertools import product
from types import MappingProxyType

HELD_OUT_SHARE = 5
"""One value in this many is held out from training."""

ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w")
RIMES = ("al", "an", "ar", "el", "en", "er", "il", "in", "ol", "on", "or", "um")
SYLLABLES = tuple(onset + rime for onset, rime in product(ONSETS, RIMES))
CITY_ENDINGS = ("ton", "ville", "burg", "field", "port", "mouth", "dale", "haven")
STATE_PREFIXES = ("", "", "North ", "South ", "East ", "West ", "New ")
STATE_ENDINGS = ("ia", "ota", "ana", "ica", "ora")
FIRST_NAMES = (
    "Ada Alan Anna Boris Carla Clara Daniel Dora Edgar Emma Felix Frank Grace Harold Helen Henry Ida Ivan Jane Julia "
    "Karl Laura Leo Lydia Martin Maria Nora Oscar Paul Peter Rosa Ruth Simon Thomas Vera Victor Walter Wilma"
).split()
TRADES = (
    "Systems Dynamics Foods Chemicals Motors Textiles Software Energy Steel Paper Optics Pharma Mining Airlines "
    "Insurance Electronics Plastics Furniture Shipping Brewing"
).split()
COMPANY_FORMS = ("Corporation", "Company", "Holdings", "Group", "Industries", "Limited", "Partners", "Trust")
QUALITIES = (
    "industrial medical electric portable frozen organic recycled synthetic marine digital ceramic woven liquid "
    "powdered sealed printed coated heavy light modular"
).split()
GOODS = (
    "adhesives bandages batteries bearings cables cameras coatings cutlery engines fabrics fibers filters gaskets "
    "instruments lamps lenses meters pumps resins sensors tiles tools turbines valves"
).split()
UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
UNITS += "seventeen eighteen nineteen".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
COUNTS_IN_WORDS = 0.2
"""Share of the counts under 1,000 that are written in words."""


def is_held_out(value: str) -> bool:
    """Whether a value may occur only in the demo's filings (else: only in training)."""
    return hashlib.blake2b(value.encode(), digest_size=4).digest()[0] % HELD_OUT_SHARE == 0


def number_in_words(number: int) -> str:
    """English words of a whole number from 0 to 999, as `three hundred forty-two`."""
    if not 0 <= number <= 999:
        raise ValueError(f"number_in_words: {number}; expected 0 to 999")
    hundreds, rest = divmod(number, 100)
    words = [f"{UNITS[hundreds]} hundred"] if hundreds else []
    if rest >= len(UNITS):
        tens, units = divmod(rest, 10)
        words.append(f"{TENS[tens]}-{UNITS[units]}" if units else TENS[tens])
    elif rest or not hundreds:
        words.append(UNITS[rest])
    return " ".join(words)


def _stem(rng: random.Random, syllables: int) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(syllables)).capitalize()


def _surname(rng: random.Random) -> str:
    return _stem(rng, rng.choice((2, 2, 3)))


def _city(rng: random.Random) -> str:
    return _stem(rng, rng.choice((1, 2))) + rng.choice(CITY_ENDINGS)


def _state(rng: random.Random) -> str:
    return rng.choice(STATE_PREFIXES) + _stem(rng, 2) + rng.choice(STATE_ENDINGS)


def _company(rng: random.Random) -> str:
    return f"{_stem(rng, 2)} {rng.choice(TRADES)} {rng.choice(COMPANY_FORMS)}"


def _year(rng: random.Random) -> str:
    return str(rng.randrange(1850, 2020))


def _count(rng: random.Random) -> str:
    digits = rng.randrange(2, 7)
    number = rng.randrange(10 ** (digits - 1), 10**digits)
    if number < 1000 and rng.random() < COUNTS_IN_WORDS:
        return number_in_words(number)
    return f"{number:,}"


def _code(rng: random.Random) -> str:
    return f"{rng.randrange(1000):03d}-{rng.randrange(100000):05d}"


def _phrase(rng: random.Random) -> str:
    return f"{rng.choice(QUALITIES)} {rng.choice(GOODS)}"


COMPOSERS: Mapping[str, Callable[[random.Random], str]] = MappingProxyType(
    {
        "surname": _surname,
        "city": _city,
        "state": _state,
        "company": _company,
        "year": _year,
        "count": _count,
        "phrase": _phrase,
        "code": _code,
    }
)


def compose_value(kind: str, rng: random.Random, *, held_out: bool) -> str:
    """One value of a kind (a key of `COMPOSERS`), from the world asked for.

    A held-out state always has a first word, as `North Caldria`: else the wrong answer `North Caldria` would hold the
    right one, `Caldria`, and count as a match.
    """
    while True:
        value = COMPOSERS[kind](rng)
        if is_held_out(value) == held_out and not (held_out and kind == "state" and " " not in value):
            return value
