"""Rows in flight through two and three stages on one CPU: the same answers, truly beside each other; and faults."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import HEAD_DIM, N_HEADS, N_LAYERS, doubled, random_ids, random_prompt, tiny_loaded
from torch import nn

from harness.errors import AblationError, ModelError
from harness.experiment.heads import Head
from harness.experiment.intervention import ZEROED, Edges, Intervention, Rescue
from harness.experiment.record import Ask, Completion
from harness.model.generation import engine, reference, stages
from harness.model.generation import room as room_module
from harness.model.generation.branching import decoder_layers
from harness.model.generation.room import Room, rows_that_fit
from harness.model.generation.row_answers import ReadPrompt, RowAnswers
from harness.model.generation.stages import Flight, Stages, stages_of
from harness.model.intervention.ablation import Ablation
from harness.model.loading.loaded_model import LoadedModel

ARCHITECTURES = ("llama", "gpt2", "gpt_oss")
HEADS = [Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
SETS = (frozenset[Head](), frozenset({Head(0, 1)}), frozenset({Head(0, 1), Head(2, 0)}), frozenset({Head(1, 2)}))
STARTS = ((0, 1), (0, 2), (0, 1, 2))


@pytest.fixture(autouse=True)
def _long_from_six_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that tiny prompts are long, and drafts and steps short."""
    monkeypatch.setattr(stages, "SHORT", 5)


def asks_of(*n_tokens: int, sets: Sequence[frozenset[Head]] = SETS) -> list[Ask]:
    return [
        Ask(random_prompt(n, seed=row), tuple(sets), None, max_new_tokens=6) for row, n in enumerate(n_tokens, start=1)
    ]


def expected_of(loaded: LoadedModel, ask: Ask) -> tuple[Completion, ...]:
    ((_, expected),) = reference.run_rows(loaded, [ask])
    return expected


def flown(
    loaded: LoadedModel, asks: Sequence[Ask], stages: Stages, in_flight: int | None = None, **how: Any
) -> Iterator[tuple[int, tuple[Completion, ...]]]:
    """Each ask's number and completions, all of one round."""
    for together in engine.run_rounds(loaded, iter([asks]), stages, in_flight=in_flight, **how):
        for number_of_round, number, completions in together:
            assert number_of_round == 0
            yield number, completions


def assert_equal(got: Sequence[Completion], expected: Sequence[Completion]) -> None:
    assert [each.all_ids for each in got] == [each.all_ids for each in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.gold_logprob == pytest.approx(other.gold_logprob, abs=1e-10)
        assert one.baseline_logprob == pytest.approx(other.baseline_logprob, abs=1e-10)
        assert one.smallest_gap == pytest.approx(other.smallest_gap, abs=1e-10)


def assert_clean(loaded: LoadedModel) -> None:
    for module in loaded.model.modules():
        left = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not [hook for hook in left if not hook.__module__.startswith("transformers.")]
    assert not any("forward" in vars(layer) for layer in decoder_layers(loaded))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("row in flight")]


@settings(derandomize=True, deadline=None, max_examples=15)
@given(data=st.data())
def test_any_number_in_flight_gives_the_plain_loops_answers(data: st.DataObject) -> None:
    """Rows of any length and heads, some of one document; two and three stages; heads zeroed, or rescued."""
    loaded = doubled(data.draw(st.sampled_from(ARCHITECTURES)))
    front = random_ids(20, seed=9)
    how = Intervention(data.draw(st.sampled_from([None, Rescue(), random_prompt(7, seed=3), Edges((1, 2))])))
    asks = []
    for row in range(data.draw(st.integers(1, 5))):
        own = random_ids(data.draw(st.integers(1, 30)), seed=row)
        ids = (*front, *own) if data.draw(st.booleans()) else own
        sets = data.draw(st.lists(st.frozensets(st.sampled_from(HEADS), max_size=4), min_size=1, max_size=4))
        asks.append(
            Ask(replace(random_prompt(1, seed=row), token_ids=ids), (frozenset(), *sets), None, how, max_new_tokens=4)
        )
    flying = Stages(loaded, data.draw(st.sampled_from(STARTS)))
    n = data.draw(st.integers(1, 5))
    branches = data.draw(st.none() | st.integers(1, 3))
    answers = dict(flown(loaded, asks, flying, in_flight=n, least=8, branches=branches))
    assert sorted(answers) == list(range(len(asks)))
    for number, got in answers.items():
        expected = expected_of(loaded, asks[number])
        tied = any(each.smallest_gap < 1e-5 for each in expected)
        if not tied:
            assert_equal(got, expected)
    assert_clean(loaded)


