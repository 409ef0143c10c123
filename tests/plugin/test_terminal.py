"""What a session prints, and what it hands to other reporters."""

from xml.etree import ElementTree

import pytest

from harness.model.generation import engines
from harness.model.generation.engines import ModelEngine
from harness.model.generation.stages import Stages
from harness.study.asked_model import AskedModel
from harness.study.crew import Alone
from plugin.project import Project

STUDY = ("evals", "-k", "within_task")
ACCURACY = r" +\d+\.\d% +\[ *\d+\.\d%, +\d+\.\d%\] +\d/6"


def test_header(project: Project) -> None:
    lines = project.run(*STUDY, "--ablation-seed=3", "--ablation-tasks=ceo_lastname").outlines
    (first, second) = [line for line in lines if line.startswith("ablation: ")]
    assert first == "ablation: model tiny, rows rows.csv (ceo_lastname), heads heads.json, k 1, 2"
    assert "seed 3" in second
    assert "report reports/latest/report.json" in second


def test_header_names_what_was_asked_of_the_model(project: Project) -> None:
    lines = project.run(*STUDY, "--collect-only", "--ablation-device-map=cpu", "--ablation-dtype=bfloat16").outlines
    assert [line for line in lines if line.startswith("ablation: model tiny in bfloat16 on cpu, rows rows.csv")]


def test_header_says_what_costs_time_or_memory(project: Project) -> None:
    lines = project.run(*STUDY, "--collect-only", "--ablation-attn=eager").outlines
    assert lines.count("ablation: eager attention: long prompts take more memory and time than with sdpa") == 1
    assert not [line for line in lines if "computed alone" in line]


def test_where_a_split_models_layers_lie_is_said_with_q_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "stages_of", lambda loaded: Stages(loaded, (0, 2)))
    lines = project.run("-q", "evals", "-k", "baseline").outlines
    assert lines.count("ablation: layers 0-2 on cpu; up to 4 rows in flight") == 1


class Joined(Alone):
    """This process' model, as if it were a cluster's."""

    joined = "Ray at auto, the cluster at 10.0.0.1:6379: 2 nodes, room for 4 models"
    shares = "prompts by model: all"

    def close(self) -> None:
        """Nothing is held."""


def test_the_cluster_that_was_joined_is_said_before_the_first_test(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crew_on_ray(model: AskedModel, _: object) -> Joined:
        return Joined(ModelEngine(model.load(), "shared"))

    monkeypatch.setattr("harness.study.computation.crew_on_ray", crew_on_ray)
    for again in (False, True):  # then nothing is left to ask of a cluster
        lines = project.run(*STUDY, "--ablation-ray=auto").outlines
        assert lines.count(f"ablation: {Joined.joined}") == (not again)
        collected = next(number for number, line in enumerate(lines) if line.startswith("collected "))
        assert again or lines[collected + 1] == f"ablation: {Joined.joined}"


def test_summary(project: Project) -> None:
    result = project.run("evals", "-k", "within_task or baseline or random_control")
    result.stdout.re_match_lines(
        [
            "=+ ablation =+",
            ".*3 layers of 4 heads.*, 6 rows of 3 filings",
            "split unknown: .*",
            f"baseline {ACCURACY}",
            f"needle absent {ACCURACY}",
            f"within_task +k=1 {ACCURACY} +drop",
            f"within_task +k=2 {ACCURACY} +drop",
            "random_control +k=1 .* 5 draws",
            "random_control +k=2 .* 5 draws",
            "warning: none of the untouched model's 6 completions ended within 3 tokens; .*",
            "other than the defaults: model tiny, data rows.csv, heads heads.json, k 1,2, .*",
            "report: reports/latest/report.json",
        ],
        consecutive=True,
    )


def test_rows_that_were_cut(project: Project) -> None:
    said = project.run("evals", "-k", "baseline", "--ablation-dry-run").stdout.str()
    longest = int(said.partition(" tokens,")[0].rpartition("-")[2])
    result = project.run("evals", "-k", "baseline", f"--ablation-seq-len={longest - 1}")
    report = project.report()
    n_cut = report["data"]["cut"]
    assert 0 < n_cut <= 6
    rows = "1 row" if n_cut == 1 else f"{n_cut} rows"
    assert f"{rows} cut to {longest - 1} tokens, the others are not longer" in result.outlines


def test_quiet(project: Project) -> None:
    result = project.run(*STUDY, "-q")
    result.assert_outcomes(passed=4, deselected=34)
    said = [line for line in result.outlines if "ablation" in line or "report" in line]
    assert said == ["report: reports/latest/report.json"]
    assert project.report()["run"]["exit"] == "passed"
    assert not any("report" in line for line in project.run(*STUDY, "-qq").outlines)


def test_quiet_gates_say_their_verdicts(project: Project) -> None:
    lines = project.run("evals", "-m", "gate", "-q", "--tb=no", "--no-summary").outlines
    (start,) = [i for i, line in enumerate(lines) if line.startswith("gate[own-all-k02]")]
    assert lines[start].startswith("gate[own-all-k02]        invalid ")
    assert lines[start + 1].startswith("gate[shared-all-k02]     invalid ")
    assert lines[start + 2].startswith("gate[pooled-all-k02]     invalid ")
    assert lines[start + 3] == "report: reports/latest/report.json"


def test_user_properties(project: Project) -> None:
    project.run(*STUDY, "--junitxml=junit.xml")
    cases = ElementTree.parse(project.path / "junit.xml").getroot().iter("testcase")
    by_name = {
        case.get("name"): {each.get("name"): each.get("value") for each in case.iter("property")} for case in cases
    }
    properties = by_name["test_within_task[ceo_lastname-k02]"]
    assert properties == {
        "condition": "within_task[ceo_lastname-k02]",
        "k_effective": "2",
        "n": "3",
        "missing": "0",
        "accuracy": properties["accuracy"],
        "drop": properties["drop"],
    }
    assert 0 <= float(properties["accuracy"] or "nan") <= 1
    assert len(by_name) == 4


def test_markers_are_registered(project: Project) -> None:
    project.run("--markers").stdout.fnmatch_lines(["@pytest.mark.ablation(*conditions): *"])
    project.run(*STUDY, "--strict-markers", "--strict-config").assert_outcomes(passed=4, deselected=34)
