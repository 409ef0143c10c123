"""Columns are as wide as their widest cell."""

from harness.findings.columns import aligned


def test_sides_and_widths() -> None:
    table = [("name", "n", "what"), ("a", "100", ""), ("long name", "7", "x")]
    assert list(aligned(table, "lrl")) == ["name         n  what", "a          100", "long name    7  x"]
