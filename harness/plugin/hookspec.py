"""Hooks that a conftest.py may implement."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every pytest run with the plugin installed imports this module
    from harness.findings.report.reading import Report
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

    @pytest.hookspec
    def pytest_ablation_report(self, report: "Report") -> None:
        """Do something with the report of a session, once it is written: send it to where results are kept.

        It is called in the main process alone, after failures too: `report.data.run.finished` says whether anything is
        missing. `report.path` is the report's file; page, samples, tables and plots lie beside it.

        Example, in a conftest.py::

            def pytest_ablation_report(report):
                for condition in report.data.conditions:
                    print(condition.name, condition.accuracy)
        """
