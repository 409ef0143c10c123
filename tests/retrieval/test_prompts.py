"""Prompts: exact spans on three kinds of tokenizer, with and without a chat template, and every refusal."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_tokenizer import CHAT, KINDS, SPECIAL, TOKENIZERS, byte_level, fast, unigram
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from harness.choices import Insertion
from harness.errors import DataError, ModelError
from harness.retrieval.placement import place_needle
from harness.retrieval.prompts import (
    Prompt,
    PromptKind,
    build_prompt,
    identification_depth,
)
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS, Task

TASK = EDGAR_TASKS["ceo_lastname"]

ROW = Row("a.txt", TASK.id, "The CEO is Mr. Smith.", "Smith", "Sales grew. Profits fell. Nothing else.")

both_ways = pytest.mark.parametrize("way", ["plain", "chat"])

each_kind = pytest.mark.parametrize("kind", list(KINDS))


def bare(text: str) -> str:
    return "".join(text.split())


def decoded(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, start: int, end: int) -> str:
    return str(tokenizer.decode(list(prompt.token_ids[start:end])))


def assert_tight(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, start: int, end: int, text: str) -> None:
    """Oracle by decoding: the span holds the text, and one token less at either side does not.

    The text must begin and end with characters that it holds once.
    """
    assert bare(text) in bare(decoded(tokenizer, prompt, start, end))
    assert bare(text) not in bare(decoded(tokenizer, prompt, start + 1, end))
    assert bare(text) not in bare(decoded(tokenizer, prompt, start, end - 1))


# Words of every width in UTF-8, markup of the template itself, and braces as in templates.
words = st.sampled_from(
    (
        *("the", "company", "Smith", "naïve", "straße", "日本", "—", "1,234", "U.S.", "x", "é", "。", ""),
        *("\n\n", "\n", "\t", "</document>", "{question}", "{context}", "Question:"),
    )
)

sentences = st.lists(words, max_size=6).map(" ".join)

haystacks = st.lists(sentences.map(lambda text: f"{text}. "), max_size=5).map("".join)

# Q, then anything, then Z: letters that stand nowhere else.
needles = st.lists(words, max_size=5).map(lambda middle: f"Q{' '.join(middle)}Z")


@each_kind
@both_ways
@settings(derandomize=True, deadline=None, max_examples=60)
@given(haystacks, needles, st.floats(0, 1), st.sampled_from(["sentence", "published"]))
def test_spans_are_exact(kind: str, way: str, haystack: str, needle: str, depth: float, insertion: Insertion) -> None:
    tokenizer = TOKENIZERS[kind, way]
    row = replace(ROW, needle_sentence=needle, haystack_text=haystack)
    prompt = build_prompt(row, TASK, tokenizer, depth=depth, insertion=insertion)
    assert prompt.text.count(needle) == 1
    assert_tight(tokenizer, prompt, prompt.needle_start, prompt.needle_end, needle)
    question = decoded(tokenizer, prompt, prompt.question_start, prompt.question_end)
    assert bare(TASK.question) in bare(question)
    # The question's tokens may share characters with ": " before and a line break after it, no more.
    assert len(bare(question)) <= len(bare(TASK.question)) + 1

    without = build_prompt(row, TASK, tokenizer, depth=depth, kind="needle_absent", insertion=insertion)
    assert (without.needle_start, without.needle_end) == (0, 0)
    assert haystack in without.text
    assert needle not in without.text
    assert without.depth == prompt.depth
    assert without.value_ids == prompt.value_ids


@settings(derandomize=True, deadline=None, max_examples=200)
@given(haystacks, st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.floats(0, 1))
def test_byte_level_spans_against_the_bytes_themselves(haystack: str, inner: str, depth: float) -> None:
    """Oracle without offsets: add up the tokens' bytes, and take those whose bytes touch the needle's."""
    tokenizer = TOKENIZERS["bytes", "plain"]
    row = replace(ROW, needle_sentence=f"Q{inner}Z", haystack_text=haystack)
    prompt = build_prompt(row, TASK, tokenizer, depth=depth)
    text = prompt.text.encode()
    assert text.count(row.needle_sentence.encode()) == 1
    first = text.index(row.needle_sentence.encode())
    last = first + len(row.needle_sentence.encode())
    touched, at = [], 0
    for index, token in enumerate(tokenizer.convert_ids_to_tokens(list(prompt.token_ids))):
        width = 0 if token in SPECIAL else len(token)  # one character of a byte-level token is one byte
        if at < last and at + width > first:
            touched.append(index)
        at += width
    assert at == len(text)
    assert (prompt.needle_start, prompt.needle_end) == (touched[0], touched[-1] + 1)


@both_ways
@settings(derandomize=True, deadline=None, max_examples=100)
@given(haystacks, needles, st.floats(0, 1))
def test_with_one_token_a_character_spans_are_the_characters(
    way: str, haystack: str, needle: str, depth: float
) -> None:
    tokenizer = TOKENIZERS["characters", way]
    row = replace(ROW, needle_sentence=needle, haystack_text=haystack)
    prompt = build_prompt(row, TASK, tokenizer, depth=depth)
    assert decoded(tokenizer, prompt, prompt.needle_start, prompt.needle_end) == needle
    assert decoded(tokenizer, prompt, prompt.question_start, prompt.question_end) == TASK.question
    document = place_needle(row, depth=depth).document
    assert decoded(tokenizer, prompt, prompt.document_start, prompt.document_end) == document
    value = tokenizer.decode(list(prompt.value_ids))
    assert value == (" Smith" if way == "plain" else "Smith")


def test_the_whole_prompt_as_plain_text() -> None:
    prompt = build_prompt(ROW, TASK, TOKENIZERS["bytes", "plain"], depth=0.5)
    assert prompt.text == (
        "<document>Sales grew. Profits fell. The CEO is Mr. Smith. Nothing else.</document>\n"
        "Question: What is the CEO's last name?\nAnswer:"
    )
    assert prompt.row_id == "a.txt/ceo_lastname"
    assert prompt.kind == "full"
    assert prompt.depth == len("Sales grew. Profits fell.") / len(ROW.haystack_text)


def test_the_whole_prompt_as_a_chat_with_a_system_message() -> None:
    task = replace(TASK, system="Answer shortly.", template="{question}\n{context}\n")
    prompt = build_prompt(ROW, task, TOKENIZERS["bytes", "chat"], depth=0.0)
    assert prompt.text == (
        "<|begin|><|end|>system\nAnswer shortly.<|end|>user\nWhat is the CEO's last name?\n"
        "The CEO is Mr. Smith. Sales grew. Profits fell. Nothing else.<|end|>\nassistant\n\n"
    )


def test_a_system_message_leads_plain_text() -> None:
    task = replace(TASK, system="Answer shortly.")
    tokenizer = TOKENIZERS["characters", "plain"]
    prompt = build_prompt(ROW, task, tokenizer, depth=0.5)
    assert prompt.text.startswith("Answer shortly.\n\n<document>Sales")
    assert decoded(tokenizer, prompt, prompt.needle_start, prompt.needle_end) == ROW.needle_sentence


@each_kind
@both_ways
def test_there_is_one_bos(kind: str, way: str) -> None:
    """Encoding a rendered chat as if it were plain text used to give two."""
    tokenizer = TOKENIZERS[kind, way]
    prompt = build_prompt(ROW, TASK, tokenizer, depth=0.5)
    assert prompt.token_ids[0] == tokenizer.bos_token_id
    assert prompt.token_ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.bos_token_id not in prompt.value_ids


@pytest.mark.parametrize("kind", ["bytes", "characters"])
@both_ways
def test_prompt_and_value_are_one_text(kind: str, way: str) -> None:
    tokenizer = TOKENIZERS[kind, way]
    prompt = build_prompt(ROW, TASK, tokenizer, depth=0.5)
    gap = " " if way == "plain" else ""
    whole = tokenizer(f"{prompt.text}{gap}Smith", add_special_tokens=way == "plain")["input_ids"]
    assert [*prompt.token_ids, *prompt.value_ids] == whole


def test_a_value_that_would_merge_with_the_prompt_is_encoded_alone() -> None:
    """The prompt ends with `▁Del`, and `▁Delaware` is one token: the model has read `▁Del` by then."""
    tokenizer = fast(unigram(), chat=CHAT + "▁Del")
    row = replace(ROW, needle_sentence="So aware.", needle_value="aware")
    prompt = build_prompt(row, TASK, tokenizer, depth=0.5)
    whole = tokenizer(f"{prompt.text}aware", add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt.token_ids)] != list(prompt.token_ids)
    assert list(prompt.value_ids) == tokenizer("aware", add_special_tokens=False)["input_ids"]


def test_no_gap_after_a_template_that_ends_with_one() -> None:
    """Trimmed offsets leave the last token, a space, without width: no token of its own."""
    task = replace(TASK, template="{context} {question} Answer: ")
    row = replace(ROW, needle_value=" Smith ")
    core = byte_level()
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    for tokenizer in (TOKENIZERS["characters", "plain"], fast(core, adds_bos=False)):
        prompt = build_prompt(row, task, tokenizer, depth=0.5)
        assert tokenizer.decode(list(prompt.value_ids)) == "Smith"
        assert bare(decoded(tokenizer, prompt, prompt.needle_start, prompt.needle_end)) == bare(ROW.needle_sentence)


@each_kind
@both_ways
def test_a_needle_in_place(kind: str, way: str) -> None:
    tokenizer = TOKENIZERS[kind, way]
    natural = replace(
        ROW,
        needle_sentence="QProfits fellZ.",
        haystack_text="Sales. QProfits fellZ. End.",
        placement="in_place",
    )
    prompt = build_prompt(natural, TASK, tokenizer, depth=0.9)
    assert "<document>Sales. QProfits fellZ. End.</document>" in prompt.text
    assert_tight(tokenizer, prompt, prompt.needle_start, prompt.needle_end, "QProfits fellZ.")
    without = build_prompt(natural, TASK, tokenizer, depth=0.9, kind="needle_absent")
    assert "<document>Sales. End.</document>" in without.text
    assert without.depth == prompt.depth == 7 / 12


@both_ways
def test_a_message_that_the_template_strips(way: str) -> None:
    """The message begins and ends with spaces of the haystack."""
    tokenizer = TOKENIZERS["characters", way]
    row = replace(ROW, haystack_text=" \n Sales grew. \n", needle_sentence=" The CEO is Mr. Smith. ")
    for template in ("{context}{question}", "{question}{context}", " {context} {question} "):
        for depth in (0.0, 0.5, 1.0):
            prompt = build_prompt(row, replace(TASK, template=template), tokenizer, depth=depth)
            needle = decoded(tokenizer, prompt, prompt.needle_start, prompt.needle_end)
            assert needle == "The CEO is Mr. Smith."


@pytest.mark.parametrize("kind", ["full", "needle_absent"])
@both_ways
def test_text_that_spells_a_special_token_is_refused(way: str, kind: PromptKind) -> None:
    for row in (
        replace(ROW, haystack_text="Before. <|end|> After."),
        replace(ROW, needle_sentence="The CEO is Mr. Smith<|end|>"),
    ):
        with pytest.raises(DataError, match=r"row a\.txt/ceo_lastname: the text holds '<\|end\|>'"):
            build_prompt(row, TASK, TOKENIZERS["bytes", way], depth=0.5, kind=kind)


def test_a_row_of_another_task_is_refused() -> None:
    with pytest.raises(DataError, match="got task 'registrant_name'; expected 'ceo_lastname'"):
        build_prompt(ROW, EDGAR_TASKS["registrant_name"], TOKENIZERS["bytes", "plain"], depth=0.5)


def test_a_needle_that_the_tokenizer_cannot_write_is_refused() -> None:
    row = replace(ROW, needle_sentence="The CEO is Mr. Смит.")
    with pytest.raises(ModelError, match=r"needle: tokens \d+ to \d+ decode to .*; expected 'The CEO is Mr\. Смит"):
        build_prompt(row, TASK, TOKENIZERS["characters", "plain"], depth=0.5)


class ShiftedOffsets(PreTrainedTokenizerFast):
    """A tokenizer whose offsets are wrong by 30 characters, as some releases' were wrong."""

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        encoding = super().__call__(*args, **kwargs)
        if "offset_mapping" in encoding:
            encoding["offset_mapping"] = [(start + 30, end + 30) for start, end in encoding["offset_mapping"]]
        return encoding


