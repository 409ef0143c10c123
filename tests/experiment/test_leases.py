"""Leases of GPUs, within one process and between two; a killed process lets go."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from holder import holder

from harness.errors import SettingsError
from harness.experiment.leases import Leases, gpu_names

LEASE = """
from harness.experiment.leases import Leases
leases = Leases(Path(sys.argv[1]))
keep(*leases.take(sys.argv[2].split(","), int(sys.argv[3])))
"""
Process = Callable[[], Leases]
FOUR = ("0", "1", "2", "3")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], Leases]]:
    """Makes what one more process would hold; all is let go of at the end."""
    made: list[Leases] = []

    def make() -> Leases:
        made.append(Leases(tmp_path / "gpus"))
        return made[-1]

    yield make
    for leases in made:
        leases.close()


@pytest.mark.parametrize(
    ("n_visible", "visible", "names"),
    [
        (2, None, ("0", "1")),
        (2, "", ("0", "1")),
        (2, "4, 7", ("4", "7")),
        (1, "GPU-8a3f,GPU-77", ("GPU-8a3f",)),
        (3, "1", ("0", "1", "2")),
        (0, None, ()),
    ],
)
def test_names_are_those_of_the_whole_machine(n_visible: int, visible: str | None, names: tuple[str, ...]) -> None:
    assert gpu_names(n_visible, visible) == names


def test_each_takes_the_first_that_are_free(process: Process) -> None:
    first, second, third = (process() for _ in range(3))
    assert first.take(FOUR, 1) == (0,)
    assert second.take(FOUR, 2) == (1, 2)
    first.close()
    assert third.take(FOUR, 2) == (0, 3)


def test_too_few_are_one_error_and_none_is_taken(process: Process) -> None:
    first, second, third = (process() for _ in range(3))
    first.take(FOUR, 3)
    with pytest.raises(SettingsError, match=r"^GPUs: 1 of the 4 visible ones are free; expected 2 for this process"):
        second.take(FOUR, 2)
    assert third.take(FOUR, 1) == (3,)


def test_visible_gpus_of_two_processes_are_told_apart(process: Process) -> None:
    first, second = process(), process()
    assert first.take(("2", "3"), 1) == (0,)
    assert second.take(("3", "2"), 1) == (0,)


def test_two_processes_and_a_killed_one(process: Process, tmp_path: Path) -> None:
    mine = process()
    with holder(LEASE, tmp_path / "gpus", "0,1,2,3", 3) as (other, said):
        assert said == "0 1 2"
        with pytest.raises(SettingsError):
            mine.take(FOUR, 2)
        other.kill()
        other.wait()
    assert mine.take(FOUR, 2) == (0, 1), "a killed process's GPUs are free at once"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="expected a folder whose files can be locked; set TMPDIR"):
        Leases(tmp_path / "file" / "gpus").take(FOUR, 1)
