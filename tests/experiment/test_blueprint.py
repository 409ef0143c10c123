"""The one question that a blueprint answers by itself: whether a prompt fits."""

import pytest

from harness.errors import ModelError
from harness.experiment.blueprint import check_window


def test_window() -> None:
    check_window(640, "me", "a/b", 640)
    check_window(None, "me", "a/b", 10**9)
    with pytest.raises(
        ModelError, match=r"^a/b: 641 tokens, new ones included; expected at most 640, the window of me"
    ):
        check_window(640, "me", "a/b", 641)
