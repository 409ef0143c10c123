"""Attack for so many seconds: `python -m tests.attack --seconds 60 --seed 1`.

Kills take the first third of the time. Then inputs are damaged, target by target. An input ends as it should when it
reads as the sound one, is refused in one plain line, or reads as something else that no reader could know to be wrong;
where a digest says what was written, the latter is a fault too. What ended otherwise is printed with its number, which
`--only` repeats under the same seed, and the exit code is 1.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from harness.errors import HarnessError, plain

from .damage import damaged, text_damaged
from .kills import Kills, LostError
from .targets import SETTINGS, NotPlainError, Target, read_settings, targets

LONGEST = 20
"""Seconds after which a reader hangs."""
LONGEST_MESSAGE = 2000
FAULT = "FAULT"


class HangError(BaseException):
    """A reader that has not come back; no reader's own `except Exception` catches it."""


def main() -> int:
    """Attack; 1 where something did not end as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NUMBER", type=int, help="one input again")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep the inputs of faults here")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    began, counts = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        if arguments.only is None:
            for line in attack_by_kills(Path(place) / "kills", arguments.seed, began + arguments.seconds / 3):
                counts[line.partition(":")[0]] += 1
                if line.startswith(FAULT):
                    print(line, flush=True)
        attack = Inputs(Path(place) / "inputs", arguments.seed, arguments.keep)
        number = 0 if arguments.only is None else arguments.only
        while time.monotonic() < began + arguments.seconds:
            name, end = attack.one(number)
            counts[f"{name}, {end.partition(':')[0]}"] += 1
            if end.startswith(FAULT):
                print(f"#{number} {name}: {end}", flush=True)
            if arguments.only is not None:
                print(f"#{number} {name}: {end}")
                break
            number += 1
    for what, n in sorted(counts.items()):
        print(f"{n:7,}  {what}")
    n_faults = sum(n for what, n in counts.items() if FAULT in what)
    print(f"{sum(counts.values()):,} attacks, {n_faults} faults, seed {arguments.seed}")
    return 1 if n_faults else 0


def attack_by_kills(folder: Path, seed: int, until: float) -> Iterator[str]:
    """What came of each kill until that moment."""
    folder.mkdir()
    kills, number = Kills(folder), 0
    while time.monotonic() < until:
        try:
            yield kills.kill_one(random.Random(f"{seed} kill {number}"))
        except (LostError, HarnessError) as error:
            yield f"{FAULT} of a kill: #{number}: {error}"
        number += 1


class Inputs:
    """Sound folders, copies of which are damaged."""

    def __init__(self, folder: Path, seed: int, keep: Path | None) -> None:
        self.sound, self.damaged, self.seed, self.keep = folder / "sound", folder / "damaged", seed, keep
        self.targets = targets()
        self.expected: dict[str, object] = {}
        self.settings = read_settings(SETTINGS, self.sound)
        for target in self.targets:
            (self.sound / target.name).mkdir(parents=True)
            target.make(self.sound / target.name)

    def one(self, number: int) -> tuple[str, str]:
        """The target's name, and how the input of this number ended."""
        generator = random.Random(f"{self.seed} input {number}")
        which = number % (len(self.targets) + 1)
        if which == len(self.targets):
            name = generator.choice(list(SETTINGS))
            given = SETTINGS | {name: text_damaged(SETTINGS[name], generator)}
            return "settings", self._ended(lambda: read_settings(given, self.sound), self.settings, sees_all=False)
        target = self.targets[which]
        if target.name not in self.expected:
            self.expected[target.name] = target.read(self._copy(target))
        folder = self._copy(target)
        names = target.attacked or [
            str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        file = folder / generator.choice(names)
        sound = file.read_bytes()
        file.write_bytes(damaged(sound, generator))
        sees_all = target.sees_all and file.read_bytes() != sound
        end = self._ended(lambda: target.read(folder), self.expected[target.name], sees_all=sees_all)
        if end.startswith(FAULT) and self.keep is not None:
            shutil.copytree(folder, self.keep / f"{self.seed}-{number}", dirs_exist_ok=True)
        return target.name, end

    def _copy(self, target: Target) -> Path:
        shutil.rmtree(self.damaged, ignore_errors=True)
        return shutil.copytree(self.sound / target.name, self.damaged)

    def _ended(self, read: Callable[[], object], expected: object, *, sees_all: bool) -> str:
        try:
            with bounded():
                found = read()
        except HarnessError as error:
            said = str(error)
            fit = len(said) <= LONGEST_MESSAGE and plain(said) == said and said
            return "refused" if fit else f"{FAULT}: a message that is not one line of moderate length: {said[:300]!r}"
        except NotPlainError as error:
            return f"{FAULT}: {error}"
        except HangError:
            return f"{FAULT}: more than {LONGEST} s"
        except (Exception, SystemExit) as error:
            return f"{FAULT}: {type(error).__name__}: {plain(str(error))[:300]}"
        if repr(found) == repr(expected):
            return "the same"
        return f"{FAULT}: something else, unseen" if sees_all else "something else that is sound"


@contextmanager
def bounded() -> Iterator[None]:
    """Raise HangError in what takes too long."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
