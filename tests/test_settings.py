"""Settings: what follows from those that were given, and how a report shows them."""

import json
from dataclasses import fields
from pathlib import Path

from harness.settings import Settings

ROOT = Path("/project")


def test_the_store_lies_among_the_reports_unless_it_is_named() -> None:
    assert Settings(reports=ROOT / "out").store_file == ROOT / "out" / "store.sqlite"
    assert Settings(reports=ROOT / "out", store=ROOT / "my.sqlite").store_file == ROOT / "my.sqlite"


def test_gates_judge_the_largest_k_by_one_margin_unless_asked_otherwise() -> None:
    usual, asked = Settings(k=(1, 3)), Settings(k=(1, 3), gate_k=1, gate_margin=0.2, gate_margin_shared=0.0)
    assert (usual.judged_ks, usual.margin_of("own"), usual.margin_of("shared")) == ((3,), 0.1, 0.1)
    assert (asked.judged_ks, asked.margin_of("own"), asked.margin_of("shared")) == ((1,), 0.2, 0.0)
    assert Settings(k=(1, 3), gate_k="band").judged_ks == (1, 3)
    assert Settings(gate_margin_global=0.3).margin_of("global") == 0.3


def test_strata_are_layers_or_the_model() -> None:
    assert [Settings(gate_strata=each).strata_layers for each in ("layer", "3", "model")] == [1, 3, None]


def test_settings_are_shown_as_plain_values() -> None:
    shown = Settings(
        data=ROOT / "rows.csv", heads=Path("/else/heads.json"), tasks=("a", "b"), reports=ROOT / "reports"
    ).shown(ROOT)
    assert shown["data"] == "rows.csv"
    assert shown["heads"] == "/else/heads.json"
    assert shown["reports"] == "reports"
    assert shown["tasks"] == ["a", "b"]
    assert shown["k"] == [1, 2, 5, 10, 20]
    assert json.loads(json.dumps(shown)) == shown
    assert list(shown) == [field.name for field in fields(Settings)]
