"""Every option: from the command line, from the ini file, the one before the other, and what it does to a study."""

import pytest

from harness.options import OPTIONS, Option
from harness.plugin.stash import SETTINGS
from harness.settings import Settings
from plugin.project import Project, names, usage_error

TEXTS: dict[str, tuple[str, str]] = {
    "model": ("org/model", "org/other"),
    "revision": ("main", "v2"),
    "dtype": ("float64", "bfloat16"),
    "device-map": ("cpu", "auto"),
    "attn": ("eager", "sdpa"),
    "quantization": ("4bit", "8bit"),
    "adapter": ("lora", "another"),
    "architectures": ("mine = a.b, c", "hers = d, e"),
    "template": ("effort=low", "enable_thinking=true; effort=a"),
    "engine": ("reference", "shared"),
    "data": ("a.csv", "b.csv"),
    "task-file": ("a.toml", "b.toml"),
    "tasks": ("ceo_lastname", "incorporation_year,ceo_lastname"),
    "strict-rows": ("true", "false"),
    "split-share": ("0.3", "0.4"),
    "heads": ("a.json", "b.json"),
    "heads-held-out": ("true", "false"),
    "k": ("1,3", "2"),
    "depth": ("0.25,1", "0"),
    "seq-len": ("4096", "512"),
    "insertion": ("published", "sentence"),
    "max-new-tokens": ("7", "8"),
    "max-rows": ("18", "9"),
    "seed": ("3", "4"),
    "random-draws": ("2", "1"),
    "random-match": ("layer", "uniform"),
    "mode": ("mean", "zero"),
    "phase": ("decode", "all"),
    "scorer": ("published", "value"),
    "gate-k": ("10", "5"),
    "gate-margin": ("0.2", "0.3"),
    "gate-margin-own": ("0.3", "0.4"),
    "gate-margin-shared": ("0.05", "0.4"),
    "gate-margin-global": ("0.05", "0.4"),
    "gate-draws": ("39", "5"),
    "gate-strata": ("model", "2"),
    "gate-flat": ("0.05", "1"),
    "gate-outcome": ("likelihood", "accuracy"),
    "gate-tasks": ("true", "false"),
    "facts": ("facts.toml", "ours"),
    "reports": ("out", "elsewhere"),
    "run": ("first", "second"),
    "no-texts": ("true", "false"),
    "annotate": ("true", "false"),
    "store": ("a.sqlite", "b.sqlite"),
    "bench": ("a.json", "b.json"),
    "gpus": ("1", "2"),
    "ray": ("local", "10.0.0.1:6379"),
    "ray-mixed": ("true", "false"),
    "part": ("2/3", "1/3"),
    "cluster": ("8xH100-80GB,2x4xA100-40GB", "1xL4-24GB"),
    "refresh": ("true", "false"),
    "dry-run": ("true", "false"),
}
"""For each option a text that its default is not, and another one."""


def settings_of(project: Project, *arguments: str) -> Settings:
    """What pytest makes of a command line; its own look for leaked objects, seconds in this process, is left out."""
    plugins = ("-p", "harness.plugin", "-p", "no:unraisableexception")
    return project.pytester.parseconfigure(*plugins, *arguments).stash[SETTINGS]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_command_line_beats_ini_beats_default(project: Project, option: Option) -> None:
    text, other = TEXTS[option.name]
    key = f"ablation_{option.field}"
    given = as_typed(option)
    partner = [as_typed(each) for each in OPTIONS if each.name == option.needs]

    project.only_ini()
    default = getattr(settings_of(project), option.field)
    on_command_line = settings_of(project, given, *partner)
    value = getattr(on_command_line, option.field)
    assert value == (project.path / text if option.metavar in ("FILE", "FOLDER") else option.parse(text))
    assert value != default

    project.only_ini(**{key: text})
    assert settings_of(project, *partner) == on_command_line
    project.only_ini(**{key: other})
    assert settings_of(project, given, *partner) == on_command_line


