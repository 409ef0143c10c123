"""Rows a second of one driver: rows are counted, however many of them are told of at once."""

from collections.abc import Generator, Iterator, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray_throughput
from ray_throughput import Quick, rows_a_second, short_rows

from harness.experiment.record import Ask, Completion


class Together(Quick):
    """Answers all prompts of a round at once."""

    def rounds(
        self, rounds: Iterator[Sequence[Ask] | None]
    ) -> Generator[Sequence[tuple[int, int, tuple[Completion, ...]]], None, None]:
        for place, asks in enumerate(each for each in rounds if each is not None):
            answers = super().rounds(iter([asks]))
            yield [(place, number, said) for together in answers for _, number, said in together]


@pytest.mark.parametrize(("engine", "rate"), [(Quick(), 1.0), (Together(), 9.0)], ids=["one by one", "together"])
def test_rows_are_counted(engine: Quick, rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second goes by from one telling to the next; a filing has nine rows."""
    inputs = short_rows(18, tmp_path)
    monkeypatch.setattr(ray_throughput, "time", SimpleNamespace(perf_counter=count(0.0).__next__))
    assert len(inputs.rows) == 18
    assert rows_a_second(inputs, engine) == rate
