"""The ways of computing are modules of one face."""

from inspect import signature
from typing import get_args

import pytest

from harness.model.generation.engines import ENGINES, engine_version
from harness.settings import EngineName


def test_every_name_that_users_may_give_has_its_module() -> None:
    assert set(ENGINES) == set(get_args(EngineName))


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_all_take_what_the_reference_takes(name: str) -> None:
    asked = list(signature(ENGINES["reference"].run_row).parameters)
    assert list(signature(ENGINES[name].run_row).parameters)[: len(asked)] == asked


def test_versions_tell_the_ways_apart() -> None:
    assert len({engine_version(name) for name in ENGINES}) == len(ENGINES)
    assert engine_version("reference").startswith("reference-")
