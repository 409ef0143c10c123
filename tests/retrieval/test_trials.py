"""A trial's two prompts, and what judges its answer."""

from dataclasses import replace

from tiny_models import tiny_tokenizer

from harness.demo.filings import demo_rows
from harness.retrieval.prompts import build_prompt, identification_depth
from harness.retrieval.rows import Row
from harness.retrieval.tasks import EDGAR_TASKS, Task
from harness.retrieval.trials import NULL_QUERY, Trial, build_trial

ROW = next(row for row in demo_rows(1, n_sentences=3) if row.task == "incorporation_year")
TASK = EDGAR_TASKS[ROW.task]


def build(row: Row = ROW, task: Task = TASK, *, null_query: bool = True) -> Trial:
    return build_trial(
        row, task, tiny_tokenizer(), seed=5, insertion="sentence", max_new_tokens=7, null_query=null_query
    )


def test_the_prompt_is_the_rows_at_its_identification_depth() -> None:
    trial = build(null_query=False)
    assert trial.prompt == build_prompt(ROW, TASK, tiny_tokenizer(), depth=identification_depth(ROW, 5))
    assert (trial.value, trial.compare, trial.max_new_tokens) == (ROW.needle_value, "number", 7)
    assert trial.null_prompt is None


def test_the_null_prompt_differs_in_the_question_alone() -> None:
    trial = build()
    assert trial.null_prompt is not None
    assert trial.null_prompt.text == trial.prompt.text.replace(TASK.question, NULL_QUERY)
    start = trial.prompt.question_start
    assert trial.null_prompt.token_ids[:start] == trial.prompt.token_ids[:start]
    needle = slice(trial.prompt.needle_start, trial.prompt.needle_end)
    assert trial.null_prompt.token_ids[needle] == trial.prompt.token_ids[needle]
    asked = trial.null_prompt.token_ids[trial.null_prompt.question_start : trial.null_prompt.question_end]
    assert tiny_tokenizer().decode(list(asked)) == NULL_QUERY


def test_templates_and_system_messages_are_kept() -> None:
    task = replace(TASK, template="{question}\n\n{context}\n\nAnswer", system="Be brief.")
    trial = build(task=task)
    assert trial.null_prompt is not None
    assert trial.null_prompt.text.startswith(f"Be brief.\n\n{NULL_QUERY}\n\n")
