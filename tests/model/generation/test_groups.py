"""Which prompts are read together: by what they share, and by what a GPU is to be given at once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import HEAD_DIM, N_HEADS, N_LAYERS, random_ids, random_prompt, tiny_loaded

from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention, MeanValues
from harness.experiment.record import Ask
from harness.model.generation import groups
from harness.model.generation.groups import Group, at_once, rounds_at_once, to_read
from harness.model.loading.loaded_model import LoadedModel

SETS = (frozenset[Head](), frozenset({Head(0, 1)}))
LEAST = 4


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A GPU from now on; how many tokens it is busy with."""
    tokens = [100.0]
    monkeypatch.setattr(LoadedModel, "waits_for_launches", True)
    monkeypatch.setattr(groups, "SIDE_BY_SIDE", 2)
    monkeypatch.setattr(groups, "busy_tokens", lambda loaded: tokens[0])
    return tokens


def ask(ids: Sequence[int], intervention: Intervention = ZEROED) -> Ask:
    return Ask(replace(random_prompt(1), token_ids=tuple(ids)), SETS, None, intervention)


def apart(*lengths: int) -> list[Ask]:
    """Prompts of these lengths that have nothing in common."""
    return [ask(random_ids(length, seed=number)) for number, length in enumerate(lengths)]


def read(asks: Sequence[Ask]) -> list[tuple[tuple[int, ...], bool]]:
    """The numbers of each group's prompts, and whether they are side by side."""
    found: list[Group] = list(to_read(tiny_loaded("llama"), asks, LEAST))
    for group in found:
        assert [asks[number] for number in group.numbers] == list(group.asks)
    return [(tuple(group.numbers), group.side_by_side) for group in found]


def test_nothing_is_side_by_side_on_a_cpu() -> None:
    loaded = tiny_loaded("llama")
    assert (at_once(loaded, [random_prompt(9)]), rounds_at_once(loaded)) == (1, 1)
    assert read(apart(9, 12)) == [((0, 1), False)]


def test_where_one_leaves_a_gpu_waiting_they_are_side_by_side(busy: list[float]) -> None:
    """Two at once, or three; groups have nearly as many, the short ones first."""
    assert read(apart(50, 26, 40, 35, 30)) == [((1, 4), True), ((3, 2, 0), True)]
    assert read(apart(50, 26, 40, 35, 30, 45, 28)) == [((1,), True), ((6, 4), True), ((3, 2), True), ((5, 0), True)]
    busy[0] = 99
    assert read(apart(50, 10)) == [((0, 1), False)], "one keeps it busy for more than half of the time"


def test_rounds_are_taken_for_usual_prompts(busy: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "USUAL", 50)
    assert rounds_at_once(tiny_loaded("llama")) == 2
    assert rounds_at_once(tiny_loaded("mistral")) == 1, "steps by leaf are not for windows"
    busy[0] = 99
    assert rounds_at_once(tiny_loaded("llama")) == 1


@pytest.mark.usefixtures("busy")
def test_rows_of_a_filing_stand_together() -> None:
    """Two filings of two rows, of which the longest rows are the one's longer and the other's."""
    fronts = [random_ids(20, seed=number) for number in range(2)]
    asks = [ask([*fronts[row % 2], *random_ids(own, seed=9 + row)]) for row, own in enumerate((5, 9, 14, 8))]
    assert read(asks) == [((1, 3), True), ((0, 2), True)]


@pytest.mark.usefixtures("busy")
def test_prompts_of_a_group_are_about_as_long() -> None:
    assert read(apart(10, 21, 20, 41)) == [((0, 2), True), ((1, 3), True)]


@pytest.mark.usefixtures("busy")
def test_donors_are_read_alone_and_what_hangs_on_positions_as_ever() -> None:
    edges = [ask(random_ids(9, seed=row), Intervention(Edges((1, 2)))) for row in range(2)]
    assert read(edges) == [((0, 1), False)]
    donors = [ask(random_ids(9, seed=row), Intervention(random_prompt(8))) for row in range(2)]
    assert read(donors) == [((0,), False), ((1,), False)]
    late = [ask(random_ids(9, seed=row), Intervention(phase="decode")) for row in range(2)]
    assert read(late) == [((0, 1), False)]


@pytest.mark.usefixtures("busy")
def test_each_group_has_one_replacement() -> None:
    means = Intervention(MeanValues(np.zeros((N_LAYERS, N_HEADS * HEAD_DIM))))
    asks = [ask(random_ids(9, seed=row), means if row % 2 else ZEROED) for row in range(4)]
    assert read(asks) == [((0, 2), True), ((1, 3), True)]
