"""Values of options: what each text means, and what is said of one that means nothing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_options import ROOT, option, resolve

from harness.choices import Nodes
from harness.errors import SettingsError
from harness.settings import Value


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


@settings(derandomize=True, deadline=None)
@given(ks=st.lists(st.integers(1, 10**6), min_size=1, unique=True), spaces=st.text(" ", max_size=2))
def test_ks_come_sorted_whatever_their_order(ks: list[int], spaces: str) -> None:
    assert option("k").parse(f"{spaces},{spaces}".join(map(str, ks))) == tuple(sorted(ks))


@given(
    st.builds(
        Nodes, st.integers(1, 999), st.integers(1, 99), st.sampled_from(["H100", "A100-SXM4"]), st.integers(1, 999)
    )
)
def test_nodes_are_written_as_they_are_asked_for(nodes: Nodes) -> None:
    assert resolve(cluster=str(nodes)).cluster == (nodes,)