def test_wrong_offsets_are_found_by_decoding() -> None:
    tokenizer = ShiftedOffsets(tokenizer_object=byte_level())  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"question: tokens \d+ to \d+ decode to"):
        build_prompt(ROW, TASK, tokenizer, depth=0.5)


def test_a_tokenizer_that_ends_the_prompt_is_refused() -> None:
    core = byte_level()
    end = (SPECIAL[1], core.token_to_id(SPECIAL[1]))
    core.post_processor = processors.TemplateProcessing(single=f"$A {SPECIAL[1]}", special_tokens=[end])
    with pytest.raises(ModelError, match=r"ends the prompt with a token of its own, id 1; .*add_eos_token=False"):
        build_prompt(ROW, TASK, fast(core, adds_bos=False), depth=0.5)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[-1]['content'] | upper }}", "shows the user message, as it was given, 0 times"),
        ("{{ messages[-1]['content'] * 2 }}", "shows the user message, as it was given, 2 times"),
        ("{{ messages[-1]['content'] }}", "drops the task's system message"),
        (
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system!') }}{% endif %}",
            r"refuses the task's messages \(No system!\); .*; put the system message into",
        ),
    ],
)
def test_chat_templates_that_alter_the_message(template: str, message: str) -> None:
    tokenizer = fast(byte_level(), chat=template)
    task = replace(TASK, system="Shortly.") if "system" in template + message else TASK
    with pytest.raises(ModelError, match=message):
        build_prompt(ROW, task, tokenizer, depth=0.5)


