"""What Python's reader of JSON takes in silence, or says to programmers, is an error in a few words."""

import json

import pytest

from harness.strict_json import parse


def test_sound_json_is_read_as_ever() -> None:
    for text in ('{"a": [1, 2.5, -0.0, null, true, "\\ud83d\\ude00", "é"]}', "[]", "7", '"\\u0041"'):
        assert json.dumps(parse(text)) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 2, "c": 3}}', "the key 'c' twice in one object"),
        ('["\\ud800"]', "half of a surrogate pair"),
        ('{"\\uDFFF": 1}', "half of a surrogate pair"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "a whole number of thousands of digits"),
        ("[1,", "Expecting value"),
    ],
)
def test_what_is_wrong_is_said_in_a_few_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert len(str(caught.value)) < 100
