"""Figures that survive print in grey, and settings that leave a user's own alone."""

import matplotlib as mpl
import pytest
from changed_section import changed
from fake_study import make_report

from harness.findings.figures.plot_style import OTHERS, STYLES, house_style, new_figure, provenance, style_of


def test_no_two_experiments_share_a_marker_or_a_line() -> None:
    """Colour alone tells nothing in grey."""
    assert len({style.marker for style in STYLES.values()}) == len(STYLES)
    assert len({str(style.line) for style in STYLES.values()}) == len(STYLES)
    assert not {style.marker for style in STYLES.values()} & {style.marker for style in OTHERS}


def test_a_users_own_experiments_have_styles_of_their_own() -> None:
    names = ["baseline", "mine", "global", "yours", "mine"]
    others = [style_of(name, ["mine", "global", "yours"]) for name in ("mine", "yours")]
    assert others == list(OTHERS[:2])
    assert style_of("global", names) == STYLES["global"]


def test_settings_are_put_back() -> None:
    with mpl.rc_context({"font.size": 31.0}):
        with house_style():
            assert mpl.rcParams["font.size"] == 8.5
        assert mpl.rcParams["font.size"] == 31.0


def test_a_models_path_is_shortened_to_its_name() -> None:
    report, _ = make_report(("a",), (1,), (), 1)
    local = changed(report, {"model.id": "/models/meta-llama/Llama-3.3-70B-Instruct"})
    assert provenance(local) == "Llama-3.3-70B-Instruct · 1 row of 1 filing"
    assert provenance(changed(report, {"model": None})) == "1 row of 1 filing"


def test_long_notes_are_broken_and_make_room() -> None:
    figure = new_figure(4.0, 2.0, "Title", ["short", "word " * 40])
    assert len(figure.texts) > 3
    assert figure.get_figheight() == pytest.approx(2.0 + 0.38 + 0.155 * (len(figure.texts) - 1))
