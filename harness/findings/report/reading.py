"""Reading a report: `load("reports/latest").frame()`.

Reading is validating: what a file holds is exactly what `report_data` and `samples` say, or one error names the first
place where it is not. A report of another version is refused. pandas is imported for a table alone.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ReportError, counted
from harness.experiment.json_nodes import Node, parse_json
from harness.files import read_bytes
from harness.findings.report.report_data import KIND, SCHEMA_VERSION, ReportData
from harness.findings.report.report_files import REPORT_FILE, SAMPLES_FILE
from harness.findings.report.tables import figures
from harness.findings.samples import Sample
from harness.findings.section import read_section

if TYPE_CHECKING:
    import pandas as pd

ANEW = "run again to write it anew"


@dataclass(frozen=True)
class Report:
    """A report that was read: `data` is what `report.json` says, `path` where it came from."""

    path: Path
    data: ReportData

    def frame(self) -> "pd.DataFrame":
        """One line a condition and task, and one for all its tasks together, where `task` is `pooled`.

        Undefined figures are missing values; k and seed are whole numbers, missing where there are none.
        """
        import pandas as pd

        frame = pd.DataFrame(figures(self.data))
        whole = [name for name in ("k", "seed", "lost", "gained") if name in frame]
        return frame.astype(dict.fromkeys(whole, "Int64"))

    def samples(self) -> "pd.DataFrame":
        """One line a row and condition, from `samples.jsonl` beside the report; own metrics as `own.NAME`.

        Raises ReportError where the file is missing or a line of it is no sample.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {**sample.model_dump(exclude={"own"}), **{f"own.{name}": value for name, value in sample.own.items()}}
                for sample in self.sample_lines()
            ]
        )

    def sample_lines(self) -> tuple[Sample, ...]:
        """The lines of `samples.jsonl` beside the report; none where it was written without any.

        Raises ReportError where the file is missing, is not the report's, or a line of it is no sample; and where a
        condition has not as many lines as rows with a record.
        """
        path = self.path.with_name(SAMPLES_FILE)
        data = _read_bytes(path)
        self._check_pair(path, data)
        texts = _text(path, data).split("\n")  # not splitlines: an answer may hold other line ends
        if texts[-1] == "":
            texts.pop()
        samples = tuple(_sample(text, f"{path}:{number}") for number, text in enumerate(texts, start=1))
        if samples:  # a report of published counts has none, and says nothing of single rows
            self._check_counts(path, samples)
        return samples

    def check_samples(self) -> None:
        """Raise a ReportError where the `samples.jsonl` beside the report is there, and is not the report's."""
        path = self.path.with_name(SAMPLES_FILE)
        if self.data.samples is not None and path.exists():
            self._check_pair(path, _read_bytes(path))

    def _check_pair(self, path: Path, data: bytes) -> None:
        named = self.data.samples
        if named is None or hashlib.sha256(data).hexdigest() == named.sha256:
            return
        got, expected = data.count(b"\n"), named.lines
        how = f"{counted(got, 'line')}" if got != expected else "other bytes"
        raise ReportError(
            f"{path}: {how}; expected the {counted(expected, 'line')} that {self.path.name} beside it was written with "
            f"(SHA-256 {named.sha256[:12]}...); {ANEW}"
        )

    def _check_counts(self, path: Path, samples: Sequence[Sample]) -> None:
        found = Counter(sample.condition for sample in samples)
        n_of = {condition.name: condition.n for condition in self.data.conditions}
        for number, sample in enumerate(samples, start=1):
            if sample.condition not in n_of:
                raise ReportError(
                    f"{path}:{number}: condition: got {sample.condition!r}; expected one of the report's; {ANEW}"
                )
        for name, n in n_of.items():
            if found[name] != n:
                raise ReportError(
                    f"{path}: {counted(found[name], 'line')} of condition {name}; expected {n:,}, as in "
                    f"{self.path.name}; {ANEW}"
                )


def load(path: str | Path) -> Report:
    """Read a report: the path of a `report.json`, or of the folder that holds it.

    Raises ReportError where there is none, where another version of the harness wrote it, where it is not as the
    harness writes it, or where the samples beside it are not its own.
    """
    place = Path(path)
    file = place / REPORT_FILE if place.is_dir() else place
    text = _text(file, _read_bytes(file))
    node = parse_json(text, str(file), ReportError)
    if not isinstance(node.value, dict) or node.value.get("kind") != KIND:
        raise ReportError(f"{file}: no report: 'kind' is not {KIND!r}; expected a {REPORT_FILE} that the harness wrote")
    _check_version(node)
    report = Report(file, read_section(ReportData, text, node, ANEW))
    report.check_samples()
    return report


def _check_version(node: Node) -> None:
    version = node.field("schema_version").integer(1)
    if version == SCHEMA_VERSION:
        return
    do = (
        "an older harness wrote it: run its command (`run.command` in it) again; the store still serves: what is "
        "computed as it was then is not computed again"
        if version < SCHEMA_VERSION
        else "a newer version of the harness wrote it: update"
    )
    raise node.kind(f"{node.source}: schema_version {version}; expected {SCHEMA_VERSION}; {do}")


def _sample(text: str, where: str) -> Sample:
    return read_section(Sample, text, parse_json(text, where, ReportError), "run again")


def _read_bytes(file: Path) -> bytes:
    try:
        return read_bytes(file)
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None


def _text(file: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _unreadable(file, "not UTF-8 text") from None


def _unreadable(file: Path, reason: str) -> ReportError:
    return ReportError(
        f"{file}: cannot be read ({reason}); expected a report's file; give the path of a {REPORT_FILE} "
        "or of its folder"
    )
