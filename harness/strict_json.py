"""JSON of users' files, read strictly: what Python's own reader takes in silence is an error.

Python keeps the last of repeated keys; it takes half of a surrogate pair, which cannot be written again; and it ends in
a RecursionError, or in advice to programmers, where a text is nested very deeply or a number is very long. Knows
nothing of files, nor of what a document is about.
"""

import json
import re

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str) -> object:
    """What a JSON text says.

    Raises:
        ValueError: what is wrong with it, in a few words; a json.JSONDecodeError, which knows the place, where it is no
            JSON at all.
    """
    try:
        found: object = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a whole number of thousands of digits") from None
        raise
    if _SURROGATE.search(text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, as \\ud800, which is no character") from None
    return found


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {twice!r} twice in one object")
    return table