class Turns:
    """Holds up whoever comes first to the second stage, until another row is in the first one."""

    def __init__(self) -> None:
        self.met = False
        self._at: dict[int, int] = {}
        self._changed = threading.Condition()

    def __call__(self, row: int, stage: int) -> None:
        with self._changed:
            self._at[row] = stage
            self._changed.notify_all()
            if stage == 1 and not self.met:
                self.met = self._changed.wait_for(
                    lambda: any(at == 0 for other, at in self._at.items() if other != row), timeout=60
                )


def test_two_rows_are_in_two_stages_at_one_time() -> None:
    """One waits inside the second stage until the other is inside the first: one after the other, none would come."""
    loaded, turns = doubled("llama"), Turns()
    asks = asks_of(20, 20)
    answers = dict(flown(loaded, asks, Stages(loaded, (0, 2), note=turns), in_flight=2))
    assert turns.met
    for number, ask in enumerate(asks):
        assert_equal(answers[number], expected_of(loaded, ask))


def test_with_one_in_flight_rows_follow_each_other() -> None:
    loaded = doubled("llama")
    taken: list[int] = []
    flying = Stages(loaded, (0, 2), note=lambda row, stage: taken.append(row))
    assert [number for number, _ in flown(loaded, asks_of(9, 9, 9), flying, in_flight=1)] == [0, 1, 2]
    assert taken == sorted(taken)


def test_a_stage_is_one_rows_at_a_time_and_layers_of_a_row_come_in_order() -> None:
    loaded = doubled("llama")
    inside: dict[int, int] = {}
    wrong: list[int] = []
    flying = Stages(loaded, (0, 1, 2))

    def enter(layer: int) -> None:
        if inside.setdefault(layer, threading.get_ident()) != threading.get_ident():
            wrong.append(layer)

    with pytest.MonkeyPatch.context() as patch:
        for number, layer in enumerate(decoder_layers(loaded)):
            own = layer.get_submodule("self_attn").forward

            def slow(*args: object, own: object = own, number: int = number, **kwargs: object) -> object:
                enter(number)
                try:
                    return own(*args, **kwargs)  # type: ignore[operator]  # the layer's own
                finally:
                    # the last layer's pass ends with its keys, by an exception
                    inside.pop(number)

            patch.setitem(vars(layer.get_submodule("self_attn")), "forward", slow)
        assert len(dict(flown(loaded, asks_of(12, 9, 10, 11), flying, in_flight=4))) == 4
    assert not wrong


def test_a_short_pass_goes_before_a_long_ones_next_layer() -> None:
    """A row that reads holds a stage of three layers; a step that comes meanwhile is let through between two."""
    loaded = tiny_loaded("llama")
    layers = decoder_layers(loaded)
    order: list[str] = []
    inside, waits = threading.Event(), threading.Event()
    flying = Stages(loaded, (0,))

    def work(kind: str, flight: Flight) -> Iterator[None]:
        if kind == "short":
            assert inside.wait(60)
        positions = 20 if kind == "long" else 1
        hidden = torch.zeros(1, positions, loaded.model.config.hidden_size)
        angles = torch.zeros(1, positions, HEAD_DIM)
        for number, layer in enumerate(layers):
            if kind == "long" and number == 1:
                inside.set()
                while not flying.turns[0].waiting:
                    waits.wait(0.001)
            if kind == "short":  # told as it begins: when it is done, the other may be told before it
                order.append(f"short {number}")
            hidden = layer(hidden, position_embeddings=(angles, angles))
            if kind == "long":
                order.append(f"long {number}")
        yield None

    with torch.inference_mode():
        list(flying.fly(iter(["long", "short"]), work, part=lambda kind: 0.5, most=2))
    assert order == ["long 0", "short 0", "short 1", "short 2", "long 1", "long 2"]


