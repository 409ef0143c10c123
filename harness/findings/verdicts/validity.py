"""Validity: what else an ablation broke, if it broke more than retrieval.

Lost retrieval and a broken model both answer wrongly. What tells them apart: how likely the model still finds plain
text that nothing asks it to look up, and how many of its completions are degenerate. Knows nothing of verdicts.
"""

from collections.abc import Sequence

from harness.experiment.conditions import BASELINE
from harness.experiment.gate_conditions import PLAIN_TEXT, Gate, over_plain_text
from harness.findings.verdicts.gate_samples import Answers, rows_of
from harness.findings.verdicts.verdict_data import Damage, DegenerateShares, PlainText
from harness.retrieval.rows import Row

BROKEN_TEXT = 0.5
"""Nats a token that plain text may become less likely (its perplexity 1.65 times as high) before a model counts as
broken. A convention, as is the next one."""
BROKEN_OUTPUTS = 0.25
"""The part of completions by which degenerate ones may rise before a model counts as broken."""


def plain_text(gate: Gate, rows: Sequence[Row], answers: Answers) -> PlainText | None:
    """How likely plain text is, a token, untouched; and how that changes under the heads and under each draw."""
    untouched: list[float] = []
    changes: list[list[float]] = [[] for _ in range(1 + gate.n_draws)]
    filings = set()
    for part in gate.parts:
        needed = [PLAIN_TEXT, *(over_plain_text(each) for each in (part.retrieval, *part.controls[: gate.n_draws]))]
        for row in rows_of(part.retrieval, rows):
            if all(answers.has(condition, row.id) for condition in needed):
                before, *after = (answers.texts[condition.name][row.id].per_token for condition in needed)
                untouched.append(before)
                filings.add(row.cluster_name)
                for change, value in zip(changes, after, strict=True):
                    change.append(value - before)
    if not untouched:
        return None
    n = len(untouched)
    retrieval, *draws = (sum(change) / n for change in changes)
    return PlainText(
        n=n, filings=len(filings), untouched=sum(untouched) / n, change=retrieval, draw_changes=tuple(draws)
    )


def degenerate_shares(gate: Gate, rows: Sequence[Row], answers: Answers) -> DegenerateShares | None:
    """The parts of completions that are degenerate: untouched, under the heads, and under the draws in the mean."""
    counts = [0, 0, 0]
    n = 0
    for part in gate.parts:
        controls = part.controls[: gate.n_draws]
        for row in rows_of(part.retrieval, rows):
            if all(answers.has(condition, row.id) for condition in (BASELINE, part.retrieval, *controls)):
                n += 1
                counts[0] += bool(answers.samples[BASELINE.name][row.id].faults)
                counts[1] += bool(answers.samples[part.retrieval.name][row.id].faults)
                counts[2] += sum(bool(answers.samples[control.name][row.id].faults) for control in controls)
    if not n:
        return None
    untouched, retrieval, draws = counts
    return DegenerateShares(untouched=untouched / n, retrieval=retrieval / n, draws=draws / (n * gate.n_draws))


def damage(drop: float | None, margin: float, text: PlainText | None, degenerate: DegenerateShares | None) -> Damage:
    """What the heads took from the model: retrieval alone, its language, nothing, or one cannot say."""
    if drop is None or text is None or degenerate is None:
        return "unknown"
    if text.change < -BROKEN_TEXT or degenerate.retrieval - degenerate.untouched > BROKEN_OUTPUTS:
        return "broken model"
    return "lost retrieval" if drop > margin else "none"
