"""Reading a report: `load("reports/latest").frame()`.

A report is read as it was written by this version or an older one; a newer one is refused. What stands where
says `report_data`. Writing is `report_writing`'s, which needs no pandas.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from harness.errors import ReportError
from harness.findings.report.report_data import KIND, SCHEMA_VERSION, ReportData
from harness.findings.report.report_writing import REPORT_FILE, SAMPLES_FILE
from harness.findings.report.tables import figures
from harness.findings.samples import SampleLine

SCHEMA_FILE = Path(__file__).with_name("report_schema.json")
"""What every report must be like."""


@dataclass(frozen=True)
class Report:
    """A report that was read: `data` is `report.json` as it stands, `path` where it came from."""

    path: Path
    data: ReportData

    def frame(self) -> pd.DataFrame:
        """One line a condition and task, and one for all its tasks together, where `task` is `pooled`.

        Undefined figures are missing values; k and seed are whole numbers, missing where there are none.
        """
        frame = pd.DataFrame(figures(self.data))
        whole = [name for name in ("k", "seed", "lost", "gained") if name in frame]
        return frame.astype(dict.fromkeys(whole, "Int64"))

    def samples(self) -> pd.DataFrame:
        """One line a row and condition, from `samples.jsonl` beside the report; own metrics as `own.NAME`.

        Raises ReportError where the file is missing or broken.
        """
        lines: list[dict[str, object]] = []
        for line in self.sample_lines():
            metrics = {f"own.{name}": value for name, value in line["own"].items()}
            lines.append({**{name: value for name, value in line.items() if name != "own"}, **metrics})
        return pd.DataFrame(lines)

    def sample_lines(self) -> tuple[SampleLine, ...]:
        """The lines of `samples.jsonl` beside the report.

        Raises ReportError where the file is missing or broken.
        """
        path = self.path.with_name(SAMPLES_FILE)
        texts = _read(path).split("\n")  # not splitlines: an answer may hold other line ends
        if texts[-1] == "":
            texts.pop()
        return tuple(_sample_line(text, f"{path}:{number}") for number, text in enumerate(texts, start=1))


def load(path: str | Path) -> Report:
    """Read a report: the path of a `report.json`, or of the folder that holds it.

    Raises ReportError where there is none, where it is something else, or where a newer version wrote it.
    """
    place = Path(path)
    file = place / REPORT_FILE if place.is_dir() else place
    text = _read(file)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ReportError(f"{file}: no JSON ({error}); expected a report; run again to write it anew") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ReportError(f"{file}: no report: 'kind' is not {KIND!r}; expected a {REPORT_FILE} that the harness wrote")
    version = data.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise ReportError(
            f"{file}: schema_version {version!r}; expected 1 to {SCHEMA_VERSION}; a newer version of the "
            "harness wrote it: update"
        )
    lacking = [name for name in ReportData.__required_keys__ if name not in data]
    if lacking:
        raise ReportError(
            f"{file}: no {', '.join(sorted(lacking))}; expected a whole report; run again to write it anew"
        )
    _check(data, file)
    return Report(file, cast(ReportData, data))


def _check(data: object, file: Path) -> None:
    """Raise a ReportError that names the first entry which is not as the schema has it."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    wrong = best_match(Draft202012Validator(schema).iter_errors(data))
    if wrong is not None:
        message = wrong.message if len(wrong.message) <= 160 else f"{wrong.message[:157]}..."
        raise ReportError(
            f"{file}: {wrong.json_path.removeprefix('$.')}: {message}; expected a report as the harness writes it; run "
            "again to write it anew"
        )


def _sample_line(text: str, where: str) -> SampleLine:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if (
        not isinstance(line, dict)
        or not line.keys() >= SampleLine.__required_keys__
        or not isinstance(line["own"], dict)
    ):
        raise ReportError(f"{where}: no sample; expected a JSON object as the harness writes it; run again")
    return cast(SampleLine, line)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8 text"
        raise ReportError(
            f"{file}: cannot be read ({reason}); expected a report's file; give the path of a {REPORT_FILE} "
            "or of its folder"
        ) from error
