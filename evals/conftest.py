"""The mark `gate` of these evals, so that `pytest evals -m gate` runs the gates and nothing else."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Known wherever this folder is copied to."""
    config.addinivalue_line("markers", "gate: a test of gates, of those in this folder")
