"""A pytest plugin that asks whether given attention heads are the ones that retrieve."""

__version__ = "0.1.0"
