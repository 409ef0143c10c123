"""How threads wait, unless somebody has said otherwise."""

import importlib
import os

import pytest

import harness.model


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, harness.model.SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_how_threads_wait(given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    importlib.reload(harness.model)
    assert os.environ.get("GOMP_SPINCOUNT") == expected
