"""The manifest: recipes for rows, without any text of a filing, and the hash of what each must give.

With the filings, which are public, the same rows come out of it letter for letter: without patterns, without a
tokenizer, under any later version of either. A manifest is JSON: of each filing its hash, its cluster, the runs of its
haystack, and its rows; a row placed in place has runs of its own.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import DataError
from harness.files import read_bytes, strict_json, write_text
from harness.retrieval.filings.building import Recipe
from harness.retrieval.filings.filing import Filing
from harness.retrieval.filings.sentences import Run
from harness.retrieval.rows import Placement, Row

_Runs = list[tuple[str, int, int]]
_HASH = Field(pattern="[0-9a-f]{64}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestRow(_Part):
    """A row: its task and value, its needle's half-open characters of a section, and SHA-256 of the whole row."""

    task: str
    value: str
    section: str
    start: int
    end: int
    sha256: str = _HASH
    haystack: _Runs | None = None


class ManifestFiling(_Part):
    """A filing: SHA-256 of its sections, its cluster, the runs (section, start, end) of its haystack, its rows."""

    filing: str
    sha256: str = _HASH
    cluster: str
    haystack: _Runs | None = None
    rows: list[ManifestRow]


class Manifest(_Part):
    """Everything from which rows are made again; `made_by` says how they were made at first."""

    schema_version: Literal[1]
    made_by: str
    placement: Placement
    filings: list[ManifestFiling]


def row_hash(row: Row) -> str:
    """SHA-256 in hex of a row: of its columns that say something, by name, as JSON."""
    said = {field.name: getattr(row, field.name) for field in fields(Row) if getattr(row, field.name) != field.default}
    return hashlib.sha256(json.dumps(said, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def write_manifest(path: Path, recipes: Iterable[Recipe], filings: Sequence[Filing], *, made_by: str) -> None:
    """Write the recipes' manifest, a filing a line. Raises DataError where that cannot be done."""
    by_filing: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        by_filing.setdefault(recipe.filing, []).append(recipe)
    placements = {recipe.placement for of_one in by_filing.values() for recipe in of_one}
    (placement,) = placements
    lines = [
        _entry(filing, by_filing[filing.name]).model_dump_json(exclude_none=True)
        for filing in filings
        if filing.name in by_filing
    ]
    head = json.dumps({"schema_version": 1, "made_by": made_by, "placement": placement}, ensure_ascii=False)
    text = f'{head[:-1]}, "filings": [\n' + ",\n".join(lines) + "\n]}\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; expected a folder that can be written; choose another"
        ) from None


def rows_of_manifest(path: Path, filings: Iterable[Filing]) -> tuple[Row, ...]:
    """The rows of a manifest, made again from these filings; others among them do no harm.

    Raises:
        DataError: the manifest cannot be read, a filing is missing or has another text, or a row comes out otherwise
            than its hash says.
    """
    manifest = _read(path)
    known = {filing.name: filing for filing in filings}
    rows: list[Row] = []
    for entry in manifest.filings:
        filing = known.get(entry.filing)
        if filing is None:
            raise DataError(
                f"{path}: {entry.filing}: no such filing among the {len(known)} given; expected all that the manifest "
                "names; get it, or give the folder that holds it"
            )
        for row in entry.rows:
            made = _recipe(entry, row, manifest.placement, path).row(filing)
            if (got := row_hash(made)) != row.sha256:
                raise DataError(
                    f"{path}: {made.id}: got a row of hash {got[:12]}...; expected {row.sha256[:12]}...; "
                    + (
                        "its filing has another text"
                        if filing.text_hash() != entry.sha256
                        else "the manifest was changed"
                    )
                    + "; get the one that the manifest was made of"
                )
            rows.append(made)
    return tuple(rows)


def _entry(filing: Filing, recipes: Sequence[Recipe]) -> ManifestFiling:
    shared = recipes[0].haystack if recipes[0].placement == "insert" else None
    return ManifestFiling(
        filing=filing.name,
        sha256=filing.text_hash(),
        cluster=recipes[0].cluster,
        haystack=None if shared is None else _runs(shared),
        rows=[
            ManifestRow(
                task=recipe.task,
                value=recipe.value,
                section=recipe.needle.section,
                start=recipe.needle.start,
                end=recipe.needle.end,
                sha256=row_hash(recipe.row(filing)),
                haystack=_runs(recipe.haystack) if shared is None else None,
            )
            for recipe in recipes
        ],
    )


def _runs(runs: Sequence[Run]) -> _Runs:
    return [(run.section, run.start, run.end) for run in runs]


def _recipe(entry: ManifestFiling, row: ManifestRow, placement: Placement, path: Path) -> Recipe:
    runs = row.haystack if row.haystack is not None else entry.haystack
    if runs is None:
        raise DataError(
            f"{path}: {entry.filing}/{row.task}: got no haystack; expected runs of it, beside the filing or the row; "
            "write the manifest anew"
        )
    needle = Run(row.section, row.start, row.end)
    haystack = tuple(Run(*run) for run in runs)
    return Recipe(entry.filing, row.task, row.value, needle, haystack, placement, entry.cluster)


def _read(path: Path) -> Manifest:
    try:
        data = read_bytes(path)
        manifest = Manifest.model_validate_json(data)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; expected a manifest; check the path") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{path}: {where}: {first['msg']}; expected a manifest of rows; write it anew with --write-manifest"
        ) from None
    _check_strictly(data, path)
    _check_filings([entry.filing for entry in manifest.filings], path)
    return manifest


def _check_filings(names: Sequence[str], path: Path) -> None:
    """Raise a DataError where a manifest has no filing, or one twice."""
    if not names:
        raise DataError(f"{path}: got no filings; expected at least one; write the manifest anew")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path}: got the filing {name} again; expected every filing once; write the manifest anew")


def _check_strictly(data: bytes, path: Path) -> None:
    """Raise a DataError for what pydantic takes in silence: the last of two equal keys, `true` and `1.0` for 1."""
    try:
        version = cast(dict[str, object], strict_json(data.decode()))["schema_version"]
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected a manifest without it") from None
    if type(version) is not int:
        raise DataError(f"{path}: schema_version: {version!r}; expected a whole number; write the manifest anew")
