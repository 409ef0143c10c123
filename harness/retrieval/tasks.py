"""Tasks: what is asked of a filing, in which words, and how the answers to it compare.

Knows nothing about rows, tokenizers or models. The nine built-in tasks are those of the EDGAR haystack study
(https://github.com/dersual/EDGAR-Haystack); a user's own come from a TOML file of `[[task]]` tables.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from harness.errors import DataError
from harness.files import read_bytes
from harness.retrieval.scoring import Compare

DEFAULT_TEMPLATE = "<document>{context}</document>\nQuestion: {question}\nAnswer:"

MOST_PARTS = 200
_LONG_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){{{MOST_PARTS},}}")
"""A dotted key takes time that grows with the square of its parts: one of 100 KB takes a minute."""

_ID = re.compile(r"[a-z0-9_]+")
_KEYS = ("id", "question", "template", "system", "compare")


@dataclass(frozen=True, slots=True)
class Task:
    """One question, asked of every filing that has a row for it.

    `template` is the user message: `{context}` and `{question}` stand in it once each, and every other brace
    is an ordinary character. `system` is an optional system message. `compare` says how values compare: as
    words (`text`) or as exact numbers (`number`).

    Raises:
        DataError: one of these is not so.
    """

    id: str
    question: str
    compare: Compare = "text"
    template: str = DEFAULT_TEMPLATE
    system: str | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise DataError(f"task id: got {self.id!r}; expected lower-case letters, digits and _; rename it")
        where = f"task {self.id}"
        if not self.question or self.question != self.question.strip():
            raise DataError(
                f"{where}: question: got {self.question!r}; expected text without spaces around it; write the question"
            )
        for name in ("{context}", "{question}"):
            if (count := self.template.count(name)) != 1:
                raise DataError(
                    f"{where}: template: got {count} times {name}; expected it once; start from {DEFAULT_TEMPLATE!r}"
                )
        if self.compare not in get_args(Compare):
            raise DataError(
                f"{where}: compare: got {self.compare!r}; expected one of {', '.join(get_args(Compare))}; choose one"
            )
        if self.system is not None and not self.system.strip():
            raise DataError(f"{where}: system: got no text; expected a message; leave it out for none")


EDGAR_TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.id: task
        for task in (
            Task("registrant_name", "What is the registrant's name?"),
            Task("headquarters_city", "What is the registrant's headquarters city?"),
            Task("headquarters_state", "What is the registrant's headquarters state?"),
            Task("incorporation_state", "What is the registrant's incorporation state?"),
            Task("incorporation_year", "What is the incorporation year?", "number"),
            Task("employees_count_total", "How many total employees does the registrant have?", "number"),
            Task(
                "holder_record_amount",
                "What is the number of holders of record of the registrant's common stock?",
                "number",
            ),
            Task(
                "employees_count_full_time",
                "How many full-time employees does the registrant have?",
                "number",
            ),
            Task("ceo_lastname", "What is the CEO's last name?"),
        )
    }
)


def load_tasks(path: Path) -> dict[str, Task]:
    """The tasks of a TOML file, by id, in the file's order.

    Each `[[task]]` has `id` and `question`, and may have `template`, `system` and `compare` (see `Task`).

    Raises:
        DataError: the file cannot be read, is no TOML, or one of its tasks is bad; the first fault is named.
    """
    tasks: dict[str, Task] = {}
    for number, entry in enumerate(read_tables(path, "task"), start=1):
        task = _task_of(entry, f"{path}: task {number}")
        if task.id in EDGAR_TASKS:
            raise DataError(
                f"{path}: task {number}: got id {task.id!r}, which is a built-in task's; expected another; rename it"
            )
        if task.id in tasks:
            raise DataError(f"{path}: task {number}: got id {task.id!r} again; expected every id once; rename one")
        tasks[task.id] = task
    return tasks


def read_tables(path: Path, name: str) -> list[object]:
    """The `[[name]]` tables of a TOML file, as they are: at least one, and nothing else beside them.

    Raises:
        DataError: the file cannot be read, is no TOML, or holds other things.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; expected a readable TOML file; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: broken UTF-8; expected UTF-8; save the file as UTF-8") from None
    table = _toml(text, path, name)
    entries = table.get(name)
    others = sorted(set(table) - {name})
    if others or not isinstance(entries, list) or not entries:
        raise DataError(
            f"{path}: got {', '.join(map(repr, others)) or f'no [[{name}]]'}; expected [[{name}]] tables only; "
            f"begin each {name} with [[{name}]]"
        )
    return entries


def _toml(text: str, path: Path, name: str) -> dict[str, object]:
    if (key := _LONG_KEY.search(text)) is not None:
        line = text.count("\n", 0, key.start()) + 1
        reason = f"line {line}: a key of more than {MOST_PARTS} parts with dots between"
    else:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            reason = str(error)
        except (ValueError, RecursionError):
            reason = "nested too deeply, or too long a number"
    raise DataError(f"{path}: {reason}; expected TOML with [[{name}]] tables; correct it there") from None


def select_tasks(tasks: Mapping[str, Task], names: Sequence[str]) -> dict[str, Task]:
    """The named tasks, in the order of `names`.

    Raises:
        DataError: no name is given, or one is unknown.
    """
    known = f"expected one or more of {', '.join(tasks)}; correct the selection"
    if not names:
        raise DataError(f"tasks: got none; {known}")
    for name in names:
        if name not in tasks:
            raise DataError(f"tasks: got {name!r}; {known}")
    return {name: tasks[name] for name in names}


def _task_of(entry: object, where: str) -> Task:
    """One `[[task]]` table as a Task."""
    if not isinstance(entry, dict):
        raise DataError(f"{where}: got {entry!r}; expected a table; begin each task with [[task]]")
    for key, value in entry.items():
        if key not in _KEYS:
            raise DataError(f"{where}: got key {key!r}; expected {', '.join(_KEYS)}; remove or rename it")
        if not isinstance(value, str):
            raise DataError(f"{where}: {key}: got {value!r}; expected text; put it in quotes")
    for key in ("id", "question"):
        if key not in entry:
            raise DataError(f"{where}: got no {key!r}; expected one; add it")
    try:
        return Task(
            entry["id"],
            entry["question"].strip(),
            entry.get("compare", "text"),
            entry.get("template", DEFAULT_TEMPLATE),
            entry.get("system"),
        )
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
