"""Plain text: the beginning of a row's own haystack, for a model to go on with, nothing asked.

How likely a model finds text that it need not look up says whether an ablation took retrieval away, or the model's
language altogether. The needle is left out, and no chat template is put around the text. Knows nothing of models; the
tokenizer is an argument.
"""

from harness.errors import DataError
from harness.retrieval.placement import place_needle
from harness.retrieval.prompts import Prompt, PromptKind, Tokenizer
from harness.retrieval.rows import Row

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
    document = place_needle(row, depth=0.0, keep=False).document
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
