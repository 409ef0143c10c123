"""How commands read numbers, shapes and the plugin's options, and find out that a file cannot be written."""

import argparse
from pathlib import Path

import pytest

from harness.cli import COMMANDS
from harness.commands.console import (
    Apart,
    Needs,
    add_options,
    check_writable,
    given_settings,
    model_shape,
    whole_number,
)
from harness.errors import SettingsError
from harness.experiment.heads import ModelShape
from harness.settings import Settings

NAMES = ("model", "k", "strict-rows")


@pytest.mark.parametrize("text", ["-1", "2", "1.5", "x", "", "³", " 4"])
def test_whole_numbers(text: str) -> None:
    assert whole_number(3)("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number of at least 3"):
        whole_number(3)(text)


@pytest.mark.parametrize("text", ["80", "80,0", "80,64,2", "80;64", ""])
def test_shapes(text: str) -> None:
    assert model_shape("80,64") == ModelShape(80, 64)
    with pytest.raises(argparse.ArgumentTypeError):
        model_shape(text)


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, NAMES)
    return parser.parse_args(argv)


def test_options_under_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are taken from the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    settings = given_settings(parsed("--model", "tiny", "--k", "5,1", "--strict-rows"), NAMES)
    assert (settings.model, settings.k, settings.strict_rows) == (str(tmp_path / "tiny"), (1, 5), True)
    usual = given_settings(parsed(), NAMES)
    assert (usual.model, usual.k, usual.strict_rows) == (Settings().model, Settings().k, False)
    with pytest.raises(SettingsError, match=r"^--k: 'two'; expected a whole number"):
        given_settings(parsed("--k", "two"), NAMES)


RULES = [
    (name, rule, option) for name, command in COMMANDS.items() for rule in command.rules for option in rule.options
]


@pytest.mark.parametrize(("name", "rule", "option"), RULES, ids=lambda each: each if isinstance(each, str) else "")
def test_what_would_do_nothing_is_refused(name: str, rule: Needs | Apart, option: str) -> None:
    """Every option of every rule, over the command's own defaults, which must not look as if it were given."""
    parser = argparse.ArgumentParser()
    COMMANDS[name].add_arguments(parser)
    usual = {action.dest: action.default for action in parser._actions}
    other = rule.partner if isinstance(rule, Needs) else rule.other
    assert rule.fault(argparse.Namespace(**usual)) is None
    given = usual | {option.replace("-", "_"): "something"}
    alone = rule.fault(argparse.Namespace(**given))
    both = rule.fault(argparse.Namespace(**given | {other.replace("-", "_"): (*rule.values, "another")[0]}))
    if isinstance(rule, Apart):
        assert alone is None
        value = f" {rule.values[0]}" if rule.values else ""
        assert both == f"--{option}: given beside --{other}{value}; expected one of the two: {rule.why}"
    else:
        assert both is None
        assert alone is not None
        assert alone.startswith(f"--{option}: given without --{other}")
        assert alone.endswith(f", or leave --{option} out")


def test_the_help_says_what_an_option_needs() -> None:
    parser = argparse.ArgumentParser()
    COMMANDS["identify"].add_all_arguments(parser)
    words = " ".join(parser.format_help().split())
    for said in (
        "; only with --ray",
        "; only with --method retrieval_score or logit_contribution",
        "; only with --data",
    ):
        assert said in words


def test_a_zero_is_given() -> None:
    rule = Needs(("seed",), "draw")
    assert rule.fault(argparse.Namespace(seed=0, draw=None)) is not None
    assert rule.fault(argparse.Namespace(seed=None, draw=None)) is None


def test_one_of_several_values_will_do() -> None:
    rule = Needs(("draws",), "experiments", ("random", "uniform"))
    given = {"draws": 3, "experiments": "own,random"}
    assert rule.fault(argparse.Namespace(**given)) is None
    fault = rule.fault(argparse.Namespace(**given | {"experiments": "own,randomly"}))
    assert fault == (
        "--draws: given without --experiments random or uniform; expected --experiments random or uniform beside it, "
        "for alone it does nothing; add --experiments random or uniform, or leave --draws out"
    )


def test_a_file_is_tried_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    check_writable(file, "--out")
    assert not list(tmp_path.iterdir())
    file.write_text("old")
    check_writable(file, "--out")
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(file, "old")]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for file, reason in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out.json", "No such file or directory"),
        (Path("/dev/null"), "not a regular file, and written files take the place of what is there"),
    ):
        with pytest.raises(SettingsError) as error:
            check_writable(file, "--out")
        assert str(error.value) == (
            f"--out: {file}: {reason}; expected a file in a folder that can be written; name another"
        )
