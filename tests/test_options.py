"""Options: each one's rule, where a bad value was given, and what paths are relative to."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.choices import Nodes
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
        f"{prefix}{name}: given without {prefix}{partner}, and alone does nothing; expected both or neither; "
        f"add {prefix}{partner}, or leave {prefix}{name} out"
    )
    for standing in (True, False):
        both = typed | {partner: Given(partner, other, ROOT, standing=standing)}
        assert getattr(resolve_settings(both, ROOT), option(name).field) != getattr(Settings(), option(name).field)
    if option(partner).switch:
        with pytest.raises(SettingsError, match=rf"^{prefix}{name}: given without {prefix}{partner}, "):
            resolve_settings(typed | {partner: Given(partner, "false", ROOT)}, ROOT)
    assert option(name).told(prefix).endswith(f"; only with {prefix}{partner}")


@pytest.mark.parametrize("name", PARTNERS)
def test_what_stands_in_a_file_waits_for_its_partner(name: str) -> None:
    field = option(name).field
    assert getattr(resolve(**{field: PARTNERS[name][0]}), field) != getattr(Settings(), field)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("k", "20, 1,5", (1, 5, 20)),
        ("depth", "0.25,0,1", (0.25, 0.0, 1.0)),
        ("tasks", "ceo_lastname, headquarters_city", ("ceo_lastname", "headquarters_city")),
        ("max_rows", "9", 9),
        ("seed", "0", 0),
        ("refresh", "Yes", True),
        ("refresh", "off", False),
        ("dry_run", True, True),
        ("dtype", "bfloat16", "bfloat16"),
        ("random_match", "layer", "layer"),
        ("scorer", "published", "published"),
        ("run", "night-3", "night-3"),
        ("quantization", "4bit", "4bit"),
        ("template", "enable_thinking=false; effort = a=b\nx=", ("enable_thinking=false", "effort = a=b", "x=")),
        ("architectures", "\nmine = a.b, c\nhers=d,e.f; his = g, h", ("mine = a.b, c", "hers=d,e.f", "his = g, h")),
        ("adapter", "lora", ROOT / "lora"),
        ("seq_len", "4096", 4096),
        ("data", "rows.csv", ROOT / "rows.csv"),
        ("data", "/data/rows.csv", Path("/data/rows.csv")),
        ("store", "~/store.sqlite", Path("~/store.sqlite").expanduser()),
        ("heads", "heads/ours.json", ROOT / "heads" / "ours.json"),
        ("model", "owner/name", "owner/name"),
        ("gate_k", "5", 5),
        ("gate_k", "band", "band"),
        ("gate_draws", "39", 39),
        ("gate_strata", "3", "3"),
        ("gate_margin", "0.2", 0.2),
        ("gate_flat", "0", 0.0),
        ("gate_tasks", "true", True),
        ("part", "2/8", (2, 8)),
        ("cluster", "8xH100-80GB", (Nodes(1, 8, "H100", 80),)),
        ("cluster", "2x4xA100-SXM4-40GB, 1xRTX 4090-24GB", (Nodes(2, 4, "A100-SXM4", 40), Nodes(1, 1, "RTX 4090", 24))),
        ("cluster", "8xNVIDIA H100 80GB HBM3-80GB", (Nodes(1, 8, "NVIDIA H100 80GB HBM3", 80),)),
        ("ray", "[::1]:6379", "[::1]:6379"),
        ("facts", "ours", "ours"),
        ("facts", "own.toml", ROOT / "own.toml"),
    ],
)
def test_values_are_read(name: str, text: Value, value: object) -> None:
    assert getattr(resolve(**{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("k", "0", "expected a whole number of at least 1"),
        ("k", "-1", "expected a whole number of at least 1"),
        ("k", "two", "expected a whole number of at least 1"),
        ("k", "1,,2", "expected a whole number of at least 1"),
        ("k", "1,2,1", "expected different whole numbers"),
        ("depth", "1.5", "expected different numbers from 0 to 1"),
        ("depth", "nan", "expected different numbers from 0 to 1"),
        ("depth", "middle", "expected different numbers from 0 to 1"),
        ("depth", "0.5,0.50", "expected different numbers from 0 to 1"),
        ("tasks", "a,,b", "expected different names with commas between"),
        ("tasks", "a,a", "expected different names with commas between"),
        ("max_new_tokens", "0", "expected a whole number of at least 1"),
        ("seed", "-1", "expected a whole number of at least 0"),
        ("engine", "fast", "expected shared or reference"),
        ("part", "9" * 5000 + "/2", "expected I/N, part I of N, from 1/N to N/N"),
        ("cluster", "H100", "expected GPUs, card and memory of each kind of node, how many such nodes first"),
        ("cluster", "8xH100-80GB 4xA100-40GB", "expected GPUs, card and memory of each kind of node"),
        ("ray", "10.0.0.1", "expected HOST:PORT of a cluster's head"),
        ("ray", "10.0.0.1:0", "with a port from 1 to 65535, or auto, or local"),
        ("ray", "10.0.0.1:65536", "with a port from 1 to 65535, or auto, or local"),
        ("ray", "10.0.0.1 :6379", "expected HOST:PORT of a cluster's head"),
        ("cluster", "9" * 5000 + "xH100-80GB", "expected GPUs, card and memory"),
        ("scorer", "mine", "expected value or published"),
        ("refresh", "maybe", "expected true or false"),
        ("gate_margin", "10", "expected a number from 0 to 1, as 0.1 for"),
        ("gate_margin", "1", "no heads cost more than all right answers"),
        ("gate_margin_own", "nan", "expected a number from 0 to 1"),
        ("gate_flat", "-0.1", "expected a number from 0 to 1"),
        ("gate_k", "0", "expected a whole number of at least 1, or band"),
        ("gate_strata", "0", "expected layer, model, or a number of neighbouring layers"),
        ("gate_draws", "1", "expected a whole number of at least 2"),
        ("gate_k", "21", "expected at most the largest k, 20"),
        ("store", "~nobody-of-this-name/s", "expected a path; nobody of that name has a home here"),
        ("run", "a/b", "expected the name of a folder, without slashes"),
        ("run", "..", "expected the name of a folder, without slashes"),
    ],
)
def test_bad_values_say_where_they_were_given(name: str, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        resolve(**{name: text})
    assert str(error.value).startswith(f"--{name}: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


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


@settings(derandomize=True, deadline=None)
@given(ks=st.lists(st.integers(1, 10**6), min_size=1, unique=True), spaces=st.text(" ", max_size=2))
def test_ks_come_sorted_whatever_their_order(ks: list[int], spaces: str) -> None:
    assert option("k").parse(f"{spaces},{spaces}".join(map(str, ks))) == tuple(sorted(ks))


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
    names = ("harness", *(f"harness.{name}" for name in ("choices", "errors", "files", "options", "settings")))
    assert done.stdout.strip() == str(list(names))


@pytest.mark.parametrize("name", ["data", "model", "run", "template", "tasks"])
@pytest.mark.parametrize("bad", ["\udcff", "\0"])
def test_bytes_that_are_no_text_are_refused(name: str, bad: str) -> None:
    """As a shell hands them on; the report, which is UTF-8, could not be written after all the work."""
    with pytest.raises(SettingsError, match=r"^--ablation-\w+: 'a=.*'; expected characters in UTF-8; rename"):
        resolve_settings({name: Given(f"--ablation-{name}", f"a={bad}", Path("/x"))}, Path("/x"))


@given(
    st.builds(
        Nodes, st.integers(1, 999), st.integers(1, 99), st.sampled_from(["H100", "A100-SXM4"]), st.integers(1, 999)
    )
)
def test_nodes_are_written_as_they_are_asked_for(nodes: Nodes) -> None:
    assert resolve(cluster=str(nodes)).cluster == (nodes,)


def test_a_part_has_a_run_and_a_store_of_its_own() -> None:
    part = resolve(part="2/8")
    assert (part.run, part.store) == ("part-2-of-8", ROOT / "reports" / "part-2-of-8.sqlite")
    named = resolve(part="2/8", run="mine", store="mine.sqlite")
    assert (named.run, named.store) == ("mine", ROOT / "mine.sqlite")
