"""The prompt book: every prompt of a study, built, cut to length, checked against the model's window and digested once.

Which rows are asked, and which are read for something else, its users say; how a row becomes a prompt is said here
alone. A row is cut together with all that the file has of its document, whatever tasks are studied and however many
rows are asked: so a row's prompt hangs on the file and on where needles are put, not on what else is selected. Needs
the model's tokenizer, not its weights. Knows nothing of conditions, of what is stored, nor of pytest.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from harness.experiment.heads import check_window
from harness.experiment.record import tokens_digest
from harness.retrieval.chat_templates import read_arguments
from harness.retrieval.placement import cut_to_length, cut_together
from harness.retrieval.prompts import (
    NULL_QUERY,
    Prompt,
    PromptKind,
    Trial,
    build_prompt,
    identification_depth,
    most_new_tokens,
    plain_text_prompt,
)
from harness.retrieval.rows import Row
from harness.retrieval.tasks import Task
from harness.settings import Settings
from harness.study.asked_model import AskedModel

DepthOf = Callable[[Row], float]
"""Where the needle of a row goes."""


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What is known of a prompt without its tokens: their `tokens_digest`, how many they and the gold value's are, and
    its needle's achieved depth."""

    digest: str
    n_tokens: int
    n_value: int
    depth: float


