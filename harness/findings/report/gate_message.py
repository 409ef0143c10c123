"""A gate in words: the message that is read at night, and the lines that open a session's summary.

Everything comes from the gate's part of the report; nothing is worked out here but which tasks do not pass alone.
"""

from collections.abc import Iterator, Sequence

from harness.errors import counted, plain
from harness.findings.report.report_data import ReportData
from harness.findings.verdicts.verdict_data import Check, Claim, GateResult, Kind
from harness.findings.wording import percent, points

HEADS = {"own": "each task's own heads", "shared": "the shared heads", "global": "the best heads over all rows"}
JUDGED = {"accuracy": "", "likelihood": "; judged by the probability of the right value, not by right answers"}


def not_alone(gate: GateResult) -> str | None:
    """Why a gate that each of its tasks has to pass alone does not pass, whatever its verdict; `None` where it does."""
    by_verdict = _tasks_by_verdict(gate)
    by_verdict.pop("pass", None)
    if not by_verdict:
        return None
    what = {"inconclusive": "inconclusive, which more clusters may decide"}
    others = "; ".join(f"{what.get(verdict, verdict)}: {', '.join(tasks)}" for verdict, tasks in by_verdict.items())
    return f"not every task passes alone, as --ablation-gate-tasks asks: {others}"


def gate_facts(gate: GateResult, alone: str | None = None) -> list[tuple[str, str]]:
    """All that a verdict rests on: what it is, and its figures in words; `alone` is one more reason why it is none."""
    margin, flat = (f"{part:.0%}{_of_the_right(gate, part)}" for part in (gate.margins.margin, gate.margins.flat))
    return [
        ("what", f"{HEADS[gate.heads]}, {_heads(gate)} ablated; {_rows(gate)}{JUDGED[gate.outcome]}"),
        (
            "untouched",
            f"{percent(gate.baseline)} right; {percent(gate.needle_absent)} with the needle left out; "
            f"{counted(gate.right, 'right answer')} rest on it",
        ),
        ("drop", f"{points(gate.drop)} by these heads; {_controls(gate)}"),
        (
            "difference",
            f"{points(gate.difference)} points, {percent(gate.share)} of the right answers, {_intervals(gate)}",
        ),
        ("(a)", _check(gate.above_margin, f"the interval's lower end is above the margin of {margin}", ">")),
        ("(b)", _rank(gate)),
        ("(c)", _check(gate.flat_control, f"controls cost at most {flat} in the mean", "<=")),
        ("draws", _permutations(gate)),
        *([] if gate.lowest is None else [("lowest", _lowest(gate))]),
        ("model", _model(gate)),
        ("tasks", _tasks(gate)),
        *(("why", reason) for reason in _reasons(gate, alone)),
        *([] if gate.split_known else [("note", "split unknown: the ranking does not say its filings")]),
        *(("note", note) for note in gate.notes),
    ]


def gate_message(gate: GateResult, *, report: str, again: str, each_task: bool = False) -> str:
    """All that a verdict rests on, a line each; where the report is, and the command that runs the gate again.

    `each_task` is whether each task has to pass alone.
    """
    alone = not_alone(gate) if each_task else None
    lines = [*gate_facts(gate, alone), ("report", report), ("again", again)]
    verdict = gate.verdict + ("; not each task alone" if alone and gate.verdict == "pass" else "")
    return "\n".join([f"{gate.name}: {verdict}", *(f"  {name:<11}{plain(text)}" for name, text in lines)])


def verdict_lines(report: ReportData) -> Iterator[tuple[Kind, str]]:
    """A line for each gate: its verdict, and the difference it rests on."""
    for gate in report.gates:
        yield _verdict_line(gate, _asked_alone(report, gate))


