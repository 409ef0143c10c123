"""Where paths lead: from where the command was typed, from the ini file, and reports never into another project."""

import shlex
import shutil
from pathlib import Path

import pytest

from harness.plugin.stash import words_told
from plugin.project import INI, Project, usage_error

STUDY = ("-k", "baseline")
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "a worker"])


@pytest.fixture
def other(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another project, with an ini file and a ranking of its own."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "pytest.ini").write_text("[pytest]\nablation_seed = 3\n")
    shutil.copy(project.path / "heads.json", folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".hypothesis")


@WORKERS
def test_each_from_its_own_place(project: Project, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]) -> None:
    """Typed in a folder of the project: the ini file's rows and model, a ranking and reports beside the command."""
    inner = project.pytester.mkdir("inner")
    (project.path / "heads.json").rename(inner / "mine.json")
    project.configure(ablation_reports="out")
    monkeypatch.chdir(inner)
    given = ("../evals", *STUDY, "--ablation-heads=mine.json", "--ablation-store=s.sqlite")
    result = project.run(*given, *workers)
    assert result.ret == 0
    report = project.path / "out" / "latest" / "report.json"
    assert report.is_file()
    assert f"report: {report}" in result.outlines, "it lies elsewhere, and can be opened from here"
    assert files(inner) == ["mine.json", "s.sqlite"]
    result = project.run(*given, "--ablation-reports", "here")
    assert "report: here/latest/report.json" in result.outlines
    assert (inner / "here" / "latest" / "report.json").is_file()


@WORKERS
def test_a_value_does_not_lead_into_another_project(
    project: Project, other: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    """No ini file is here: pytest takes the other project's folder for the root of this one, or one above both."""
    ini = {name: value for name, value in INI.items() if name.startswith("ablation_") and name != "ablation_heads"}
    (project.path / "tox.ini").unlink()
    (other / "pytest.ini").unlink()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in ini.items()]
    result = project.run("evals", *STUDY, *options, "--ablation-heads", str(other / "heads.json"), *workers)
    assert result.ret == 0
    assert "report: reports/latest/report.json" in result.outlines
    assert (project.path / "reports" / "store.sqlite").is_file()
    assert files(other) == ["heads.json"]
    assert not (project.path.parent / "reports").exists()


def test_an_ini_file_of_another_project_is_refused(project: Project, other: Path) -> None:
    (project.path / "tox.ini").unlink()
    heads = other / "heads.json"
    said = usage_error(project.run("evals", *STUDY, "--ablation-heads", str(heads)))
    assert said.startswith(f"--ablation-heads {heads}: pytest takes {other} for this project's folder")
    assert said.endswith(f"write --ablation-heads={heads}")
    assert files(other) == ["heads.json", "pytest.ini"]
    assert "reports" not in project.left()


def test_an_ini_file_that_pytest_passes_over_is_missed(project: Project, other: Path) -> None:
    """Without a path to tests pytest looks around the value alone."""
    (other / "pytest.ini").unlink()
    heads = other / "heads.json"
    said = usage_error(project.run(*STUDY, "--ablation-heads", str(heads)))
    assert said.endswith(f"write --ablation-heads={heads}")
    result = project.run(*STUDY, f"--ablation-heads={heads}", "--collect-only")
    result.stdout.fnmatch_lines([f"ablation: model tiny, rows rows.csv (all tasks), heads {heads}, *"])


@pytest.mark.parametrize("name", ["pytest.ini", "pyproject.toml"])
def test_an_ini_file_above_both_projects_is_not_this_ones(project: Project, name: str) -> None:
    """The value leads pytest to the folder above, and past the nearer file."""
    text = {"pytest.ini": "[pytest]\n", "pyproject.toml": "[tool.pytest.ini_options]\n"}[name]
    (project.path / name).write_text(text)
    for one in ("one", "two"):
        (project.path / one).mkdir()
    heads = str(shutil.move(project.path / "heads.json", project.path / "two"))
    for each in ("evals", "tiny", "rows.csv", "tox.ini"):
        shutil.move(project.path / each, project.path / "one")
    project.pytester.chdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path / "one")
        said = usage_error(project.run("evals", *STUDY, "--ablation-heads", heads))
    assert said.startswith(f"--ablation-heads {heads}: pytest takes {project.path} for this project's folder")
    assert not (project.path / "reports").exists()