@pytest.mark.parametrize("in_flight", [2, 3])
def test_what_fails_in_a_row_reaches_the_caller_and_ends_all(in_flight: int) -> None:
    loaded, asks = doubled("llama"), asks_of(9, 10, 11, 12, 13, 14)
    calls = 0

    def fails(module: nn.Module, args: tuple[object, ...], result: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 60:
            raise RuntimeError("the card is gone")

    handle = decoder_layers(loaded)[1].register_forward_hook(fails)
    try:
        with pytest.raises(RuntimeError, match="the card is gone"):
            list(flown(loaded, asks, Stages(loaded, (0, 2)), in_flight=in_flight))
    finally:
        handle.remove()
    # every other row comes to this layer once more at most
    assert calls < 60 + in_flight
    assert_clean(loaded)


def test_an_unsound_ablation_in_a_row_reaches_the_caller() -> None:
    """Another's hook writes where a head is ablated, and was put on after ours: by whoever got the first answer."""
    loaded = doubled("llama")

    def writes(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0] + 1,)

    answers = flown(loaded, asks_of(*[9] * 12), Stages(loaded, (0, 2)), in_flight=2)
    next(answers)
    handle = loaded.outputs[2].module.register_forward_pre_hook(writes)
    try:
        with pytest.raises(AblationError, match="other elements entered it in ablated heads"):
            list(answers)
    finally:
        handle.remove()
    assert_clean(loaded)


def test_an_ablation_that_is_open_elsewhere_is_told_before_any_row_flies() -> None:
    loaded = doubled("llama")
    with Ablation(loaded.outputs, [SETS[0]]), pytest.raises(AblationError, match="another ablation"):
        list(flown(loaded, asks_of(9, 10), Stages(loaded, (0, 2)), in_flight=2))


def test_who_wants_no_more_answers_ends_all_rows() -> None:
    loaded = doubled("llama")
    answers = flown(loaded, asks_of(*[9] * 12), Stages(loaded, (0, 2)), in_flight=3)
    next(answers)
    answers.close()  # type: ignore[attr-defined]  # it is a generator
    assert_clean(loaded)


def test_a_row_that_runs_out_of_memory_tries_again_alone_before_it_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 2 fails while others are in flight and once more alone: the second time with half the branches."""
    loaded, asks = doubled("llama"), asks_of(9, 10, 11, 12)
    flying = Stages(loaded, (0, 2))
    tried: list[tuple[int, bool, int]] = []
    own = RowAnswers.read

    def read(self: RowAnswers, *args: object, room: Room, **kwargs: object) -> Iterator[ReadPrompt]:
        n_tokens, alone = len(self.ask.prompt.token_ids), len(flying._flying) == 1
        tried.append((n_tokens, alone, room.nodes))
        if n_tokens == 11 and room.nodes > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, *args, room=room, **kwargs)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(RowAnswers, "read", read)
    answers = dict(flown(loaded, asks, flying, in_flight=3, branches=4))
    of_row = [(alone, nodes) for n_tokens, alone, nodes in tried if n_tokens == 11]
    assert of_row[-2:] == [(True, 4), (True, 2)]
    assert len(of_row) == 3
    assert {each.halvings for each in answers[2]} == {1}
    assert {each.halvings for number in (0, 1, 3) for each in answers[number]} == {0}
    for number, ask in enumerate(asks):
        assert_equal(answers[number], expected_of(loaded, ask))


def test_out_of_memory_at_one_condition_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = doubled("llama")

    def read(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RowAnswers, "read", read)
    with pytest.raises(ModelError, match="out of memory at one condition"):
        list(flown(loaded, asks_of(9, 10, 11), Stages(loaded, (0, 2)), in_flight=3))


def test_as_many_rows_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition of each takes 3 layers' keys and values, of 32 numbers a token, and hidden states of 24."""
    loaded, n = tiny_loaded("llama"), 1_000
    one = n * 4 * (3 * 32 + 24)
    assert rows_that_fit(loaded, n, {loaded.device: 3.01 * one}, most=4) == 3
    assert rows_that_fit(loaded, n, {loaded.device: 2.99 * one}, most=4) == 2
    assert rows_that_fit(loaded, n, {loaded.device: 9 * one}, most=4) == 4
    assert rows_that_fit(loaded, n, {loaded.device: 0.5 * one}, most=4) == 1
    monkeypatch.setattr(room_module, "CPU_HELD", 1)
    asks = asks_of(9, 10)
    taken: list[int] = []
    flying = Stages(loaded, (0, 2), note=lambda row, stage: taken.append(row))
    assert len(list(flown(loaded, asks, flying))) == 2
    assert taken == sorted(taken)


