"""The study of a session, on a tiny model: declared, run once, reported; and what workers leave to the main process."""

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from changed_section import changed
from tiny_models import save_checkpoint

from harness.choices import Nodes
from harness.errors import HarnessError, HeadsError, ModelError, ReportError, SettingsError
from harness.experiment.conditions import BASELINE, Condition
from harness.experiment.experiments import Study, single
from harness.experiment.gate_conditions import PLAIN_TEXT
from harness.experiment.heads import Head
from harness.findings.figures import drawing_process, plots
from harness.findings.figures.drawing_process import DrawingProcess
from harness.findings.report import report_writing
from harness.findings.report.reading import load
from harness.findings.report.report_data import ReportData
from harness.findings.verdicts import gate_results, gates
from harness.settings import Settings
from harness.study import outcome
from harness.study.inputs import Inputs
from harness.study.progress import Progress
from harness.study.workers import Place
from study.sessions import MAIN, MINE, TASKS, Sessions, ignore


def test_nothing_is_made_before_it_begins(session: Sessions, settings: Settings, tmp_path: Path) -> None:
    study = session(settings)
    study.declare([])
    assert study.finish("passed") is None
    assert not list(tmp_path.iterdir())
    assert study.begin() is study.run


def test_the_header_says_how_layers_will_be_dealt_out(session: Sessions, settings: Settings) -> None:
    """Which lie where is known when the study's conditions are, and the model is loaded."""
    for device_map, gpus, said in (
        ("auto", None, "over all GPUs where none"),
        ("auto", 2, "over 2 GPUs where none"),
        (None, None, None),
    ):
        study = session(replace(settings, device_map=device_map, gpus=gpus))
        on_gpu = replace(study.inputs.blueprint, device_type="cuda")
        study.__dict__["inputs"] = replace(study.inputs, blueprint=on_gpu)
        lines = [line for line in study.header() if "GPUs" in line]
        assert [said is not None and said in line for line in lines] == [True] * (said is not None)


def test_gpus_of_a_model_on_the_cpu_are_said_to_be_of_no_use(session: Sessions, settings: Settings) -> None:
    line = "ablation: gpus 2: of no use here, for the model is on the CPU"
    asked = replace(settings, gpus=2, device_map="cpu")
    assert line in session(asked).header()
    for other in (replace(asked, gpus=None), replace(asked, cluster=(Nodes(1, 8, "H100", 80),))):
        assert line not in session(other).header()


def test_from_conditions_to_a_report(session: Sessions, settings: Settings) -> None:
    study = session(settings)
    study.declare(study.expand(["within_task", MINE]))
    names = ["baseline", *(f"within_task[{task}-k0{k}]" for task in TASKS for k in (1, 2)), "mine"]
    assert [condition.name for condition in study.conditions] == names
    results = study.results(ignore)
    assert list(results) == names
    mine = results["mine"]
    assert (mine.n, mine.missing, mine.condition) == (6, 0, MINE)
    assert mine.accuracy == mine.figures.matches / 6
    assert mine.interval is not None
    baseline = results["baseline"].accuracy
    assert baseline is not None
    assert mine.drop == pytest.approx(baseline - mine.accuracy)
    assert dict(mine.properties()) == {
        "condition": "mine",
        "k_effective": 2,
        "n": 6,
        "missing": 0,
        "accuracy": mine.accuracy,
        "drop": mine.drop,
    }
    assert study.results(ignore) is results, "run once"

    report = study.finish("failed")
    assert report is not None
    assert (report.run.exit, report.run.finished, report.run.missing) == ("failed", True, ())
    assert [condition.name for condition in report.conditions] == names
    read = load(study.folder)
    assert read.data == report
    assert len(read.samples()) == 6 + 4 * 3 + 6
    plots = {path.name for path in (study.folder / "plots").iterdir()}
    assert {"accuracy_by_k.png", "accuracy_by_k.csv", "figures.csv"} <= plots


