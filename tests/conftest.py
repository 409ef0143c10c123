"""Enables `pytester`, and lets tests in folders below import the fakes beside this file."""

pytest_plugins = ["pytester"]
