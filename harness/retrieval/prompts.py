"""Prompts: a row and a task as token ids, with the exact tokens of the needle and of the question.

Knows nothing about models; the tokenizer is an argument. Ids are built once, from one text: spans come from
the character offsets of that one encoding, never from searching for token sequences or encoding decoded text.
The message is that of the EDGAR haystack study (https://github.com/dersual/EDGAR-Haystack).

Beside the question stand two other prompts of a row. Plain text is the beginning of its haystack, without the needle
and without a chat template, for a model to go on with: how likely it finds text that it need not look up says whether
an ablation took retrieval away, or language altogether. A trial is the row as methods that score heads see it: the
prompt, how an answer is judged, and a question without content.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from harness.choices import Insertion
from harness.errors import DataError, ModelError
from harness.retrieval.chat_templates import ChatTokenizer, render_chat
from harness.retrieval.placement import place_needle, without_needle
from harness.retrieval.rows import Row
from harness.retrieval.scoring import Compare
from harness.retrieval.tasks import Task

PromptKind = Literal["full", "needle_absent", "plain_text"]
"""Those of kind `plain_text` are built by `plain_text_prompt`, the others by `build_prompt`."""
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)


class Encoding(Protocol):
    """What a tokenizer returns: `input_ids`, and `offset_mapping` where it was asked for."""

    def __getitem__(self, name: str, /) -> Any:
        """The list under that name."""
        ...


class Tokenizer(ChatTokenizer, Protocol):
    """The small part of a fast Hugging Face tokenizer that prompts need."""

    @property
    def added_tokens_decoder(self) -> Any:
        """Added tokens by id, each with `content` and `special`."""
        ...

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> Encoding:
        """Encode one text."""
        ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> Any:
        """The text of token ids."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row, ready for a model.

    `token_ids` are the whole prompt, special tokens included; `text` is what was encoded. The needle's tokens
    are `token_ids[needle_start:needle_end]` (0, 0 when it is left out), the question's and the document's, needle
    included, likewise. `depth` is the needle's achieved depth: characters of haystack before it / all characters of the
    haystack. `value_ids` are the gold value's tokens as they would follow the prompt.
    """

    row_id: str
    kind: PromptKind
    text: str
    token_ids: tuple[int, ...]
    needle_start: int
    needle_end: int
    question_start: int
    question_end: int
    depth: float
    value_ids: tuple[int, ...]
    document_start: int = 0
    document_end: int = 0


@dataclass(frozen=True, slots=True)
class _Span:
    """Half-open characters of a text."""

    start: int
    end: int

    def shifted(self, by: int) -> "_Span":
        return _Span(self.start + by, self.end + by)


def build_prompt(
    row: Row,
    task: Task,
    tokenizer: Tokenizer,
    *,
    depth: float,
    kind: PromptKind = "full",
    insertion: Insertion = "sentence",
    arguments: Mapping[str, object] | None = None,
) -> Prompt:
    """The prompt of one row.

    The task's template is filled as one user message (after its system message, if it has one) and rendered
    by the tokenizer's chat template up to the point where the model answers; a tokenizer without one gets
    plain text, and the special tokens that it adds by itself. A chat template has the full say over special
    tokens, none are added to it (as in transformers itself); where it asks, thinking is off, the date fixed, unless
    `arguments` of it say otherwise.

    The needle's span holds every token that shares a character with the needle's sentence, and is checked by
    decoding. `needle_absent` is the same prompt without the needle; from a row placed `in_place` it is cut.

    A haystack may hold the template's own markup (`</document>`): spans do not depend on it, and the text is
    left as it is. One that spells out a special token of the tokenizer (`<|eot_id|>`) is refused: it would be
    read as that token, and end the message early.

    Raises:
        DataError: the row is not of this task, the depth is outside [0, 1], the text spells a special token,
            an `in_place` needle does not stand exactly once, or the value has no tokens.
        ModelError: the tokenizer gives no offsets or ends the prompt with a token of its own, its chat
            template alters the message, refuses the system message, leaves a thought open or does not use an argument,
            or a decoded span lacks its text.
    """
    where = f"row {row.id}"
    if row.task != task.id:
        raise DataError(f"{where}: got task {task.id!r}; expected {row.task!r}; pass the row's own task")
    placed = place_needle(row, depth=depth, insertion=insertion, keep=kind == "full")
    _refuse_special_tokens((placed.document, row.needle_sentence, row.needle_value), tokenizer, where)
    message, document, question = _fill(task, placed.document)
    chat = bool(tokenizer.chat_template)
    if chat:
        text, message_start = render_chat(message, task.system, tokenizer, arguments or {}, where)
    else:
        text, message_start = _plainly(message, task.system, arguments)

    # Chat templates write the special tokens out, so letting the tokenizer add its own would double the BOS.
    ids, offsets = _encode(text, tokenizer, add_special_tokens=not chat, where=where)
    asked = _tokens_over(offsets, question.shifted(message_start))
    _check_decoded(ids, asked, task.question, tokenizer, f"{where}: question")
    read = _tokens_over(offsets, document.shifted(message_start))
    needle = _Span(0, 0)
    if placed.needle is not None:
        start, end = placed.needle
        needle = _tokens_over(offsets, _Span(start, end).shifted(message_start + document.start))
        _check_decoded(ids, needle, row.needle_sentence, tokenizer, f"{where}: needle")
    return Prompt(
        row_id=row.id,
        kind=kind,
        text=text,
        token_ids=ids,
        needle_start=needle.start,
        needle_end=needle.end,
        question_start=asked.start,
        question_end=asked.end,
        depth=placed.depth,
        value_ids=_value_ids(row, text, ids, tokenizer, chat=chat),
        document_start=read.start,
        document_end=read.end,
    )


def identification_depth(row: Row, seed: int) -> float:
    """The depth at which a row's needle is put while heads are identified: its own, else random in [0, 1).

    The random one depends on seed, task and filing alone, so it stays when other rows come and go.
    """
    if row.depth is not None:
        return row.depth
    digest = hashlib.sha256(f"depth\0{seed}\0{row.task}\0{row.filename}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _fill(task: Task, document: str) -> tuple[str, _Span, _Span]:
    """The user message, and where the document and the question stand in it.

    The template is cut, not searched after filling: a document may hold `{question}` or braces of its own.
    """
    fillings = {"{context}": document, "{question}": task.question}
    first, second = sorted(fillings, key=task.template.index)
    before, rest = task.template.split(first)
    between, after = rest.split(second)
    spans: dict[str, _Span] = {}
    message = before
    for name, following in ((first, between), (second, after)):
        spans[name] = _Span(len(message), len(message) + len(fillings[name]))
        message += fillings[name] + following
    return message, spans["{context}"], spans["{question}"]


def _plainly(message: str, system: str | None, arguments: Mapping[str, object] | None) -> tuple[str, int]:
    """The prompt of a tokenizer without a chat template, and where the message begins in it."""
    if arguments:
        raise ModelError(
            f"template argument {next(iter(arguments))!r}: the tokenizer has no chat template; expected one; leave "
            "--ablation-template out"
        )
    lead = "" if system is None else f"{system}\n\n"
    return lead + message, len(lead)


def _encode(
    text: str, tokenizer: Tokenizer, *, add_special_tokens: bool, where: str
) -> tuple[tuple[int, ...], Sequence[tuple[int, int]]]:
    """Token ids and their character offsets, half-open."""
    try:
        encoding = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    except NotImplementedError:
        raise ModelError(
            f"{where}: {type(tokenizer).__name__} gives no character offsets; expected a fast tokenizer; "
            "load the one of tokenizer.json"
        ) from None
    ids, offsets = tuple(encoding["input_ids"]), encoding["offset_mapping"]
    # A model that reads its end token before it answers answers nothing. (Final spaces have no width either.)
    if add_special_tokens and not text[-1].isspace() and offsets[-1][0] == offsets[-1][1]:
        raise ModelError(
            f"{where}: the tokenizer ends the prompt with a token of its own, id {ids[-1]}; "
            "expected the prompt to end with its text; load the tokenizer with add_eos_token=False"
        )
    return ids, offsets


def _tokens_over(offsets: Sequence[tuple[int, int]], characters: _Span) -> _Span:
    """The tokens that share a character with `characters`; tokens of no width (a BOS) share none."""
    over = [index for index, (start, end) in enumerate(offsets) if start < characters.end and end > characters.start]
    return _Span(over[0], over[-1] + 1) if over else _Span(0, 0)


def _check_decoded(ids: Sequence[int], span: _Span, sought: str, tokenizer: Tokenizer, where: str) -> None:
    """Decode a span and find its text in it, whitespace aside: not every tokenizer gives that back."""
    decoded = str(tokenizer.decode(list(ids[span.start : span.end])))
    if span.start == span.end or _bare(sought) not in _bare(decoded):
        raise ModelError(
            f"{where}: tokens {span.start} to {span.end} decode to {decoded!r}; "
            f"expected {sought!r} in them; use a tokenizer whose offsets and vocabulary fit this text"
        )


def _bare(text: str) -> str:
    """Text without whitespace, in compatibility form: what every faithful tokenizer gives back."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _refuse_special_tokens(texts: Sequence[str], tokenizer: Tokenizer, where: str) -> None:
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and any(token.content in text for text in texts):
            raise DataError(
                f"{where}: the text holds {token.content!r}, which this tokenizer reads as a special token; "
                "expected none; take it out of the row's text, or leave the row out"
            )


