"""The README's table of architectures says what the code does."""

import json
import re
from pathlib import Path

from tiny_models import MODEL_TYPES, tiny_config, tiny_loaded

from harness.model.architectures import ARCHITECTURES
from harness.model.engine import MOST_SQUARE
from harness.model.traits import one_by_one
from harness.settings import OPTIONS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_table_of_architectures() -> None:
    rows = re.findall(
        r"^\| (\w+) \| `([\w.]+)` \| `([\w.]+)` \| (\w+) \| (together|one by one) \|$", README, re.MULTILINE
    )
    expected = [
        (
            model_type,
            ARCHITECTURES[model_type].layers,
            ARCHITECTURES[model_type].projection,
            tiny_loaded(model_type).attention,
            "together" if one_by_one(tiny_config(model_type)) is None else "one by one",
        )
        for model_type in MODEL_TYPES
    ]
    assert rows == expected


def test_options_and_numbers_are_those_of_the_code() -> None:
    named = set(re.findall(r"--ablation-([a-z-]+[a-z])", README))
    assert named <= {option.name for option in OPTIONS} | {"NAME"}
    assert f"beyond {MOST_SQUARE:,} positions" in README


def test_the_table_of_speed_is_the_committed_figures() -> None:
    rows = re.findall(
        r"\]\((reports/bench/[\w.-]+\.json)\) \| .* \| (\d+) \| .* \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE
    )
    assert len(rows) == 5
    for file, n_conditions, ratio, slower in rows:
        found = json.loads((Path(__file__).parents[1] / file).read_text(encoding="utf-8"))
        assert int(n_conditions) == found["n_conditions"]
        assert (ratio, slower) == (f"{found['ratio']:.1f}", f"{1 / found['fraction_of_floor']:.1f}")