def as_typed(option: Option) -> str:
    return f"--ablation-{option.name}" if option.switch else f"--ablation-{option.name}={TEXTS[option.name][0]}"


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.needs], ids=lambda option: option.name)
def test_an_option_without_its_partner_is_refused_where_it_is_typed(
    project: Project, option: Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in a file, or in the environment, is for every command."""
    project.only_ini()
    refused = project.run("evals", as_typed(option))
    assert usage_error(refused).startswith(f"--ablation-{option.name}: given without --ablation-{option.needs}; ")
    assert project.left() == []
    project.only_ini(**{f"ablation_{option.field}": TEXTS[option.name][0]})
    in_ini = settings_of(project)
    project.only_ini(addopts=as_typed(option))
    assert settings_of(project) == in_ini
    project.only_ini()
    monkeypatch.setenv("PYTEST_ADDOPTS", as_typed(option))
    assert settings_of(project) == in_ini


def test_help_names_them_all(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest_inprocess("-p", "harness.plugin", "--help").stdout.str()
    assert "ablation of attention heads:" in text
    for option in OPTIONS:
        assert f"--ablation-{option.name}" in text
        assert f"ablation_{option.field} (string):" in text


def test_k_tasks_and_draws_decide_what_there_is(project: Project) -> None:
    given = ("--ablation-k=3", "--ablation-tasks=ceo_lastname", "--ablation-random-draws=2")
    project.configure(ablation_random_draws="1")
    assert project.ids("evals", "-k", "within_task or random_control", *given) == [
        "evals/test_random_control.py::test_random_control[seed0-k03]",
        "evals/test_random_control.py::test_random_control[seed1-k03]",
        "evals/test_within_task.py::test_within_task[ceo_lastname-k03]",
    ]


def test_seed_and_match_decide_the_random_heads(project: Project) -> None:
    def heads(*arguments: str) -> list[tuple[str, object]]:
        project.run("evals", "-k", "random_control", "--ablation-max-rows=2", *arguments)
        controls = [each for each in project.report()["conditions"] if each["experiment"] == "random_control"]
        return [(each["random_match"], each["heads"]) for each in controls]

    usual = heads()
    assert heads("--ablation-seed=0") == usual
    assert heads("--ablation-seed=1") != usual
    assert {match for match, _ in heads("--ablation-random-match=layer")} == {"layer"}


def test_what_is_asked_and_where_it_is_written(project: Project) -> None:
    given = {
        "depth": "0,1",
        "insertion": "published",
        "max-rows": "2",
        "max-new-tokens": "1",
        "reports": "out",
        "run": "sweep",
        "store": "elsewhere/records.sqlite",
    }
    result = project.run("evals", "-k", "baseline", *(f"--ablation-{name}={text}" for name, text in given.items()))
    result.assert_outcomes(passed=2, deselected=36)
    assert project.left() == sorted(
        [
            *("elsewhere", "elsewhere/records.sqlite"),
            *("out", "out/sweep", "out/sweep/plots", "out/sweep/report.json", "out/sweep/samples.jsonl"),
            *("out/sweep/index.html", "out/sweep/rows.jsonl", "out/sweep/summary.md"),
            *("out/sweep/plots/accuracy_by_k.csv", "out/sweep/plots/figures.csv"),
        ]
    )
    (project.path / "reports").symlink_to("out")
    samples, report = project.samples("sweep"), project.report("sweep")
    assert names(report) == ["baseline", "needle_absent"]
    assert [(each["filename"], each["depth"]) for each in samples[:2]] == [(samples[0]["filename"], d) for d in (0, 1)]
    assert len(samples) == 2 * 2 * 2, "two rows of one filing at two depths, with the needle and without"
    assert {each["tokens"] for each in samples} <= {0, 1}
    assert report["configuration"]["insertion"] == "published"
    assert report["configuration"]["store"] == "elsewhere/records.sqlite"
