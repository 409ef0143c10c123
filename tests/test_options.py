"""Options: each one's rule, where a bad value was given, and what paths are relative to."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from harness.errors import SettingsError
from harness.options import OPTIONS, Given, Option, resolve_settings
from harness.settings import Settings, Value

ROOT = Path("/project")


PARTNERS: dict[str, tuple[str, str]] = {
    "revision": ("main", "org/model"),
    "ray-mixed": ("true", "local"),
    "task-file": ("tasks.toml", "rows.csv"),
    "heads-held-out": ("true", "heads.json"),
    "cluster": ("8xH100-80GB", "true"),
    "bench": ("bench.json", "true"),
}
"""For each option that needs another a text, and one for that."""


def resolve(**given: Value) -> Settings:
    """As if all of it stood in a file."""
    named = {name.replace("_", "-"): Given(f"--{name}", value, ROOT, standing=True) for name, value in given.items()}
    return resolve_settings(named, ROOT)


def option(name: str) -> Option:
    return next(each for each in OPTIONS if each.name == name)


def test_defaults_run_the_demo() -> None:
    expected = replace(Settings(), reports=ROOT / "reports", store=ROOT / "reports" / "store.sqlite")
    assert resolve() == expected
    assert (expected.model, expected.data, expected.heads) == ("demo", None, None)
    assert expected.k == (1, 2, 5, 10, 20)


def test_every_setting_has_its_option() -> None:
    assert sorted(each.field for each in OPTIONS) == sorted(field.name for field in fields(Settings))
    for each in OPTIONS:
        assert each.switch == isinstance(getattr(Settings(), each.field), bool)
        assert each.help
        assert each.metavar


def test_what_needs_another_is_known() -> None:
    """An option that is new here needs its texts above."""
    assert {each.name for each in OPTIONS if each.needs is not None} == PARTNERS.keys()
    assert {each.needs for each in OPTIONS if each.needs is not None} <= {each.name for each in OPTIONS}


@pytest.mark.parametrize("name", PARTNERS)
@pytest.mark.parametrize("prefix", ["--ablation-", "--"])
def test_an_option_is_refused_without_its_partner(name: str, prefix: str) -> None:
    partner, (text, other) = str(option(name).needs), PARTNERS[name]
    typed = {name: Given(f"{prefix}{name}", text, ROOT)}
    with pytest.raises(SettingsError) as error:
        resolve_settings(typed, ROOT)
    assert str(error.value) == (
        f"{prefix}{name}: given without {prefix}{partner}; expected {prefix}{partner} beside it, for alone it does "
        f"nothing; add {prefix}{partner}, or leave {prefix}{name} out"
    )
    for standing in (True, False):
        both = typed | {partner: Given(partner, other, ROOT, standing=standing)}
        assert getattr(resolve_settings(both, ROOT), option(name).field) != getattr(Settings(), option(name).field)
    if option(partner).switch:
        with pytest.raises(SettingsError, match=rf"^{prefix}{name}: given without {prefix}{partner}; "):
            resolve_settings(typed | {partner: Given(partner, "false", ROOT)}, ROOT)
    assert option(name).told(prefix).endswith(f"; only with {prefix}{partner}")


@pytest.mark.parametrize("name", PARTNERS)
def test_what_stands_in_a_file_waits_for_its_partner(name: str) -> None:
    field = option(name).field
    assert getattr(resolve(**{field: PARTNERS[name][0]}), field) != getattr(Settings(), field)


def test_a_number_of_gpus_is_refused_where_devices_are_named() -> None:
    gpus = {"gpus": Given("--gpus", "2", ROOT)}
    for named in ("cpu", "cuda:1", '{"": 0}'):
        asked = gpus | {"device-map": Given("--device-map", named, ROOT)}
        with pytest.raises(SettingsError, match=r"^--gpus: 2 with the device map .*; expected one of the two; leave"):
            resolve_settings(asked, ROOT)
    assert resolve(gpus="2", device_map="cpu").gpus == 2, "in a file it waits"
    assert resolve_settings(gpus | {"device-map": Given("--device-map", "auto", ROOT)}, ROOT).gpus == 2


@pytest.mark.parametrize("other", [{"mode": "mean"}, {"phase": "decode"}, {"mode": "needle_edge"}])
def test_facts_are_asked_of_zeroed_heads_alone(other: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^--facts: with mode .*; expected heads that are zeroed at every token"):
        resolve(facts="ours", **other)


def test_heads_that_lose_edges_do_so_from_the_prompts_last_token_on() -> None:
    assert resolve(mode="needle_edge").phase == "decode"
    assert resolve(mode="other_edge", phase="decode").phase == "decode"
    with pytest.raises(SettingsError, match=r"^--phase: all; expected decode with the mode mass_edge, .* leave the"):
        resolve(mode="mass_edge", phase="all")
    with pytest.raises(SettingsError, match=r"^--phase: decode; expected all with the mode rescue, .* leave the"):
        resolve(mode="rescue", phase="decode")


def test_a_model_in_a_folder_below_the_root_is_found(tmp_path: Path) -> None:
    for name in ("tiny", "demo"):
        (tmp_path / name).mkdir()
    assert resolve_settings({"model": Given("--model", "tiny", tmp_path)}, tmp_path).model == str(tmp_path / "tiny")
    assert resolve_settings({"model": Given("--model", "demo", tmp_path)}, tmp_path).model == "demo"


@pytest.mark.parametrize("name", [300 * "x", 300 * "x" + ".gguf"])
def test_a_name_that_no_file_system_holds_is_a_models_all_the_same(name: str, tmp_path: Path) -> None:
    """It is told once the model is looked for."""
    assert resolve_settings({"model": Given("--model", name, tmp_path)}, tmp_path).model == name


def test_the_store_lies_among_the_reports_unless_it_is_named() -> None:
    assert resolve(reports="out").store == ROOT / "out" / "store.sqlite"
    assert resolve(reports="out", store="my.sqlite").store == ROOT / "my.sqlite"


def test_little_of_the_harness_is_imported() -> None:
    """Every pytest run that has the plugin installed imports this module."""
    script = "import sys, harness.options; print(sorted(m for m in sys.modules if m.startswith('harness')))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    names = (
        "harness",
        *(f"harness.{name}" for name in ("choices", "errors", "files", "option_values", "options", "settings")),
    )
    assert done.stdout.strip() == str(list(names))


@pytest.mark.parametrize("name", ["data", "model", "run", "template", "tasks"])
@pytest.mark.parametrize("bad", ["\udcff", "\0"])
def test_bytes_that_are_no_text_are_refused(name: str, bad: str) -> None:
    """As a shell hands them on; the report, which is UTF-8, could not be written after all the work."""
    with pytest.raises(SettingsError, match=r"^--ablation-\w+: 'a=.*'; expected characters in UTF-8; rename"):
        resolve_settings({name: Given(f"--ablation-{name}", f"a={bad}", Path("/x"))}, Path("/x"))


def test_a_part_has_a_run_and_a_store_of_its_own() -> None:
    part = resolve(part="2/8")
    assert (part.run, part.store) == ("part-2-of-8", ROOT / "reports" / "part-2-of-8.sqlite")
    named = resolve(part="2/8", run="mine", store="mine.sqlite")
    assert (named.run, named.store) == ("mine", ROOT / "mine.sqlite")
