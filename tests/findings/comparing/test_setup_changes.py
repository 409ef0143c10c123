"""Each thing that two setups say differently is one line, and bookkeeping is none."""

import pytest
from changed_section import changed
from two_reports import source

from harness.findings.comparing.setup_changes import SetupChange, setup_changes
from harness.findings.report.report_data import ReportData

DATA = source().data


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"configuration.k": [1, 2]}, ("settings", "k", "1, 2, 5, 10, 20", "1, 2")),
        (
            {"configuration": {"k": [1, 2, 5, 10, 20], "seed": 0, "gate-margin": 0.1}},
            ("settings", "model", "none", "absent"),
        ),
        ({"configuration.strict_rows": True}, ("settings", "strict_rows", "absent", "true")),
        ({"versions.torch": "2.13.0"}, ("versions", "torch", "none", "2.13.0")),
        ({"model.dtype": "bfloat16"}, ("model", "dtype", "float32", "bfloat16")),
        ({"data.filings": 3}, ("data", "filings", "4", "3")),
        (
            {"data.tasks": {"incorporation_year": DATA.data.tasks["incorporation_year"]}},
            ("data", "rows of ceo_lastname", "4", "absent"),
        ),
        ({"ranking.method": "other"}, ("ranking", "method", "summed_attention", "other")),
        ({"ranking.mean_scores": None}, ("ranking", "full scores", "known", "unknown")),
    ],
)
def test_one_difference(changes: dict[str, object], expected: tuple[str, ...]) -> None:
    after = changed(DATA, changes)
    assert setup_changes(DATA, after) == (SetupChange(*expected),)  # type: ignore[arg-type]
    section, name, was, became = expected
    assert setup_changes(after, DATA) == (SetupChange(section, name, became, was),)  # type: ignore[arg-type]


def test_where_results_go_is_no_difference() -> None:
    settings = {"run": "nightly", "reports": "elsewhere", "store": "s", "refresh": True, "dry_run": False}
    run = {"name": "nightly", "started": "2030-01-01T00:00:00+00:00", "seconds": 9.0, "commit": "abc"}
    moved = {f"configuration.{name}": value for name, value in settings.items()}
    assert setup_changes(DATA, changed(DATA, moved | {f"run.{name}": value for name, value in run.items()})) == ()


def test_sections_stand_in_one_order_and_a_model_may_be_unknown() -> None:
    found = setup_changes(DATA, changed(DATA, {"data.source": "rows.jsonl", "configuration.seed": 1, "model": None}))
    assert [each.section for each in found] == ["settings", *["model"] * 12, "data"]
    assert {each.after for each in found if each.section == "model"} == {"absent"}


def test_heads_that_changed_are_named() -> None:
    def with_heads(heads: list[list[float]]) -> ReportData:
        return changed(DATA, {"ranking.mean_scores": None, "ranking.tasks": {"t": heads}})

    before = with_heads([[1, 0, 0.5], [2, 0, 0.4], [3, 0, 0.3]])
    replaced = with_heads([[1, 0, 0.5], [7, 9, 0.4], [3, 0, 0.3]])
    assert setup_changes(before, replaced) == (
        SetupChange("ranking", "heads of t", "1 of 3 alone: L2H0", "1 of 3 alone: L7H9"),
    )
    cut = with_heads([[1, 0, 0.5], [2, 0, 0.4]])
    assert setup_changes(before, cut) == (
        SetupChange("ranking", "heads of t", "1 of 3 alone: L3H0", "none of 2 alone"),
    )
    swapped = with_heads([[1, 0, 0.5], [3, 0, 0.4], [2, 0, 0.3]])
    assert setup_changes(before, swapped) == (
        SetupChange("ranking", "heads of t", "place 2: L2H0 0.4", "place 2: L3H0 0.4"),
    )
    rescored = with_heads([[1, 0, 0.5], [2, 0, 0.4], [3, 0, 0.25]])
    assert setup_changes(before, rescored) == (
        SetupChange("ranking", "heads of t", "place 3: L3H0 0.3", "place 3: L3H0 0.25"),
    )


def test_a_score_below_the_lists_counts_too() -> None:
    after = changed(DATA, {"ranking.mean_scores.ceo_lastname.2.3": -1.0})
    ((_, name, _, became),) = [(c.section, c.name, c.before, c.after) for c in setup_changes(DATA, after)]
    assert (name, became) == ("all scores of ceo_lastname", "place 36: L2H3 -1")