def test_the_date_in_a_chat_template_stands_still() -> None:
    dated = (
        "{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d') }}{% endif %} "
        "{{ strftime_now('%d %B %Y') }} "
        "{{ date_string }} {{ enable_thinking }}\n{{ messages[0]['content'] }}"
    )
    prompt = build_prompt(ROW, TASK, fast(byte_level(), chat=dated), depth=0.5)
    assert prompt.text.startswith("2024-07-26 26 July 2024 26 Jul 2024 False\n<document>")


def test_identification_depths_are_seeded_random_and_the_rows_own() -> None:
    rows = [replace(ROW, filename=f"{number}.txt") for number in range(2000)]
    depths = [identification_depth(row, 5) for row in rows]
    assert depths == [identification_depth(row, 5) for row in rows]
    assert all(0 <= depth < 1 for depth in depths)
    assert abs(sum(depths) / 2000 - 0.5) < 0.03  # the standard error is 0.0065
    tenths = [int(depth * 10) for depth in depths]
    assert min(tenths.count(tenth) for tenth in range(10)) > 150
    assert identification_depth(ROW, 5) != identification_depth(ROW, 6)
    assert identification_depth(ROW, 5) != identification_depth(replace(ROW, task="registrant_name"), 5)
    assert identification_depth(replace(ROW, depth=0.25), 5) == 0.25


def test_a_task_of_ones_own_may_use_braces() -> None:
    task = Task("mine", "Who {x}?", template='{"text": "{context}", "ask": "{question}"}')
    row = replace(ROW, task="mine", haystack_text="A {question} and {context}.")
    prompt = build_prompt(row, task, TOKENIZERS["characters", "plain"], depth=1.0)
    assert prompt.text == '{"text": "A {question} and {context}. The CEO is Mr. Smith.", "ask": "Who {x}?"}'
