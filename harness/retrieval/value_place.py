"""The value's place: which tokens of a completion say the value that was asked for.

A model that answers in sentences says the value somewhere in them. The place is found in the text by rule `value`
(`harness.retrieval.scoring.value_span`), and its tokens by what each adds to the text. Knows nothing of models.
"""

from collections.abc import Callable, Iterable, Sequence

from harness.retrieval.scoring import Compare, value_span

Decode = Callable[[list[int]], str]
"""From token ids to the text that is scored."""


def value_tokens(
    token_ids: Sequence[int], value: str, compare: Compare, decode: Decode, others: Iterable[str] = ()
) -> tuple[int, int] | None:
    """The half-open tokens that the value's first place in the completion has; `None` where it does not say the value.

    `others` are other values of the task, as `matches_value` takes them.

    Every token that brings one of the value's characters counts, with what else it brings (a space before it). A
    character of several tokens belongs to all of them.

    Raises:
        DataError: the value has nothing to find.
    """
    text = decode(list(token_ids))
    span = value_span(text, value, compare, others)
    if span is None:
        return None
    start, end = span
    said = [decode(list(token_ids[:n])) for n in range(1, len(token_ids) + 1)]
    # a letter that is not complete yet decodes to another sign: it has begun, and is not said
    first = next(index for index, so_far in enumerate(said) if len(so_far) > start)
    last = next(index for index, so_far in enumerate(said) if _in_common(so_far, text) >= end)
    return first, last + 1


def _in_common(text: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
