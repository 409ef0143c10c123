"""What a store tells of earlier verdicts."""

from pathlib import Path

from fake_gates import GATE

from harness.experiment.store import Store
from harness.settings import Settings
from harness.study.provenance import earlier_note, way_of


def test_a_gate_that_was_judged_otherwise_before_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        assert earlier_note(store, GATE, Settings()) == ()
        store.note_judged("own", way_of(GATE, Settings()))
        assert earlier_note(store, GATE, Settings()) == (), "the same again is no other try"
        (said,) = earlier_note(store, GATE, Settings(seed=1))
        assert said.startswith("judged once before in this store, with other settings (seed 1, 0): of several")
        store.note_judged("own", way_of(GATE, Settings(seed=2, gate_margin=0.2)))
        store.note_judged("shared", way_of(GATE, Settings(seed=7)))
    with Store(tmp_path / "store.sqlite") as store:
        (said,) = earlier_note(store, GATE, Settings(seed=1))
        assert "in 2 other ways before in this store, with other settings (margin 0.1, 0.2; seed 1, 0, 2)" in said