def gate_lines(report: ReportData) -> Iterator[tuple[Kind, str]]:
    """For each gate its verdict's line, one for each reason, and what else bears on it; then the gates together."""
    for gate in report.gates:
        alone = _asked_alone(report, gate)
        kind, line = _verdict_line(gate, alone)
        yield kind, line
        also = [] if gate.lowest is None or not gate.lowest.would_pass else [_lowest(gate)]
        for text in (*_reasons(gate, alone), _model(gate), *also, *gate.notes):
            yield kind, f"{'':<24} {text}"
    if report.claim is not None:
        held = [part.gate for part in report.claim.parts if part.holds]
        yield "pass" if held else "inconclusive", f"{'':<24} {claim_line(report.claim)}"


def claim_line(claim: Claim) -> str:
    """Which gates pass as parts of one claim, and the corrected p of those that do not."""
    held = [part.gate for part in claim.parts if part.holds]
    others = [
        f"{part.gate} (margin p {part.adjusted_p:.3f}, rank p {part.adjusted_rank_p:.2f})"
        for part in claim.parts
        if not part.holds
    ]
    said = f"needed: {', '.join(held) or 'none'}" + (f"; not shown: {', '.join(others)}" if others else "")
    return f"as one claim of {len(claim.parts)} gates, corrected: {said}"


def _verdict_line(gate: GateResult, alone: str | None) -> tuple[Kind, str]:
    difference = f"{points(gate.difference)} points over controls, {percent(gate.share)} {_interval(gate.interval)}"
    margins = f"margin {gate.margins.margin:.0%}, flat {gate.margins.flat:.0%}"
    line = f"{gate.name:<24} {gate.verdict:<12} {difference} of the right answers, {margins}; rank p {_p(gate.rank_p)}"
    line += "" if gate.outcome == "accuracy" else ", by likelihood"
    if alone is None or gate.verdict != "pass":
        return gate.verdict, line
    return "inconclusive", f"{line}; not each task alone"


def _asked_alone(report: ReportData, gate: GateResult) -> str | None:
    """`not_alone`, where the report's settings ask for it."""
    return not_alone(gate) if report.configuration.get("gate_tasks") else None


def _reasons(gate: GateResult, alone: str | None) -> list[str]:
    return [*gate.reasons, *([] if alone is None else [alone])]


def _rows(gate: GateResult) -> str:
    return f"{counted(gate.n, 'row')} of {counted(gate.clusters, 'cluster')}"


def _heads(gate: GateResult) -> str:
    fewest, most = gate.k_effective
    if len(gate.ks) > 1:
        return f"the mean over k = {', '.join(map(str, gate.ks))}"
    if fewest == most == gate.k:
        return f"k = {most}"
    there = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{there} (no more are ranked; {gate.k} were asked for)"


def _controls(gate: GateResult) -> str:
    drops = gate.control_drops
    if not drops:
        return "no controls"
    most = max(gate.mismatches, default=0)
    mismatched = f"; up to {most} of {gate.control_heads} heads from another layer" if most else ""
    spread = f"{points(min(drops))} to {points(max(drops))}"
    return f"{points(gate.control_drop)} by controls, other heads of their layers ({len(drops)}: {spread}{mismatched})"


def _intervals(gate: GateResult) -> str:
    df = "" if gate.df is None else f", {gate.df:.1f} degrees of freedom"
    return f"95 % interval {_interval(gate.interval)} (t{df}), bootstrap {_interval(gate.bca)}"


def _check(check: Check, what: str, sign: str) -> str:
    if check.value is None:
        return f"?    {what}: unknown"
    held = "yes" if check.holds else "no"
    instead = sign if check.holds else {">": "<=", "<=": ">"}[sign]
    return f"{held:<4} {what}: {percent(check.value)} {instead} {percent(check.bound)}"


