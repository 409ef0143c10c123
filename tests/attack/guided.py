"""Attack guided by coverage: `python -m tests.attack.guided --seconds 3600 --target heads --corpus FOLDER`.

libFuzzer, by atheris (https://github.com/google/atheris; `pip install atheris`, which the project does not ask for),
changes inputs so that they reach lines of a reader that none has reached. One target a process: a ranking's file, a
report's, or its samples'. Where a reader ends otherwise than by reading or by one plain line of refusal, the input is
kept beside the corpus, `crash` in its name, and the exit code is not 0. The corpus is small: what
reaches nothing new is not kept.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

try:
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]  # by who attacks
except ImportError:
    sys.exit("atheris is not installed; expected it for an attack guided by coverage; pip install atheris")

with atheris.instrument_imports(include=["harness"]):
    from harness.errors import HarnessError, plain
    from harness.experiment.head_files import read_ranking, write_ranking
    from harness.findings.report.gate_message import gate_lines
    from harness.findings.report.reading import load
    from harness.findings.report.report_writing import write_report
    from harness.findings.report.summary import summary_lines

from fake_study import make_ranking, make_report
from vouching import vouch

from .__main__ import LONGEST, LONGEST_MESSAGE

TASKS = ("ceo_lastname", "incorporation_year")
FILES = {"heads": "heads.json", "report": "run/report.json", "samples": "run/samples.jsonl"}


def main() -> None:
    """Attack one reader; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.guided", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--target", choices=FILES, required=True)
    parser.add_argument("--corpus", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    corpus = arguments.corpus / arguments.target
    corpus.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="attack-"))
    write_ranking(make_ranking(tasks=TASKS), folder / "heads.json")
    write_report(*make_report(TASKS, (1, 2), ("within_task", "random_control"), 3), folder / "run")
    file = folder / FILES[arguments.target]
    shutil.copy(file, corpus / "sound")
    options = [
        *(f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}", f"-timeout={LONGEST}"),
        *(f"-max_len={3 * file.stat().st_size}", f"-artifact_prefix={corpus.parent}/{arguments.target}-crash-"),
    ]
    read = read_heads if arguments.target == "heads" else read_report
    atheris.Setup([sys.argv[0], *options, str(corpus)], one(file, read))
    atheris.Fuzz()


def one(file: Path, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """What is done with each input."""

    def attack(content: bytes) -> None:
        file.write_bytes(content)
        if file.suffix == ".jsonl":  # or its digest would be all that is ever read
            vouch(file.parent)
        try:
            read(file)
        except HarnessError as error:
            said = str(error)
            if plain(said) != said or not 0 < len(said) <= LONGEST_MESSAGE:
                raise AssertionError(f"not one plain line: {said[:300]!r}") from error

    return attack


def read_heads(file: Path) -> object:
    """As `heads` does."""
    ranking = read_ranking(file)
    return ranking.shared(), ranking.global_candidates()


def read_report(file: Path) -> object:
    """As `show --text` does, and with the samples."""
    report = load(file.parent)
    return [*summary_lines(report.data), *gate_lines(report.data), report.sample_lines()]


if __name__ == "__main__":
    main()
