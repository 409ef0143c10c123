"""Chat templates: a task's messages as one text, up to the point where the model answers.

A template may take arguments beside the messages (`enable_thinking`, `reasoning_effort`). Thinking is off where it
asks, and the date stands still; users may say otherwise. A template that leaves a thought open all the same is refused:
the model would think, not answer, in the few tokens that an answer has.

What somebody else wrote may compute for ever, so its time is limited. What is counted is the time that this process
computes, not how long it waits, so that a busy machine changes nothing. Only the main thread can be interrupted;
elsewhere there is no limit.

Knows nothing of rows, nor of the text between the messages.
"""

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType, MappingProxyType
from typing import Any, Protocol

from harness.errors import ModelError
from harness.retrieval.scoring import END_OF_THOUGHT, THOUGHT

# Some chat templates print today's date, but prompts must not change by the day: some take a `date_string`,
# others call `strftime_now`, which this macro hides from them.
_FIXED_DATE = (
    "{% macro strftime_now(format) %}{{ format|replace('%Y', '2024')|replace('%m', '07')|replace('%d', '26')"
    "|replace('%B', 'July')|replace('%b', 'Jul') }}{% endmacro %}"
)
THINKING = "enable_thinking"
"""The argument by which templates turn a model's thinking on and off."""
USUAL = MappingProxyType[str, object]({THINKING: False, "date_string": "26 Jul 2024"})
"""What every template is given, unless the user says otherwise."""

TEMPLATE_SECONDS = 5.0
"""How long a template may compute; a sound one takes milliseconds."""

_PYTHONS = {"True": True, "False": False, "None": None}


class ChatTokenizer(Protocol):
    """The part of a tokenizer that renders conversations."""

    chat_template: Any

    def get_chat_template(self) -> Any:
        """The chat template's text."""
        ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        chat_template: str,
        tokenize: bool,
        add_generation_prompt: bool,
        **arguments: Any,
    ) -> Any:
        """The conversation as one text; `arguments` are variables that the template may use."""
        ...


def read_arguments(entries: Sequence[str]) -> dict[str, object]:
    """The arguments that `NAME=VALUE` entries give: a value is JSON or Python's `False`, else a text."""
    return {name.strip(): _value(value.strip()) for name, _, value in (entry.partition("=") for entry in entries)}


def render_chat(
    message: str, system: str | None, tokenizer: ChatTokenizer, arguments: Mapping[str, object], where: str
) -> tuple[str, int]:
    """A user message after a system message, if there is one, as the text of a prompt; and where it begins there.

    Templates may strip the message: then it "begins" where it would have, had its spaces been kept.

    Raises:
        ModelError: the template refuses, drops or alters a message, does not use an argument, or leaves a thought open
            though nobody asked for thinking.
    """
    template = str(tokenizer.get_chat_template())
    _check_arguments(arguments, template)
    text = _rendered(message, system, tokenizer, {**USUAL, **arguments}, where)
    if system is not None and system.strip() not in text:
        raise ModelError(
            f"{where}: the chat template drops the task's system message; "
            "expected it in the prompt; put its words into the task's template instead"
        )
    kept = message.strip()
    if (found := text.count(kept)) != 1:
        raise ModelError(
            f"{where}: the chat template shows the user message, as it was given, {found} times; "
            "expected it once; correct the chat template, or take it away to use plain text"
        )
    start = text.index(kept)
    if arguments.get(THINKING) is not True and THOUGHT in text[start + len(kept) :].rpartition(END_OF_THOUGHT)[2]:
        raise ModelError(
            f"{where}: the chat template leaves {THOUGHT} open: the model would think aloud in place of answering; "
            "expected a closed thought, or none; if the template has a switch, name it with --ablation-template "
            f"NAME=VALUE; or let the model think: --ablation-template {THINKING}=true, and --ablation-max-new-tokens "
            f"large enough for thought and answer: what follows {END_OF_THOUGHT} is scored"
        )
    return text, start - message.index(kept)


def _rendered(
    message: str, system: str | None, tokenizer: ChatTokenizer, arguments: Mapping[str, object], where: str
) -> str:
    conversation = [{"role": "user", "content": message}]
    if system is not None:
        conversation.insert(0, {"role": "system", "content": system})
    template = str(tokenizer.get_chat_template())
    try:
        with within(TEMPLATE_SECONDS):
            text = tokenizer.apply_chat_template(
                conversation,
                chat_template=_FIXED_DATE + template if "strftime_now" in template else template,
                tokenize=False,
                add_generation_prompt=True,
                **arguments,
            )
    except OutOfTimeError:
        raise ModelError(
            f"{where}: the chat template computes for more than {TEMPLATE_SECONDS:g} s over the task's messages; "
            "expected one without endless loops; correct it, or take it away to use plain text"
        ) from None
    except Exception as error:  # whatever its author wrote there
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = "correct it" if system is None else "put the system message into the task's template"
        raise ModelError(
            f"{where}: the chat template refuses the task's messages ({reason}); expected it to take them; {advice}"
        ) from None
    return str(text)


def _check_arguments(arguments: Mapping[str, object], template: str) -> None:
    """Raise a ModelError for an argument that the template has no use for: it would change nothing, in silence."""
    for name in arguments.keys() - USUAL.keys():
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise ModelError(
                f"template argument {name!r}: the chat template does not use it; expected one that it does; read the "
                "model's chat template, or leave the argument out of --ablation-template"
            )


def _value(text: str) -> object:
    if text in _PYTHONS:
        return _PYTHONS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class OutOfTimeError(Exception):
    """It took longer than it may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in what is done here once it has computed for so long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