class Beside:
    """Stands in for the process that draws; `draws` says whether it lives to do so."""

    def __init__(self, *, draws: bool = True) -> None:
        self.draws, self.closed = draws, False

    def draw(self, report: Path, folder: Path) -> tuple[Path, ...] | None:
        assert load(report).data.conditions
        file = folder / "forest.svg"
        file.write_text("<svg>drawn beside</svg>")
        return (file,) if self.draws else None

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("draws", [True, False])
def test_figures_are_drawn_beside_where_a_process_got_ready(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, draws: bool
) -> None:
    """It is begun by the process that reports, once there are rows to answer; where it has ended, the session draws."""
    begun: list[Beside] = []

    def begin() -> Beside:
        begun.append(Beside(draws=draws))
        return begun[-1]

    def draw_here(_report: ReportData, folder: Path, **_how: object) -> tuple[Path, ...]:
        assert not draws
        (folder / "forest.svg").write_text("<svg>drawn here</svg>")
        return (folder / "forest.svg",)

    monkeypatch.setattr("harness.study.session.begin_drawing", begin)
    monkeypatch.setattr(plots, "draw_plots", draw_here)
    for place in (Place("run", worker=0, workers=2), MAIN, Place("later")):  # the last has nothing to do
        study = session(settings, place)
        study.declare([MINE] if place.worker is None else [BASELINE])
        study.results(ignore)
        study.finish("passed")
        study.close()
        assert [each.closed for each in begun] == [True] * (place.worker is None)
    page = (settings.reports / settings.run / "index.html").read_text()
    assert ("drawn beside" in page, "drawn here" in page) == (draws, not draws)


