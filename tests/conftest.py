"""Enables `pytester`, lets tests in folders below import the fakes beside this file, and fixes the threads.

Sums over another number of threads round otherwise: reports of two runs are equal to the last digit only if both have
as many. One thread is also the fastest for models as tiny as the tests'.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ready_python import ready_python

os.environ["OMP_NUM_THREADS"] = "1"
BEGAN_WITH = dict(os.environ)

pytest_plugins = ["pytester"]

# so that what it asserts is shown with its figures
pytest.register_assert_rewrite("as_the_plain_loop")

LONGEST = ("test_killed.py", "test_ray_cluster.py", "test_demo_gates.py")
"""Begun first, so that with two workers none is left alone with one of them at the end."""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An executable whose processes have imported everything, and this checkout's code."""
    with ready_python(tmp_path_factory.mktemp("python"), Path(__file__).parents[1], BEGAN_WITH) as executable:
        yield executable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
