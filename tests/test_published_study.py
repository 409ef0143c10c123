"""The dry run of a study of the published size: its rows, and costs of a small one."""

import json
from pathlib import Path

import published_study
import pytest
from published_study import costs, dry_run, rows

HEADS = [[layer, head] for layer in range(10, 20) for head in range(2)]


def test_rows_of_a_filing_ask_different_questions_of_one_text() -> None:
    found = list(rows())
    assert len(found) == 265
    filings = {row.filename: [each for each in found if each.filename == row.filename] for row in found}
    assert len(filings) == 53
    for members in filings.values():
        assert len({row.task for row in members}) == 5
        assert len({row.haystack_text for row in members}) == 1
    assert len({row.task for row in found}) == 9
    assert all(6000 < len(row.haystack_text) < 7600 for row in found)


def test_costs_are_those_of_the_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_study, "FILINGS", 1)
    (tmp_path / "heads.json").write_text(json.dumps(HEADS))
    found = dry_run(tmp_path, tmp_path / "heads.json", k="1", **{"gate-draws": "2", "cluster": "1xH200-141GB"})
    told = costs(found)
    assert told["rows"] == 5
    assert told["completions"] == found.plan.distinct
    assert 6400 <= max(found.tokens) <= 7600
    # ten prompts, five without the needle: a first half of all, five second halves, and one more without the needle
    whole = [n for n in found.tokens if n > 6000]
    assert len(whole) == 10
    assert found.n_fed == pytest.approx(0.35 * sum(whole), rel=0.03)
    assert 1.2 < found.alone_flops / found.flops[1] < 2
    assert len(found.layouts) == 1


def test_the_committed_costs_are_of_such_a_study() -> None:
    file = Path(published_study.__file__).parents[1] / "reports" / "bench" / "published-study.json"
    committed = json.loads(file.read_text(encoding="utf-8"))
    assert (committed["rows"], committed["model"], committed["size"]["n_layers"]) == (265, published_study.SHAPE, 80)
    assert committed["flops"] < committed["flops_apart"] < committed["flops_one_by_one"]
