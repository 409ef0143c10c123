"""Validity: what else an ablation broke, if it broke more than retrieval.

Lost retrieval and a broken model both answer wrongly. What tells them apart: how likely the model still finds plain
text that nothing asks it to look up, and how many of its completions are degenerate. Knows nothing of verdicts.
"""

from collections.abc import Sequence

from harness.experiment.conditions import BASELINE
from harness.experiment.gate_conditions import PLAIN_TEXT, TEXT_CONTROLS, Gate, over_plain_text
from harness.findings.verdicts.gate_samples import Answers, complete_rows, rows_of
from harness.findings.verdicts.verdict_data import Damage, DegenerateShares, PlainText
from harness.retrieval.rows import Row

BROKEN_TEXT = 0.5
"""Nats a token that plain text may become less likely (its perplexity 1.65 times as high) before a model counts as
broken. A convention, as is the next one."""
BROKEN_OUTPUTS = 0.25
"""The part of completions by which degenerate ones may rise before a model counts as broken."""


def plain_text(gate: Gate, rows: Sequence[Row], answers: Answers) -> PlainText | None:
    """How likely plain text is, a token, untouched; and how that changes under the heads and under some controls."""
    n_controls = min(TEXT_CONTROLS, gate.n_controls)
    untouched: list[float] = []
    changes: list[list[float]] = [[] for _ in range(1 + n_controls)]
    filings = set()
    for part in gate.parts:
        sets = (part.largest, *(nested[-1] for nested in part.controls[:n_controls]))
        needed = [PLAIN_TEXT, *map(over_plain_text, sets)]
        for row in rows_of(part.largest, rows):
            if all(answers.has(condition, row.id) for condition in needed):
                before, *after = (answers.texts[condition.name][row.id].per_token for condition in needed)
                untouched.append(before)
                filings.add(row.cluster_name)
                for change, value in zip(changes, after, strict=True):
                    change.append(value - before)
    if not untouched:
        return None
    n = len(untouched)
    judged, *controls = (sum(change) / n for change in changes)
    return PlainText(
        n=n, filings=len(filings), untouched=sum(untouched) / n, change=judged, control_changes=tuple(controls)
    )


def degenerate_shares(gate: Gate, rows: Sequence[Row], answers: Answers) -> DegenerateShares | None:
    """The parts of completions that are degenerate: untouched, under the heads, and under the controls in the mean.

    Where several k are judged, at the largest.
    """
    counts = [0, 0, 0]
    n = 0
    for part in gate.parts:
        for row in complete_rows(gate, part, rows, answers):
            n += 1
            faults = [
                bool(answers.samples[condition.name][row.id].faults)
                for condition in (BASELINE, part.largest, *(nested[-1] for nested in part.controls[: gate.n_controls]))
            ]
            counts = [counts[0] + faults[0], counts[1] + faults[1], counts[2] + sum(faults[2:])]
    if not n:
        return None
    untouched, judged, controls = counts
    return DegenerateShares(untouched=untouched / n, judged=judged / n, controls=controls / (n * gate.n_controls))


def damage(share: float | None, margin: float, text: PlainText | None, degenerate: DegenerateShares | None) -> Damage:
    """What the heads took from the model: answers alone, its language, nothing beyond the margin, or one cannot say.

    share: of the right answers, what the heads cost.
    """
    if share is None or text is None or degenerate is None:
        return "unknown"
    if how_broken(text, degenerate) is not None:
        return "broken model"
    return "lost answers" if share > margin else "none"


def how_broken(text: PlainText | None, degenerate: DegenerateShares | None) -> str | None:
    """In words, how the heads break the model; `None` where they do not, or where that is unknown."""
    ways = []
    if text is not None and text.change < -BROKEN_TEXT:
        ways.append(f"plain text {text.change:+.2f} nats a token")
    if degenerate is not None and degenerate.judged - degenerate.untouched > BROKEN_OUTPUTS:
        ways.append(f"{degenerate.judged:.0%} of its completions degenerate, {degenerate.untouched:.0%} untouched")
    return ", ".join(ways) or None