def test_works_begin_in_their_order_whichever_thread_is_first() -> None:
    """All of the memory each, and the first thread is held up until the second one is there."""
    second_is_there = threading.Event()
    begun: list[int] = []

    def part(work: int) -> float:
        second_is_there.set() if work else second_is_there.wait()
        return 1.0

    def run(work: int, flight: Flight) -> Iterator[int]:
        begun.append(work)
        yield work

    assert sorted(Stages(tiny_loaded("llama"), (0, 2)).fly(iter([0, 1]), run, part=part, most=2)) == begun == [0, 1]


@pytest.mark.parametrize("starts", [(1,), (0, 0), (0, 2, 1), (0, N_LAYERS)])
def test_starts_are_layers_in_order(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="stages start at"):
        Stages(tiny_loaded("llama"), starts)


def test_a_model_on_one_device_has_no_stages() -> None:
    assert stages_of(tiny_loaded("llama")) is None
    assert Stages(tiny_loaded("llama")).n_turns == 1


def test_zeroed_heads_are_the_rows_own() -> None:
    """Each row zeroes another head; in flight together each loses its own alone."""
    loaded = doubled("llama")
    asks = [
        Ask(random_prompt(12, seed=1), (frozenset(), frozenset({head})), None, ZEROED, max_new_tokens=4)
        for head in HEADS[:6]
    ]
    answers = dict(flown(loaded, asks, Stages(loaded, (0, 1, 2)), in_flight=4, least=100))
    golds = [answers[number][1].gold_logprob for number in range(6)]
    assert len(set(golds)) == 6
    for number, ask in enumerate(asks):
        assert_equal(answers[number], expected_of(loaded, ask))


def test_rounds_are_asked_for_as_there_is_place() -> None:
    """Of four rounds of two rows and a time in which there is none, at most two rows more are out than are answered."""
    loaded, asks = doubled("llama"), asks_of(9, 10, 11, 12, 13, 14, 15, 16)
    rounds: list[list[Ask] | None] = [asks[:2], None, asks[2:4], asks[4:6], None, asks[6:]]
    given: list[tuple[int, int]] = []
    ahead: list[int] = []

    def come() -> Iterator[Sequence[Ask] | None]:
        for number, each in enumerate(rounds):
            ahead.append(sum(len(one or ()) for one in rounds[:number]) - len(given))
            yield each

    answers = engine.run_rounds(loaded, come(), Stages(loaded, (0, 2)), in_flight=2)
    for number_of_round, number, completions in itertools.chain.from_iterable(answers):
        given.append((number_of_round, number))
        assert_equal(completions, expected_of(loaded, asks[2 * number_of_round + number]))
    assert sorted(given) == [(each, number) for each in range(4) for number in range(2)]
    assert max(ahead) <= 2
