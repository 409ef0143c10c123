"""What a session shows on a terminal beyond what a report's own lines say."""

from changed_section import changed
from fake_study import whole_report

from harness.plugin.terminal import settings_lines


def test_settings_that_differ_from_the_defaults_are_shown() -> None:
    usual = {"k": [1, 2, 5, 10, 20], "gate_margin": 0.1, "reports": "elsewhere"}
    assert list(settings_lines(changed(whole_report(), {"configuration": usual}))) == []
    other = usual | {"k": [1, 5], "gate_flat": 0.2}
    (line,) = settings_lines(changed(whole_report(), {"configuration": other}))
    assert line == "other than the defaults: k 1,5, gate-flat 0.2"