def test_figures_that_never_come_cost_nothing_else(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs is ended; report and tables are there, and one line says what is not."""

    def begin() -> DrawingProcess:
        begun = DrawingProcess()
        os.kill(begun.id, signal.SIGSTOP)
        return begun

    monkeypatch.setattr("harness.study.session.begin_drawing", begin)
    monkeypatch.setattr(drawing_process, "PATIENCE_SECONDS", 0.1)
    study = session(settings)
    study.declare([MINE])
    study.results(ignore)
    report = study.finish("passed")
    study.close()
    assert report is not None
    assert load(study.folder).data == report
    assert str(study.drawing_error).endswith(
        "; without them there is no index.html, which `retrieval-heads show` writes"
    )
    assert (study.folder / "plots" / "figures.csv").is_file()
    assert not (study.folder / "index.html").exists()


def test_an_interrupted_run_reports_what_is_missing(session: Sessions, settings: Settings) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.rows_done == 2:
            raise KeyboardInterrupt

    study = session(settings)
    study.declare([MINE])
    with pytest.raises(KeyboardInterrupt):
        study.results(interrupt)
    report = study.finish("interrupted")
    assert report is not None
    assert (report.run.finished, report.run.missing) == (False, ("baseline", "mine"))
    assert [condition.n for condition in report.conditions] == [2, 2]


def test_workers_compute_and_the_main_process_reports(session: Sessions, settings: Settings) -> None:
    for worker in range(2):
        study = session(settings, Place("run", worker, 2))
        study.declare([MINE])
        assert study.results(ignore)["mine"].missing == 0
        assert study.finish("passed") is None
    report = session(settings, MAIN).finish("passed")
    assert report is not None
    assert [condition.name for condition in report.conditions] == ["baseline", "mine"]
    assert report.run.finished
    assert session(settings, Place("other")).finish("passed") is None, "of its own session alone"


def test_a_study_that_is_only_looked_at_writes_nothing(session: Sessions, settings: Settings, tmp_path: Path) -> None:
    study = session(settings, writes=False)
    study.declare([MINE])
    assert study.dry_run()[0].startswith(
        "6 rows, 2 conditions: 12 completions requested, 12 distinct, 0 of them stored"
    )
    assert study.finish("passed") is None
    assert not list(tmp_path.iterdir())


class TestExpand:
    def test_names_conditions_and_builders(self, session: Sessions, settings: Settings) -> None:
        study = session(settings)
        built = single(study.run.inputs.study())
        assert study.expand([MINE, "baseline", single]) == (MINE, BASELINE, *built)

    @pytest.mark.parametrize("given", ["within", 7])
    def test_something_else(self, given: object, session: Sessions, settings: Settings) -> None:
        with pytest.raises(SettingsError, match=r"ablation marker: .*; expected a Condition, .*within_task"):
            session(settings).expand([given])  # type: ignore[list-item]  # what is to be refused

    def test_what_the_ranking_cannot_give(self, session: Sessions, settings: Settings) -> None:
        def builder(study: Study) -> tuple[Condition, ...]:
            raise HeadsError("no such heads")

        with pytest.raises(HeadsError, match="no such heads"):
            session(settings).expand([builder])


class TestRefused:
    def test_two_conditions_of_one_name(self, session: Sessions, settings: Settings) -> None:
        with pytest.raises(SettingsError, match="condition mine: declared twice"):
            session(settings).declare([MINE, Condition("mine")])

    def test_a_head_that_the_model_has_not(self, session: Sessions, settings: Settings) -> None:
        with pytest.raises(HeadsError, match=r"condition mine: layer 3, but the model has 3 layers \(0-2\)"):
            session(settings).declare([Condition("mine", heads=(Head(3, 0),))])

    def test_reports_that_cannot_be_written(self, session: Sessions, settings: Settings) -> None:
        settings.reports.write_text("a file in its place")
        with pytest.raises(ReportError, match="expected a folder that can be written; name another with"):
            session(settings).begin()

    def test_a_failure_is_the_same_for_every_test(self, session: Sessions, settings: Settings, tmp_path: Path) -> None:
        """The weights go missing between the check of the inputs and the run."""
        checkpoint = save_checkpoint(tmp_path / "tiny")
        study = session(replace(settings, model=str(checkpoint)))
        study.declare([MINE])
        weights = checkpoint / "model.safetensors"
        study.run.plan([MINE])
        weights.unlink()
        errors = []
        for _ in range(2):
            with pytest.raises(ModelError, match="holds no weights") as caught:
                study.results(ignore)
            errors.append(caught.value)
        assert errors[0] is errors[1]
        assert isinstance(errors[0], HarnessError)


def test_gates_are_judged_with_the_results(session: Sessions, settings: Settings) -> None:
    study = session(settings)
    own, shared = study.gates(["own", "shared"])
    study.declare([*own.conditions, *shared.conditions])
    results = study.results(ignore)
    assert "within_task[ceo_lastname-k02]" in results
    assert not any(name.startswith("plain_text") for name in results), "nothing is asked of plain text"
    found = study.verdict(own, "pytest evals -m gate")
    assert (found.figures.name, found.figures.verdict, found.passed) == (own.name, "invalid", False)
    assert found.message.startswith("gate[own-all-k02]: invalid")
    assert found.message.endswith("pytest evals -m gate")
    report = study.finish("passed")
    assert report is not None
    assert [gate.name for gate in report.gates] == [own.name, shared.name]


def test_a_process_works_out_its_report_once(
    session: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was built for the tests and again at the end, and each time every gate's bootstrap was drawn again."""
    counts: Counter[str] = Counter()

    def count(owner: ModuleType, name: str) -> None:
        found = getattr(owner, name)

        def counting(*arguments: object, **options: object) -> object:
            counts[name] += 1
            return found(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    count(report_writing, "assemble_report")
    count(gate_results, "judge")
    count(gates, "bca_of_sums")
    count(outcome, "score_samples")
    # what a model of random weights says is never right, and without right answers there is nothing to draw from
    monkeypatch.setattr(Inputs, "score", lambda inputs, row, completion: (True, True))
    study = session(settings)
    declared = study.gates(["own", "shared"])
    study.declare(condition for gate in declared for condition in gate.conditions)
    study.results(ignore)
    study.results(ignore)
    report = study.finish("failed")
    assert report is not None
    of_gates = sum(1 + len(gate.tasks) for gate in report.gates)  # the pooled verdict, and one a task
    assert counts == {"assemble_report": 1, "score_samples": 1, "judge": of_gates, "bca_of_sums": len(report.gates)}
    assert (report.run.exit, load(study.folder).data) == ("failed", report)


def test_a_gate_may_ask_for_each_task(session: Sessions, settings: Settings) -> None:
    """Its pooled verdict stands as it is; whether its test passes is another question."""
    for gate_tasks, one, passed in ((False, "fail", True), (True, "fail", False), (True, "pass", True)):
        study = session(replace(settings, gate_tasks=gate_tasks))
        (own,) = study.gates(["own"])
        study.declare(own.conditions)
        study.results(ignore)
        figures = study._gates[own.name]
        verdicts = {f"tasks.{i}.verdict": one if i else "pass" for i in range(len(figures.tasks))}
        study._gates = {own.name: changed(figures, {"verdict": "pass"} | verdicts)}
        assert study.verdict(own, "").passed is passed


def test_what_is_no_gate(session: Sessions, settings: Settings) -> None:
    with pytest.raises(SettingsError, match="ablation_gate marker: 'general'; expected one of own, shared, global"):
        session(settings).gates(["general"])


def test_over_plain_text_no_result_can_be_asked_for(session: Sessions, settings: Settings) -> None:
    with pytest.raises(SettingsError, match="plain_text: a condition over plain text"):
        session(settings).expand([PLAIN_TEXT])
