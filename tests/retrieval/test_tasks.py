"""Tasks: the nine of the study, a user's own from TOML, and what a bad file says."""

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.retrieval.tasks import DEFAULT_TEMPLATE, EDGAR_TASKS, Task, load_tasks, select_tasks

FULL = """
[[task]]
id = "auditor"
question = "Who is the auditor?"

[[task]]
id = "shares_2"
question = "How many shares?"
compare = "number"
template = "{question} {context} {json}"
system = "Answer shortly."
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tasks.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_nine_tasks_of_the_study() -> None:
    assert list(EDGAR_TASKS) == [
        "registrant_name",
        "headquarters_city",
        "headquarters_state",
        "incorporation_state",
        "incorporation_year",
        "employees_count_total",
        "holder_record_amount",
        "employees_count_full_time",
        "ceo_lastname",
    ]
    numbers = [task.id for task in EDGAR_TASKS.values() if task.compare == "number"]
    assert numbers == [
        "incorporation_year",
        "employees_count_total",
        "holder_record_amount",
        "employees_count_full_time",
    ]
    assert {task.template for task in EDGAR_TASKS.values()} == {DEFAULT_TEMPLATE}
    assert all(name == task.id for name, task in EDGAR_TASKS.items())
    assert EDGAR_TASKS["ceo_lastname"].question == "What is the CEO's last name?"


def test_own_tasks(tmp_path: Path) -> None:
    assert load_tasks(write(tmp_path, FULL)) == {
        "auditor": Task("auditor", "Who is the auditor?"),
        "shares_2": Task("shares_2", "How many shares?", "number", "{question} {context} {json}", "Answer shortly."),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[task]", "expected TOML with"),
        ("", r"got no \[\[task\]\]; expected"),
        ("task = 3", r"got no \[\[task\]\]; expected"),
        ("task = [3]", "task 1: got 3; expected a table"),
        ("[[tasks]]\nid='a'", r"got 'tasks'; expected \[\[task\]\]"),
        ("[[task]]\nid='a'\nquestion='b'\nprompt='c'", "task 1: got key 'prompt'; expected id, question"),
        ("[[task]]\nid='a'", "task 1: got no 'question'"),
        ("[[task]]\nquestion='a'", "task 1: got no 'id'"),
        ("[[task]]\nid=3\nquestion='b'", "task 1: id: got 3; expected text"),
        ("[[task]]\nid='A b'\nquestion='b'", "task 1: task id: got 'A b'; expected lower-case"),
        ("[[task]]\nid='a'\nquestion=' '", "task 1: task a: question: got ''; expected text"),
        (
            "[[task]]\nid='a'\nquestion='b'\ntemplate='{context}'",
            "task a: template: got 0 times {question}; expected it once",
        ),
        (
            "[[task]]\nid='a'\nquestion='b'\ntemplate='{context}{context}{question}'",
            "task a: template: got 2 times {context}; expected it once",
        ),
        (
            "[[task]]\nid='a'\nquestion='b'\ncompare='float'",
            "compare: got 'float'; expected one of text, number",
        ),
        ("[[task]]\nid='ceo_lastname'\nquestion='b'", "task 1: got id 'ceo_lastname', which is a built-in task's"),
        ("[[task]]\n" + "a." * 50_000 + "b = 1", "line 2: a key of more than 200 parts with dots between"),
        ("[[task]]\n[" + '"a" . ' * 50_000 + "b]", "line 2: a key of more than 200 parts with dots between"),
        ("a = " + "[" * 50_000, "nested too deeply"),
        ("a = " + "9" * 5000, "too long a number"),
        ("[[task]]\nid='a'\nquestion='b'\nsystem=' '", "task a: system: got no text"),
        ("[[task]]\nid='a'\nquestion='b'\n[[task]]\nid='a'\nquestion='c'", "task 2: got id 'a' again"),
    ],
)
def test_a_bad_file_gives_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        load_tasks(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_tasks(tmp_path / "none.toml")
    path = tmp_path / "tasks.toml"
    path.write_bytes(b"# \xff")
    with pytest.raises(DataError, match="byte 2: broken UTF-8"):
        load_tasks(path)


def test_selection_keeps_the_asked_order_and_lists_what_is_known() -> None:
    assert list(select_tasks(EDGAR_TASKS, ["ceo_lastname", "registrant_name"])) == [
        "ceo_lastname",
        "registrant_name",
    ]
    with pytest.raises(DataError, match=r"got 'ceo'; expected one or more of registrant_name, .*ceo_lastname"):
        select_tasks(EDGAR_TASKS, ["registrant_name", "ceo"])
    with pytest.raises(DataError, match="got none"):
        select_tasks(EDGAR_TASKS, [])
