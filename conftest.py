"""Enables the plugin, whether or not the package is installed."""

pytest_plugins = ["harness.plugin"]
