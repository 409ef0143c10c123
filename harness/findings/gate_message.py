"""A gate in words: the message that is read at night, and the lines that open a session's summary.

Everything comes from the gate's part of the report; nothing is worked out here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.findings.gates import Kind
from harness.findings.report_data import ReportData
from harness.findings.verdict_data import CheckResult, GateResult

HEADS = {"own": "each task's own heads", "shared": "the shared heads"}


def gate_message(gate: GateResult, *, report: str, again: str) -> str:
    """All that a verdict rests on, a line each; where the report is, and the command that runs the gate again."""
    lines = [
        ("what", f"{HEADS[gate['experiment']]}, {_heads(gate)} ablated; {gate['n']} rows of {gate['filings']} filings"),
        (
            "untouched",
            f"{_percent(gate['baseline'])} right; {_percent(gate['needle_absent'])} with the needle left out",
        ),
        ("drop", f"{_points(gate['drop'])} by these heads; {_draws(gate)}"),
        ("difference", f"{_points(gate['difference'])} points, {_intervals(gate)}"),
        ("(a)", _check(gate["above_margin"], "the interval's lower end is above the margin", ">")),
        ("(b)", _check(gate["outside_draws"], "the drop lies outside what one more draw would give", ">")),
        ("(c)", _check(gate["flat_control"], "the control is flat, at the upper end of the draws' mean drop", "<=")),
        ("rank", _rank(gate)),
        ("model", _model(gate)),
        ("tasks", _tasks(gate)),
        *(("why", reason) for reason in gate["reasons"]),
        *([] if gate["split_known"] else [("note", "split unknown: the ranking does not say its filings")]),
        ("report", report),
        ("again", again),
    ]
    return "\n".join([f"{gate['name']}: {gate['verdict']}", *(f"  {name:<11}{text}" for name, text in lines)])


def gate_lines(report: ReportData) -> Iterator[tuple[Kind, str]]:
    """A line for each gate with its verdict, then one for each reason."""
    for gate in report["gates"]:
        difference = f"{_points(gate['difference'])} points {_interval(gate['interval'])}"
        margin = f"{100 * gate['margins']['margin']:.0f}"
        yield gate["verdict"], f"{gate['name']:<24} {gate['verdict']:<12} {difference} over random, margin {margin}"
        for reason in gate["reasons"]:
            yield gate["verdict"], f"{'':<24} {reason}"
        yield gate["verdict"], f"{'':<24} {_model(gate)}"


def _heads(gate: GateResult) -> str:
    fewest, most = gate["k_effective"]
    if fewest == most == gate["k"]:
        return f"k = {most}"
    there = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{there} (no more are ranked; {gate['k']} were asked for)"


def _draws(gate: GateResult) -> str:
    drops = " ".join(_points(drop) for drop in gate["draw_drops"])
    spread = "" if gate["draw_sd"] is None else f", SD {100 * gate['draw_sd']:.1f}"
    most = max(gate["mismatches"], default=0)
    mismatched = f"; up to {most} of {gate['control_heads']} heads from another layer" if most else ""
    return f"{_points(gate['random_drop'])} by random ones ({gate['match']} draws {drops}{spread}{mismatched})"


def _intervals(gate: GateResult) -> str:
    df = "" if gate["df"] is None else f", {gate['df']:.1f} degrees of freedom"
    return f"95 % interval {_interval(gate['interval'])} (t{df}), bootstrap {_interval(gate['bca'])}"


def _check(check: CheckResult, what: str, sign: str) -> str:
    if check["value"] is None:
        return f"?    {what}: unknown"
    held = "yes" if check["holds"] else "no"
    instead = sign if check["holds"] else {">": "<=", "<=": ">"}[sign]
    return f"{held:<4} {what}: {_points(check['value'])} {instead} {_points(check['bound'])}"


def _rank(gate: GateResult) -> str:
    p, least = gate["rank_p"], gate["least_rank_p"]
    if p is None or least is None or gate["drop"] is None:
        return "unknown"
    n = len(gate["draw_drops"])
    as_much = sum(drop >= gate["drop"] for drop in gate["draw_drops"])
    return f"{as_much} of {n} draws cost as much: p = {p:.3f}; {n} draws cannot give less than {least:.3f}"


def _model(gate: GateResult) -> str:
    text, outputs = gate["plain_text"], gate["degenerate"]
    if text is None or outputs is None:
        return "whether the model is whole is unknown"
    said = {"none": "nothing lost", "unknown": "what was lost is unknown"}.get(gate["damage"], gate["damage"])
    return (
        f"{said}: plain text {text['change']:+.3f} nats a token ({_mean(text['draw_changes']):+.3f} by random heads), "
        f"degenerate completions {_percent(outputs['retrieval'])} (untouched {_percent(outputs['untouched'])}, "
        f"random {_percent(outputs['draws'])})"
    )


def _tasks(gate: GateResult) -> str:
    """How many tasks have which verdict of their own, and the names of those that do not pass."""
    counts = Counter(task["verdict"] for task in gate["tasks"])
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) or "none"
    others = [f"{task['task']} {task['verdict']}" for task in gate["tasks"] if task["verdict"] != "pass"]
    return f"alone, by Holm: {said}" + (f" ({', '.join(others)})" if others and counts["pass"] else "")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _points(part: float | None) -> str:
    return "unknown" if part is None else f"{100 * part:+.1f}"


def _percent(part: float | None) -> str:
    return "unknown" if part is None else f"{part:.1%}"


def _interval(interval: Sequence[float] | None) -> str:
    return "[unknown]" if interval is None else f"[{', '.join(_points(end) for end in interval)}]"