def test_a_project_below_where_it_was_typed_is_found(project: Project, other: Path) -> None:
    """All tests lie in it, and its ini file is the nearest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path.parent)
        named = [str(project.path / "evals"), "--ablation-heads", str(other / "heads.json")]
        result = project.run(*named, *STUDY, "--collect-only")
    assert result.ret == 0


def test_the_projects_own_ini_file_is_found_all_the_same(project: Project, other: Path) -> None:
    result = project.run("evals", *STUDY, "--ablation-heads", str(other / "heads.json"))
    assert result.ret == 0
    assert "report: reports/latest/report.json" in result.outlines
    assert project.report()["configuration"]["seed"] == 0
    assert files(other) == ["heads.json", "pytest.ini"]


def test_a_root_that_was_named_holds(project: Project, other: Path) -> None:
    result = project.run(
        "evals", *STUDY, "--rootdir", str(other), "--ablation-heads", str(other / "heads.json"), "-c", "tox.ini"
    )
    assert result.ret == 0
    assert f"report: {other}/reports/latest/report.json" in result.outlines


def test_again_is_typed_from_the_same_place(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.pytester.mkdir("inner"))
    result = project.run("../evals/test_gates.py", "-k", "own")
    test = f"{project.path}/evals/test_gates.py::test_gate[own-all-k02]"
    assert f"  again      pytest '{test}' --ablation-run=again" in result.outlines


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["evals", "-k", "a or b", "-m", "gate"], "pytest evals -k 'a or b' -m gate"),
        (["evals/t.py::test[a-k01]", "-kx", "-n2", "-n=2"], "pytest 'evals/t.py::test[a-k01]' -kx -n2 -n=2"),
        (["evals", "-n", "2", "--numprocesses=2", "-p", "mine"], "pytest evals -n 2 --numprocesses=2 -p mine"),
        (["--ablation-k", "1,2", "evals", "--ablation-seed=3"], "pytest --ablation-k 1,2 evals --ablation-seed=3"),
        (["--ablation-refresh", "evals"], "pytest --ablation-refresh evals"),
        (["evals", "--basetemp", "secret"], "pytest evals --basetemp"),
        (["evals", "--basetemp=secret", "-vv", "-x"], "pytest evals --basetemp -v -x"),
        (["evals", "-o", "ablation_k=2", "-o", "log_level=secret"], "pytest evals -o ablation_k=2 -o"),
        (["evals", "--override-ini=ablation_k=2"], "pytest evals --override-ini ablation_k=2"),
        (["-rsecret", "evals"], "pytest -r evals"),
        (["-k"], "pytest -k"),
    ],
)
def test_what_a_report_keeps_of_the_command(typed: list[str], told: str) -> None:
    paths = [word for word in typed if word.startswith("evals")]
    assert shlex.join(["pytest", *words_told(typed, paths)]) == told


def test_a_secret_does_not_reach_the_report(project: Project) -> None:
    project.pytester.makeconftest('def pytest_addoption(parser): parser.addoption("--token")')
    project.run("--token", "hush", "evals", *STUDY, "--ablation-max-rows", "4")
    command = project.report()["run"]["command"]
    assert command.startswith("pytest -p harness.plugin -p no:cacheprovider ")
    assert command.endswith(" --token evals -k baseline --ablation-max-rows 4")
    for file in (project.path / "reports" / "latest").glob("*.json*"):
        assert "hush" not in file.read_text(encoding="utf-8")