@dataclass(frozen=True, eq=False)
class PromptBook:
    """The prompts of one study, in the words of its tasks and the tokens of its model.

    `file_rows` are all rows of the file, which those that are asked or read are cut together with; `tasks` are theirs
    too.

    Whatever builds a prompt raises HarnessError where a row cannot be one, or the tokenizer cannot serve.
    """

    model: AskedModel
    tasks: Mapping[str, Task]
    file_rows: Sequence[Row] = ()
    _asked: dict[tuple[Row, PromptKind], Prompt] = field(default_factory=dict, init=False, repr=False)
    _read: dict[tuple[Row, float, PromptKind], Prompt] = field(default_factory=dict, init=False, repr=False)
    _facts: dict[tuple[Row, float, PromptKind], PromptFacts] = field(default_factory=dict, init=False, repr=False)
    _cuts: dict[tuple[tuple[Row, float], ...], tuple[Row | None, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def settings(self) -> Settings:
        """What was asked for."""
        return self.model.settings

    def placed_depth(self, row: Row) -> float:
        """Where the needle of a row goes that is asked: its own depth, or the one that the settings name."""
        return self.settings.depth[0] if row.depth is None else row.depth

    def asked(self, row: Row, kind: PromptKind = "full") -> Prompt:
        """The prompt that a row is asked with, built once.

        Raises ModelError where it and an answer are longer than the model's window.
        """
        if (row, kind) not in self._asked:
            prompt, blueprint = self._build(row, self.placed_depth(row), kind), self.model.blueprint
            longest = max(most_new_tokens(kind, self.settings.max_new_tokens), len(prompt.value_ids))
            check_window(blueprint.window, blueprint.shape.id, row.id, len(prompt.token_ids) + longest)
            self._asked[row, kind] = prompt
        return self._asked[row, kind]

    def facts(self, row: Row, kind: PromptKind = "full") -> PromptFacts:
        """What is known of the prompt that a row is asked with; remembered."""
        return self._known(row, self.placed_depth(row), kind, lambda: self.asked(row, kind))

    def digest(self, row: Row, kind: PromptKind = "full") -> str:
        """The `tokens_digest` of the prompt that a row is asked with."""
        return self.facts(row, kind).digest

    def read_digest(self, row: Row, depth_of: DepthOf, kind: PromptKind = "full") -> str:
        """The same of a prompt that is read."""
        cut = self._cut(row, depth_of)
        return self._known(cut, depth_of(row), kind, lambda: self.read(row, depth_of, kind)).digest

    def read(self, row: Row, depth_of: DepthOf, kind: PromptKind = "full") -> Prompt:
        """The prompt of a row that is read, not asked, its needle as deep as `depth_of` says; built once.

        `row` is as it was read from its file, and is cut where the asked ones are.
        """
        cut, depth = self._cut(row, depth_of), depth_of(row)
        if (cut, depth, kind) not in self._read:
            self._read[cut, depth, kind] = self._build(cut, depth, kind)
        return self._read[cut, depth, kind]

    def trial(self, row: Row, *, null_query: bool) -> Trial:
        """The trial of one row; its needle stands at the row's identification depth by the settings' seed."""
        task, depth = self.tasks[row.task], identification_depth(row, self.settings.seed)
        blank = replace(task, question=NULL_QUERY)
        return Trial(
            prompt=self._build(row, depth),
            value=row.needle_value,
            compare=task.compare,
            max_new_tokens=self.settings.max_new_tokens,
            null_prompt=self._build(row, depth, task=blank) if null_query else None,
            cluster=row.cluster_name,
        )

    def cut(self, rows: Iterable[Row], depth_of: DepthOf) -> tuple[tuple[Row, ...], int]:
        """The rows cut to whole prompts of at most `seq_len` tokens, where the settings name one; how many were cut.

        `depth_of` says where the needle of each is going to stand, also of those that are cut with them.

        Raises:
            DataError: a prompt is longer even without any haystack.
        """
        pairs = [(row, self._cut(row, depth_of)) for row in rows]
        return tuple(cut for _, cut in pairs), sum(cut is not row for row, cut in pairs)

    def _known(self, row: Row, depth: float, kind: PromptKind, build: Callable[[], Prompt]) -> PromptFacts:
        key = (row, depth, kind)
        if key not in self._facts:

            def find() -> list[Any]:
                prompt = build()
                digest = tokens_digest(prompt.token_ids, prompt.value_ids)
                return [digest, len(prompt.token_ids), len(prompt.value_ids), prompt.depth]

            name = _name(_bare(row), self.tasks[row.task], depth, kind)
            self._facts[key] = PromptFacts(*self.model.memory.recall("prompts", name, find))
        return self._facts[key]

    def _cut(self, row: Row, depth_of: DepthOf) -> Row:
        if self.settings.seq_len is None:
            return row
        together = self._with(row)
        # their text is this one's
        beside = [(replace(each, haystack_text=""), self.tasks[each.task], depth_of(each)) for each in together]
        name = _name(_bare(row), beside)

        def find() -> list[int]:
            text = self._cut_now(row, together, depth_of).haystack_text
            start = row.haystack_text.index(text)  # what is left of it is one run
            return [start, start + len(text)]

        start, stop = self.model.memory.recall("cuts", name, find)
        if (start, stop) == (0, len(row.haystack_text)):
            return row
        return replace(row, haystack_text=row.haystack_text[start:stop], haystack_token_length=None)

    def _cut_now(self, row: Row, together: Sequence[Row], depth_of: DepthOf) -> Row:
        most = self.settings.seq_len or 0

        def count(each: Row) -> int:
            return len(self._build(each, depth_of(each)).token_ids)

        key = tuple((each, depth_of(each)) for each in together)
        if key not in self._cuts:
            self._cuts[key] = cut_together(together, most, count)
        return self._cuts[key][together.index(_bare(row))] or cut_to_length(row, most, count)

    def _with(self, row: Row) -> tuple[Row, ...]:
        """The rows that the file has of this one's document, as deep as this one where that has a depth of its own."""
        same = dict.fromkeys(replace(each, depth=row.depth) for each in self._of_document.get(_document(row), ()))
        return tuple(same) if _bare(row) in same else (_bare(row),)

    @cached_property
    def _of_document(self) -> Mapping[tuple[str, str, str], Sequence[Row]]:
        found: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.file_rows:
            found.setdefault(_document(row), []).append(_bare(row))
        return found

    def _build(self, row: Row, depth: float, kind: PromptKind = "full", *, task: Task | None = None) -> Prompt:
        tokenizer, insertion = self.model.tokenizer, self.settings.insertion
        if kind == "plain_text":
            return plain_text_prompt(row, tokenizer)
        return build_prompt(
            row,
            task or self.tasks[row.task],
            tokenizer,
            depth=depth,
            kind=kind,
            insertion=insertion,
            arguments=read_arguments(self.settings.template),
        )


def _document(row: Row) -> tuple[str, str, str]:
    """What rows that are cut together have in common."""
    return row.filename, row.haystack_text, row.placement


def _bare(row: Row) -> Row:
    """The row without what its prompt does not depend on."""
    return replace(row, haystack_token_length=None, split=None, cluster=None)


def _name(*parts: object) -> str:
    """A name of all that these say, to be remembered by."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
