"""Every prompt of a study, from one place: built once, where the settings say, as long as they say.

A trial's two prompts, and what judges its answer.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from tiny_models import tiny_tokenizer

from harness.demo.filings import demo_rows
from harness.errors import DataError, ModelError
from harness.experiment.heads import Blueprint, ModelShape
from harness.experiment.record import tokens_digest
from harness.retrieval.prompts import (
    NULL_QUERY,
    PROMPT_KINDS,
    Tokenizer,
    Trial,
    build_prompt,
    identification_depth,
    plain_text_prompt,
)
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS, Task
from harness.settings import Settings
from harness.study.asked_model import AskedModel
from harness.study.memory import Memory
from harness.study.prompt_book import PromptBook

ROW = next(row for row in demo_rows(1, n_sentences=3) if row.task == "incorporation_year")
LONG = next(row for row in demo_rows(2, n_sentences=40) if row.task == "incorporation_year")
TASK = EDGAR_TASKS[ROW.task]


@dataclass
class FakeModel:
    """All that a prompt book asks of a model."""

    tokenizer: Tokenizer
    blueprint: Blueprint
    settings: Settings
    memory: Memory = field(default_factory=lambda: Memory(Settings(dry_run=True)))


BLUEPRINT = Blueprint(ModelShape(3, 4, id="tiny"), "sdpa", "float32", "cpu")


def fast_copy(template: str) -> Tokenizer:
    """The tiny tokenizer with a chat template."""
    chat = copy.deepcopy(tiny_tokenizer())
    chat.chat_template = template
    return chat


def deep(depth: float) -> Callable[[Row], float]:
    """Every needle at one depth."""
    return lambda _: depth


def book(window: int | None = None, task: Task = TASK, **settings: object) -> PromptBook:
    given = Settings(**settings)  # type: ignore[arg-type]  # each of its type
    blueprint = Blueprint(ModelShape(3, 4, id="tiny"), "sdpa", "float32", "cpu", window)
    return PromptBook(cast(AskedModel, FakeModel(tiny_tokenizer(), blueprint, given)), {task.id: task})


def test_a_needle_stands_where_the_settings_say_or_at_the_rows_own_depth() -> None:
    for row, depth in ((ROW, 0.75), (replace(ROW, depth=0.1), 0.1)):
        asked = book(depth=(0.75, 0.25), insertion="published").asked(row)
        assert asked == build_prompt(row, TASK, tiny_tokenizer(), depth=depth, insertion="published")
    absent = book().asked(ROW, "needle_absent")
    assert ROW.needle_sentence not in absent.text
    assert book().asked(ROW, "plain_text") == plain_text_prompt(ROW, tiny_tokenizer())


def test_arguments_of_the_chat_template_are_part_of_every_prompt() -> None:
    """They change its tokens, and with these the key of every record."""
    chat = fast_copy("{{ effort }}|{{ messages[0]['content'] }}|{{ enable_thinking }}")
    usual, other = (
        PromptBook(cast(AskedModel, FakeModel(chat, BLUEPRINT, given)), {TASK.id: TASK})
        for given in (Settings(), Settings(template=("effort=low", "enable_thinking=true")))
    )
    assert usual.asked(ROW).text.startswith("|")
    assert usual.asked(ROW).text.endswith("|False")
    for prompt in (other.asked(ROW), other.read(ROW, deep(0.5)), other.trial(ROW, null_query=False).prompt):
        assert prompt.text.startswith("low|")
        assert prompt.text.endswith("|True")
    assert usual.digest(ROW) != other.digest(ROW)
    with pytest.raises(ModelError, match="template argument 'effort': the tokenizer has no chat template"):
        book(template=("effort=low",)).asked(ROW)


def test_each_prompt_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = book(seq_len=700)
    first = [(prompts.asked(ROW, kind), prompts.digest(ROW, kind)) for kind in PROMPT_KINDS]
    read = prompts.read(LONG, deep(0.5))
    monkeypatch.setattr(PromptBook, "_build", None)
    for kind, (prompt, digest) in zip(PROMPT_KINDS, first, strict=True):
        assert prompts.asked(ROW, kind) is prompt
        assert prompts.digest(ROW, kind) == digest == tokens_digest(prompt.token_ids, prompt.value_ids)
    assert prompts.read(LONG, deep(0.5)) is read
    assert len(set(first)) == 3


def test_rows_of_one_id_are_told_apart() -> None:
    """A row that is asked may be cut, and is read whole for another row at another depth."""
    prompts = book()
    cut = replace(LONG, haystack_text=LONG.haystack_text[:400])
    assert prompts.asked(LONG) != prompts.asked(cut)
    assert prompts.digest(LONG) != prompts.digest(cut)
    assert prompts.read(LONG, deep(0.0)) != prompts.read(LONG, deep(1.0))


def test_the_window_holds_prompt_and_answer_or_value() -> None:
    n_tokens = len(book().asked(ROW).token_ids)
    assert book(n_tokens + 7, max_new_tokens=7).asked(ROW)
    words = (
        rf"^{ROW.id}: {n_tokens + 7} tokens, new ones included; expected at most {n_tokens + 6}, the window of tiny;"
    )
    with pytest.raises(ModelError, match=words):
        book(n_tokens + 6, max_new_tokens=7).asked(ROW)
    n_value = len(book().asked(ROW).value_ids)
    with pytest.raises(ModelError, match="the window of tiny"):
        book(n_tokens + n_value - 1, max_new_tokens=1).asked(ROW)
    text = book().asked(ROW, "plain_text")
    assert book(len(text.token_ids) + len(text.value_ids), max_new_tokens=10_000).asked(ROW, "plain_text") == text


def test_rows_are_cut_to_one_length_needle_and_depth_kept() -> None:
    depths = {ROW.id: 0.2, LONG.id: 0.9}
    most = len(book().asked(ROW).token_ids)
    prompts = book(seq_len=most)
    (short, cut), n_cut = prompts.cut([ROW, LONG], lambda row: depths[row.id])
    assert (short, n_cut) == (ROW, 1)
    assert most - 100 < len(prompts.read(LONG, deep(0.9)).token_ids) <= most
    assert prompts.read(LONG, deep(0.9)) == build_prompt(cut, TASK, tiny_tokenizer(), depth=0.9)
    assert book().cut([ROW, LONG], lambda row: 0.5) == ((ROW, LONG), 0)
    with pytest.raises(DataError, match="no more than the needle in it; expected at most 30"):
        book(seq_len=30).cut([ROW], lambda row: 0.5)


def filing(*, in_place: bool) -> list[Row]:
    """All nine rows of one document, which holds their needles at its start or lacks them."""
    rows = demo_rows(1, n_sentences=3)
    needles = " ".join(row.needle_sentence for row in rows)
    document = demo_rows(2, n_sentences=40)[-1].haystack_text
    text = f"{needles} {document}" if in_place else document
    return [replace(row, haystack_text=text, placement="in_place" if in_place else "insert") for row in rows]


@pytest.mark.parametrize("in_place", [False, True])
def test_rows_of_a_document_are_cut_alike_whichever_of_them_are_asked(in_place: bool) -> None:
    rows = filing(in_place=in_place)
    prompts = PromptBook(book(seq_len=700).model, EDGAR_TASKS, rows)
    assert min(len(prompts._build(row, 0.5).token_ids) for row in rows) > 700
    cut, n_cut = prompts.cut(rows, prompts.placed_depth)
    assert n_cut == len(rows)
    assert len({row.haystack_text for row in cut}) == 1
    longest = max(len(prompts.asked(row).token_ids) for row in cut)
    assert 600 < longest <= 700
    for row, found in zip(rows, cut, strict=True):
        alone = PromptBook(book(seq_len=700).model, EDGAR_TASKS, tuple(reversed(rows)))
        clustered = replace(row, cluster="joined", split="evaluation")
        assert alone.cut([clustered], alone.placed_depth)[0][0].haystack_text == found.haystack_text
        assert alone.read(row, deep(0.5)).token_ids == prompts.asked(found).token_ids, "as a donor"


def test_rows_of_a_sweep_are_cut_as_at_each_depth_alone() -> None:
    rows = filing(in_place=False)
    for depth in (0.1, 0.9):
        alone = PromptBook(book(seq_len=700, depth=(depth,)).model, EDGAR_TASKS, rows)
        swept = PromptBook(book(seq_len=700, depth=(0.1, 0.9)).model, EDGAR_TASKS, rows)
        at_depth = [replace(row, depth=depth) for row in rows]
        of_file = PromptBook(swept.model, EDGAR_TASKS, [replace(row, depth=d) for row in rows for d in (0.9, 0.1)])
        expected = [row.haystack_text for row in alone.cut(rows, alone.placed_depth)[0]]
        for prompts in (swept, of_file):
            assert [row.haystack_text for row in prompts.cut(at_depth, prompts.placed_depth)[0]] == expected


def test_a_row_too_long_by_itself_is_an_error_where_it_is_asked_alone() -> None:
    rows = filing(in_place=False)
    wordy = replace(rows[0], needle_sentence=rows[0].needle_sentence + " And so on." * 100)
    prompts = PromptBook(book(seq_len=700).model, EDGAR_TASKS, [wordy, *rows[1:]])
    without = PromptBook(book(seq_len=700).model, EDGAR_TASKS, rows[1:])
    assert prompts.cut(rows[1:], deep(0.5)) == without.cut(rows[1:], deep(0.5))
    with pytest.raises(DataError, match=rf"^row {wordy.id}: a prompt of \d+ tokens with no more than the needle in it"):
        prompts.cut([wordy], deep(0.5))


def trial(task: Task = TASK, *, null_query: bool = True) -> Trial:
    return book(task=task, seed=5, max_new_tokens=7).trial(ROW, null_query=null_query)


def test_a_trials_prompt_is_the_rows_at_its_identification_depth() -> None:
    found = trial(null_query=False)
    assert found.prompt == build_prompt(ROW, TASK, tiny_tokenizer(), depth=identification_depth(ROW, 5))
    assert (found.value, found.compare, found.max_new_tokens) == (ROW.needle_value, "number", 7)
    assert found.null_prompt is None


def test_the_null_prompt_differs_in_the_question_alone() -> None:
    found = trial()
    assert found.null_prompt is not None
    assert found.null_prompt.text == found.prompt.text.replace(TASK.question, NULL_QUERY)
    start = found.prompt.question_start
    assert found.null_prompt.token_ids[:start] == found.prompt.token_ids[:start]
    needle = slice(found.prompt.needle_start, found.prompt.needle_end)
    assert found.null_prompt.token_ids[needle] == found.prompt.token_ids[needle]
    asked = found.null_prompt.token_ids[found.null_prompt.question_start : found.null_prompt.question_end]
    assert tiny_tokenizer().decode(list(asked)) == NULL_QUERY


def test_templates_and_system_messages_are_kept_in_a_trial() -> None:
    found = trial(replace(TASK, template="{question}\n\n{context}\n\nAnswer", system="Be brief."))
    assert found.null_prompt is not None
    assert found.null_prompt.text.startswith(f"Be brief.\n\n{NULL_QUERY}\n\n")


def test_what_is_remembered_needs_no_tokenizer() -> None:
    first = book(seq_len=200)
    longer = replace(ROW, haystack_text=" ".join([ROW.haystack_text] * 9))
    (cut,), _ = first.cut([longer], first.placed_depth)
    assert len(cut.haystack_text) < len(longer.haystack_text)
    asked, read = first.facts(cut), first.read_digest(longer, deep(0.1))
    known = cast(FakeModel, first.model).memory
    model = FakeModel(cast(Tokenizer, None), BLUEPRINT, first.settings, known)
    again = PromptBook(cast(AskedModel, model), {TASK.id: TASK})
    assert again.cut([longer], again.placed_depth) == ((cut,), 1)
    assert (again.facts(cut), again.read_digest(longer, deep(0.1))) == (asked, read)
    assert asked.n_tokens == len(first.asked(cut).token_ids) <= 200
    with pytest.raises(AttributeError):
        again.facts(replace(cut, haystack_text=longer.haystack_text))
