"""Hooks that a conftest.py may implement."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module
    from harness.retrieval.rows import Row


class AblationHooks:
    """The plugin's own hooks."""

    @pytest.hookspec
    def pytest_ablation_score(self, row: "Row", completion: str) -> Mapping[str, float] | None:
        """Return own metrics of a completion, by name; they are reported beside the two built-in rules.

        Example, in a conftest.py::

            def pytest_ablation_score(row, completion):
                return {"answered": float(bool(completion.strip()))}
        """
