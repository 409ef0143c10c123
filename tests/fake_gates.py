"""Samples of a gate that never ran: who is right under which condition, said in letters."""

from collections.abc import Mapping

from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.gate_conditions import Gate, Part, Reach
from harness.experiment.heads import Head
from harness.experiment.plan import covers
from harness.findings.samples import Fault, Sample, TextSample
from harness.findings.verdicts.gate_results import Known
from harness.findings.verdicts.gate_samples import Answers, rows_of
from harness.retrieval.rows import Row

TASKS = ("city", "year")
N_CONTROLS, N_PERMUTATIONS = 2, 19


def make_rows(n_filings: int) -> tuple[Row, ...]:
    """A row of either task in each filing."""
    return tuple(
        Row(f"f{i:02d}", task, f"The {task} is 7.", "7", "Nothing here.") for i in range(n_filings) for task in TASKS
    )


def drawn(experiment: str, number: int, head: Head, task: str) -> Condition:
    """One of a gate's draws for a task's own head."""
    is_control = experiment == "random_control"
    return Condition(
        experiment,
        f"own:{task}-{'seed' if is_control else 'draw'}{number}-k01",
        (head,),
        (task,),
        k=1,
        seed=number,
        random_match="layer" if is_control else None,
        mismatches=number if is_control else None,
        controls_for=f"within_task[{task}-k01]",
        gate="own",
        only_right=not is_control,
    )


OWN = tuple(
    Part(
        (Condition("within_task", f"{task}-k01", (Head(0, i),), tasks=(task,), k=1, source_task=task),),
        tuple((drawn("random_control", d, Head(1 + d, i), task),) for d in range(N_CONTROLS)),
        tuple((drawn("permutation", d, Head(0, 2 + d + i), task),) for d in range(N_PERMUTATIONS)),
    )
    for i, task in enumerate(TASKS)
)
GATE = Gate("own", (1,), OWN, Reach(layers=1, n_sets=992, held=0.03, one_head_p=0.05))
SOUND = Known(candidates=(), leaked_filings=0)


def sample(condition: Condition, row: Row, match: bool, faults: tuple[Fault, ...] = ()) -> Sample:
    return Sample(
        condition=condition.name,
        row=row.id,
        filename=row.filename,
        cluster=row.cluster_name,
        task=row.task,
        depth=None,
        value=row.needle_value,
        completion="7" if match else "8",
        match=match,
        published_match=match,
        ended=True,
        tokens=1,
        gold_logprob=-1.0,
        baseline_logprob=-1.0,
        faults=faults,
        own={},
    )


def make_answers(
    gate: Gate, rows: tuple[Row, ...], right: Mapping[str, str], texts: Mapping[str, float | None]
) -> Answers:
    """right: by a condition's name one letter a row of its tasks: + right, - wrong, . no sample; else all right.

    As in a run, permutations have no samples of the rows that are answered wrongly untouched.

    texts: by the name of a condition over plain text its log-probability a token, else -2; `None` for no sample.
    """
    samples, text_samples = [], []
    before = right.get(BASELINE.name, "+" * len(rows))
    wrong = {row.id for row, letter in zip(rows, before, strict=True) if letter == "-"}
    for condition in gate.conditions:
        covered = rows_of(condition, rows)
        if condition.prompt == "plain_text":
            value = texts.get(condition.name, -2.0)
            if value is not None:
                text_samples += [TextSample(condition.name, row.id, row.filename, value) for row in covered]
            continue
        usual = "-" if condition == NEEDLE_ABSENT else "+"
        letters = right.get(condition.name, usual * len(covered))
        samples += [
            sample(condition, row, letter == "+")
            for row, letter in zip(covered, letters, strict=True)
            if letter != "." and covers(condition, row, wrong)
        ]
    return Answers.of(samples, text_samples)