def _value_ids(row: Row, text: str, ids: tuple[int, ...], tokenizer: Tokenizer, *, chat: bool) -> tuple[int, ...]:
    """The gold value's tokens after the prompt: in plain text after one space, in a chat at once."""
    gap = "" if chat or text[-1:].isspace() else " "
    continuation = gap + row.needle_value.strip()
    whole = tokenizer(text + continuation, add_special_tokens=not chat, return_offsets_mapping=False)
    value = tuple(whole["input_ids"][len(ids) :])
    if tuple(whole["input_ids"][: len(ids)]) != ids:
        # The value would merge with the prompt's last token, but the model reads the prompt as it is.
        alone = tokenizer(continuation, add_special_tokens=False, return_offsets_mapping=False)
        value = tuple(alone["input_ids"])
    if not value:
        raise DataError(
            f"row {row.id}: needle_value {row.needle_value!r} has no tokens; expected at least one; correct the value"
        )
    return value


START_TOKENS = 32
"""Read, but not measured, where the text is long enough."""
MEASURED_TOKENS = 64
"""How many tokens after the start are measured, at most."""


def plain_text_prompt(row: Row, tokenizer: Tokenizer) -> Prompt:
    """The document's first tokens as the prompt, those after them as the "gold value" that is measured.

    The tokenizer adds the special tokens that it puts before plain text; those that it puts after it are dropped. Of a
    short text the first third is the start. Rows that share a document share this prompt.

    Raises:
        DataError: the document has fewer than two tokens.
    """
    document = without_needle(row)
    encoding = tokenizer(document, add_special_tokens=True, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    last = max((i for i, (start, end) in enumerate(offsets) if end > start), default=-1)
    ids = tuple(encoding["input_ids"])[: last + 1]
    if len(ids) < 2:
        raise DataError(
            f"row {row.id}: haystack_text: {len(ids)} tokens without the needle; expected at least 2, to measure how "
            "likely the model finds plain text; give the row a longer document, or leave the gates out"
        )
    start = min(START_TOKENS, max(1, len(ids) // 3))
    return Prompt(
        row_id=row.id,
        kind="plain_text",
        text=document,
        token_ids=ids[:start],
        needle_start=0,
        needle_end=0,
        question_start=0,
        question_end=0,
        depth=0.0,
        value_ids=ids[start : start + MEASURED_TOKENS],
    )


def most_new_tokens(kind: PromptKind, asked: int) -> int:
    """How many tokens a completion may have: over plain text one, for nothing is asked and nothing is made of it."""
    return 1 if kind == "plain_text" else asked


NULL_QUERY = "N/A"
"""The question without content of Zhang et al. (2025, https://arxiv.org/abs/2506.09944)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One row to score heads on.

    `value` and `compare` judge an answer of at most `max_new_tokens` tokens. `null_prompt` is the same prompt
    with `NULL_QUERY` for a question; `None` where no method needs it. `cluster` names what its row belongs to beside
    others (`Row.cluster_name`); `None`: it stands alone.
    """

    prompt: Prompt
    value: str
    compare: Compare
    max_new_tokens: int
    null_prompt: Prompt | None = None
    cluster: str | None = None