def _rank(gate: GateResult) -> str:
    p, least, drop = gate.rank_p, gate.least_rank_p, gate.drop
    if p is None or least is None or drop is None:
        return "?    few permutations cost as much: unknown"
    n = len(gate.permutation_drops)
    as_much = round(p * (n + 1)) - 1
    held = "yes" if gate.unusual.holds else "no"
    sign = "<=" if gate.unusual.holds else ">"
    return (
        f"{held:<4} few permutations cost as much: {as_much} of {n}, p = {p:.3f} {sign} {_p(gate.unusual.bound)}; "
        f"{n} cannot give less than {least:.3f}"
    )


def _permutations(gate: GateResult) -> str:
    """What the permutations are, and what they can show."""
    of = gate.permuted
    within = "the model" if of.layers is None else "a layer" if of.layers == 1 else f"{of.layers} layers"
    number = f"{of.sets:,.0f}" if of.sets < 1e6 else f"{of.sets:.0e}"
    taken = ", all taken" if of.all_taken else ""
    drops = gate.permutation_drops
    cost = ""
    if drops and gate.answered is not None:
        cost = (
            f", which cost {points(min(drops))} to {points(max(drops))} points of the {counted(gate.answered, 'row')} "
            f"answered rightly (the judged heads {points(gate.answered_drop)})"
        )
    return (
        f"heads permuted within {within}: {number} sets{taken}{cost}; one holds {of.held:.0%} of the judged heads "
        f"in the mean; were one head to carry all, p would be at least {of.one_head_p:.2f}"
    )


def _lowest(gate: GateResult) -> str:
    if gate.lowest is None:
        return "as many lowest-scoring heads: unknown"
    also = "they would pass too: a pass does not say that heads were ranked rightly"
    return (
        f"as many lowest-scoring heads cost {points(gate.lowest.drop)} points"
        f"{'; ' + also if gate.lowest.would_pass else ', and would not pass'}"
    )


def _model(gate: GateResult) -> str:
    text, outputs = gate.plain_text, gate.degenerate
    if text is None or outputs is None:
        return "whether the model is whole is unknown"
    said = {
        "none": "no more lost than the margin",
        "unknown": "what was lost is unknown",
        "lost answers": "needed for these answers" if gate.verdict == "pass" else "answers lost, the model whole",
    }.get(gate.damage, gate.damage)
    return (
        f"{said}: plain text {text.change:+.3f} nats a token ({_mean(text.control_changes):+.3f} by controls), "
        f"degenerate completions {percent(outputs.judged)} (untouched {percent(outputs.untouched)}, "
        f"controls {percent(outputs.controls)}){_facts(gate)}"
    )


def _facts(gate: GateResult) -> str:
    """What was lost of questions that need no document; nothing where none were asked."""
    found = gate.facts
    if found is None:
        return ""
    if found.lost is None:
        return f", facts and sums: the untouched model knows none of {found.asked}"
    return (
        f", facts and sums {percent(found.lost)} lost of the {found.known} of {found.asked} known "
        f"({percent(found.controls_lost)} by controls)"
    )


def _tasks(gate: GateResult) -> str:
    """How many tasks have which verdict of their own, and which, where verdicts differ and the task does not pass."""
    by_verdict = _tasks_by_verdict(gate)
    said = [
        f"{len(tasks)} {verdict}" + (f" ({', '.join(tasks)})" if verdict != "pass" and len(by_verdict) > 1 else "")
        for verdict, tasks in by_verdict.items()
    ]
    return f"alone, by Holm: {', '.join(said) or 'none'}"


def _tasks_by_verdict(gate: GateResult) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in gate.tasks:
        found.setdefault(task.verdict, []).append(task.task)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _of_the_right(gate: GateResult, part: float) -> str:
    """A share of the right answers in points of accuracy."""
    return "" if gate.baseline is None else f" ({100 * part * gate.baseline:.1f} points)"


def _p(p: float | None) -> str:
    return "unknown" if p is None else f"{p:.2f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "[unknown]" if interval is None else f"[{', '.join(percent(end) for end in interval)}]"
