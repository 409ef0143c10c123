"""A gate in words: the message that is read at night, and the lines that open a session's summary.

Everything comes from the gate's part of the report; nothing is worked out here but which tasks do not pass alone.
"""

from collections.abc import Iterator, Sequence

from harness.counting import counted
from harness.findings.report.report_data import ReportData
from harness.findings.verdicts.verdict_data import Check, GateResult, Kind
from harness.findings.wording import percent, points, points_between

HEADS = {"own": "each task's own heads", "shared": "the shared heads"}


def not_alone(gate: GateResult) -> str | None:
    """Why a gate that each of its tasks has to pass alone does not pass, whatever its verdict; `None` where it does."""
    by_verdict = _tasks_by_verdict(gate)
    by_verdict.pop("pass", None)
    if not by_verdict:
        return None
    what = {"inconclusive": "inconclusive, which more filings may decide"}
    others = "; ".join(f"{what.get(verdict, verdict)}: {', '.join(tasks)}" for verdict, tasks in by_verdict.items())
    return f"not every task passes alone, as --ablation-gate-tasks asks: {others}"


def gate_message(gate: GateResult, *, report: str, again: str, each_task: bool = False) -> str:
    """All that a verdict rests on, a line each; where the report is, and the command that runs the gate again.

    `each_task` is whether each task has to pass alone.
    """
    alone = not_alone(gate) if each_task else None
    rows = f"{counted(gate.n, 'row')} of {counted(gate.filings, 'filing')}"
    lines = [
        ("what", f"{HEADS[gate.heads]}, {_heads(gate)} ablated; {rows}"),
        (
            "untouched",
            f"{percent(gate.baseline)} right; {percent(gate.needle_absent)} with the needle left out",
        ),
        ("drop", f"{points(gate.drop)} by these heads; {_draws(gate)}"),
        ("difference", f"{points(gate.difference)} points, {_intervals(gate)}"),
        ("(a)", _check(gate.above_margin, "the interval's lower end is above the margin", ">")),
        ("(b)", _check(gate.outside_draws, "the drop lies outside what one more draw would give", ">")),
        ("(c)", _check(gate.flat_control, "the control is flat, at the upper end of the draws' mean drop", "<=")),
        ("rank", _rank(gate)),
        ("model", _model(gate)),
        ("tasks", _tasks(gate)),
        *(("why", reason) for reason in _reasons(gate, alone)),
        *([] if gate.split_known else [("note", "split unknown: the ranking does not say its filings")]),
        ("report", report),
        ("again", again),
    ]
    verdict = gate.verdict + ("; not each task alone" if alone and gate.verdict == "pass" else "")
    return "\n".join([f"{gate.name}: {verdict}", *(f"  {name:<11}{text}" for name, text in lines)])


def verdict_lines(report: ReportData) -> Iterator[tuple[Kind, str]]:
    """A line for each gate: its verdict, and the difference it rests on."""
    for gate in report.gates:
        yield _verdict_line(gate, _asked_alone(report, gate))


def gate_lines(report: ReportData) -> Iterator[tuple[Kind, str]]:
    """For each gate the line of its verdict, one for each reason, and whether the model is whole."""
    for gate in report.gates:
        alone = _asked_alone(report, gate)
        kind, line = _verdict_line(gate, alone)
        yield kind, line
        for text in (*_reasons(gate, alone), _model(gate)):
            yield kind, f"{'':<24} {text}"


def _verdict_line(gate: GateResult, alone: str | None) -> tuple[Kind, str]:
    difference = f"{points(gate.difference)} points {points_between(gate.interval)}"
    margin = f"{100 * gate.margins.margin:g}"
    line = f"{gate.name:<24} {gate.verdict:<12} {difference} over random, margin {margin}"
    if alone is None or gate.verdict != "pass":
        return gate.verdict, line
    return "inconclusive", f"{line}; not each task alone"


def _asked_alone(report: ReportData, gate: GateResult) -> str | None:
    """`not_alone`, where the report's settings ask for it."""
    return not_alone(gate) if report.configuration.get("gate_tasks") else None


def _reasons(gate: GateResult, alone: str | None) -> list[str]:
    return [*gate.reasons, *([] if alone is None else [alone])]


def _heads(gate: GateResult) -> str:
    fewest, most = gate.k_effective
    if fewest == most == gate.k:
        return f"k = {most}"
    there = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{there} (no more are ranked; {gate.k} were asked for)"


def _draws(gate: GateResult) -> str:
    drops = " ".join(points(drop) for drop in gate.draw_drops)
    spread = "" if gate.draw_sd is None else f", SD {100 * gate.draw_sd:.1f}"
    most = max(gate.mismatches, default=0)
    mismatched = f"; up to {most} of {gate.control_heads} heads from another layer" if most else ""
    return f"{points(gate.random_drop)} by random ones ({gate.random_match} draws {drops}{spread}{mismatched})"


def _intervals(gate: GateResult) -> str:
    df = "" if gate.df is None else f", {gate.df:.1f} degrees of freedom"
    return f"95 % interval {points_between(gate.interval)} (t{df}), bootstrap {points_between(gate.bca)}"


def _check(check: Check, what: str, sign: str) -> str:
    if check.value is None:
        return f"?    {what}: unknown"
    held = "yes" if check.holds else "no"
    instead = sign if check.holds else {">": "<=", "<=": ">"}[sign]
    return f"{held:<4} {what}: {points(check.value)} {instead} {points(check.bound)}"


def _rank(gate: GateResult) -> str:
    p, least = gate.rank_p, gate.least_rank_p
    if p is None or least is None or gate.drop is None:
        return "unknown"
    n = len(gate.draw_drops)
    as_much = sum(drop >= gate.drop for drop in gate.draw_drops)
    draws = counted(n, "draw")
    return f"{as_much} of {draws} cost as much: p = {p:.3f}; {draws} cannot give less than {least:.3f}"


def _model(gate: GateResult) -> str:
    text, outputs = gate.plain_text, gate.degenerate
    if text is None or outputs is None:
        return "whether the model is whole is unknown"
    said = {"none": "no more lost than the margin", "unknown": "what was lost is unknown"}.get(gate.damage, gate.damage)
    return (
        f"{said}: plain text {text.change:+.3f} nats a token ({_mean(text.draw_changes):+.3f} by random heads), "
        f"degenerate completions {percent(outputs.retrieval)} (untouched {percent(outputs.untouched)}, "
        f"random {percent(outputs.draws)})"
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
