"""Chat templates: their arguments, and thoughts left open. How messages stand in prompts, `test_prompts` says."""

import copy
import signal
import threading
import time
from collections.abc import Mapping

import pytest
from tiny_models import tiny_tokenizer

import harness.retrieval.chat_templates
from harness.errors import ModelError
from harness.retrieval.chat_templates import ChatTokenizer, OutOfTimeError, read_arguments, render_chat, within

SWITCH = "{{ messages[-1]['content'] }}\n<think>{% if not enable_thinking %}</think>{% endif %}"
"""As Qwen3's: thinking off is a thought closed at once."""
ALWAYS = "{{ messages[-1]['content'] }}<answer><think>\n"
"""As DeepSeek-R1's: it cannot be turned off."""


def with_template(template: str) -> ChatTokenizer:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


def rendered(template: str, arguments: Mapping[str, object], message: str = "Who?") -> str:
    text, start = render_chat(message, None, with_template(template), arguments, "row a")
    assert text[start:].startswith(message)
    return text


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("a=false", False),
        ("a=False", False),
        ("a = True", True),
        ("a=None", None),
        ("a=null", None),
        ("a=2", 2),
        ("a=0.5", 0.5),
        ("a=low", "low"),
        ('a="2"', "2"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=[1, 2]", [1, 2]),
    ],
)
def test_arguments_are_json_or_python_or_text(entry: str, value: object) -> None:
    found = read_arguments([entry])
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_arguments_reach_the_template() -> None:
    template = "{{ effort }} {{ enable_thinking }} {{ date_string }}: {{ messages[0]['content'] }}"
    assert rendered(template, {"effort": "low"}) == "low False 26 Jul 2024: Who?"
    assert rendered(template, {"enable_thinking": True, "date_string": "today"}) == " True today: Who?"


def test_thinking_is_off_where_a_template_asks() -> None:
    assert rendered(SWITCH, {}) == "Who?\n<think></think>"
    assert rendered(SWITCH, {"enable_thinking": True}) == "Who?\n<think>", "it was asked for"


@pytest.mark.parametrize("template", [ALWAYS, "{{ messages[-1]['content'] }}<think>a</think>b<think>"])
def test_a_thought_that_is_left_open_is_refused(template: str) -> None:
    with pytest.raises(ModelError) as caught:
        rendered(template, {})
    said = str(caught.value)
    assert said.startswith("row a: the chat template leaves <think> open: the model would think aloud")
    assert "--ablation-template enable_thinking=true" in said
    assert "--ablation-max-new-tokens" in said
    assert "\n" not in said
    assert rendered(template, {"enable_thinking": True}).endswith(("<think>", "<think>\n"))


def test_a_message_may_speak_of_thinking() -> None:
    assert rendered("{{ messages[0]['content'] }}!", {}, "What is <think>?") == "What is <think>?!"


def test_an_argument_without_use_is_refused() -> None:
    with pytest.raises(ModelError, match=r"template argument 'efort': the chat template does not use it; expected one"):
        rendered("{{ effort }}{{ messages[0]['content'] }}", {"efort": "low"})


LOOP = "{% for _ in range(9999) %}"


def test_a_template_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.retrieval.chat_templates, "TEMPLATE_SECONDS", 0.1)
    with pytest.raises(ModelError, match=r"^row a: the chat template computes for more than"):
        rendered(3 * LOOP + 3 * "{% endfor %}", {})


@pytest.mark.parametrize(
    "template", ["{{ range(10 ** 9) }}", "{{ messages[7].content }}", "{{ 1 / 0 }}", "{{ messages.x() }}"]
)
def test_a_template_that_fails_in_any_way_is_one_line(template: str) -> None:
    """Jinja has errors of its own; what its author's expressions raise is any other."""
    with pytest.raises(ModelError, match=r"^row a: the chat template refuses the task's messages \(.+\); expected"):
        rendered(template, {})


def compute(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def test_what_computes_too_long_is_ended() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(OutOfTimeError), within(0.05):
        compute(600)
    assert signal.getsignal(signal.SIGVTALRM) is before
    compute(0.1)  # the clock is stopped


def test_what_is_quick_or_only_waits_is_not() -> None:
    with within(0.2):
        time.sleep(0.3)
    with pytest.raises(ZeroDivisionError), within(10.0):
        raise ZeroDivisionError


def test_another_thread_is_not_limited() -> None:
    ended = []

    def run() -> None:
        with within(0.001):
            compute(0.05)
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended
