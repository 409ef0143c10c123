"""The tree of errors that users meet: one class a kind of thing that can be wrong.

Every message is one line: where, what was got, what was expected, what to do. Only the plugin and the
command line turn these into exit codes.
"""


class HarnessError(ValueError):
    """Something a user gave, or asked for, cannot be used."""


class SettingsError(HarnessError):
    """An option or ini value is bad."""


class BusyError(SettingsError):
    """What was asked for is in use by another process of the same session."""


class DataError(HarnessError):
    """A file of rows or tasks, or a row in it, is bad."""


class HeadsError(HarnessError):
    """A head file, or a set of heads, is bad."""


class ModelError(HarnessError):
    """A model cannot be loaded, or does not fit what is asked of it."""


class AblationError(HarnessError):
    """An ablation would be, or was, unsound."""


class StoreError(HarnessError):
    """The store of records cannot be used."""


class ReportError(HarnessError):
    """A report cannot be read or written."""
