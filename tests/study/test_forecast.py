"""The forecast of a study: counted by hand on a tiny model, and told for a 70B config without its weights."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_results import SETTING, make_result
from tiny_models import opened, save_checkpoint, tiny_tokenizer

from harness.demo.filings import demo_rows
from harness.errors import SettingsError
from harness.experiment.bench_result import Measured, write_bench, write_document
from harness.experiment.conditions import BASELINE, NEEDLE_ABSENT, Condition
from harness.experiment.cost import decoding_bytes, shared_flops, single_flops
from harness.experiment.head_files import write_ranking
from harness.experiment.heads import Head, ModelShape
from harness.experiment.intervention import MeanValues
from harness.experiment.rankings import rank
from harness.experiment.store import IN_MEMORY, Store
from harness.model.performance.shapes import SHAPES
from harness.option_values import as_cluster
from harness.retrieval.facts import FACTS
from harness.retrieval.rows import write_rows
from harness.settings import Settings
from harness.study.facts import FactsRun
from harness.study.forecast import Forecast, forecast
from harness.study.forecast_text import forecast_lines
from harness.study.inputs import read_inputs
from harness.study.run import Run
from harness.study.whole import WholeResult

ONE = Condition("mine", "one", (Head(0, 1),))
SAME = Condition("mine", "same", (Head(0, 1),))
TWO = Condition("mine", "two", (Head(0, 1), Head(2, 3)))
NONE, FIRST, BOTH = frozenset[Head](), frozenset(ONE.heads), frozenset(TWO.heads)
TASKS = ("ceo_lastname", "incorporation_year")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Six rows of three filings for a tiny model."""
    folder = tmp_path_factory.mktemp("inputs")
    save_checkpoint(folder / "tiny")
    rows = [replace(row, split="evaluation") for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    write_rows(rows, folder / "rows.jsonl")
    scores = {task: [[float(layer + head) for head in range(4)] for layer in range(3)] for task in TASKS}
    write_ranking(rank(scores, top_k=2, model=ModelShape(3, 4)), folder / "heads.json")
    return Settings(
        model=str(folder / "tiny"), data=folder / "rows.jsonl", heads=folder / "heads.json", k=(1, 2), dry_run=True
    )


def look(settings: Settings, *conditions: Condition) -> Forecast:
    with Store(IN_MEMORY) as store:
        return forecast(Run(read_inputs(settings), store, run_id="a"), conditions)


def test_what_is_counted(settings: Settings) -> None:
    found = look(settings, BASELINE, ONE, SAME, TWO)
    assert (found.plan.requested, found.plan.distinct, found.weights_here) == (24, 18, True)
    # 3 layers; the tree of {}, {L0H1}, {L0H1, L2H3}: 2 + 2 + 3 nodes
    assert found.passes == (6 * 9, 6 * 7)
    size = opened(settings.model).size("float32")
    assert found.flops[0] == sum(3 * single_flops(size, n) for n in found.tokens)
    assert found.flops[1] == sum(shared_flops(size, [NONE, FIRST, BOTH], n) for n in found.tokens)
    assert decoding_bytes(size, found.steps, found.positions, 1) == sum(
        decoding_bytes(size, 20, 60, n) for n in found.tokens
    )


def test_what_hangs_on_the_untouched_answer_is_counted_at_most(settings: Settings) -> None:
    """It is asked first, so that its own layers are read once more where others begin with them."""
    found = look(settings, BASELINE, ONE, replace(TWO, only_right=True))
    assert (found.plan.requested, found.plan.distinct, found.plan.if_right) == (18, 18, 6)
    # the tree of {}: 3 nodes; of {L0H1} and {L0H1, L2H3}, which share all layers but the last: 3 + 1
    assert found.passes == (6 * 9, 6 * (3 + 4))
    assert len(found.tokens) == 6
    lines = forecast_lines(found)
    assert lines[0].startswith("6 rows, 3 conditions: at most 18 completions requested, 18 distinct, 0 of them stored")
    assert lines[1] == "6 of them only where the untouched model, asked first, answers rightly"


def test_a_prompt_read_by_the_untouched_model_is_read_once(settings: Settings) -> None:
    found = look(replace(settings, phase="decode"), BASELINE, ONE, TWO)
    assert found.passes == (6 * 9, 6 * 3)
    size = opened(settings.model).size("float32")
    assert found.flops[1] == sum(shared_flops(size, [NONE], n) for n in found.tokens)
    usual = look(settings, BASELINE, ONE, TWO)
    assert (found.steps, found.positions) == (usual.steps, usual.positions)


def test_means_are_counted_until_they_are_found(settings: Settings, tmp_path: Path) -> None:
    rows = [row for row in demo_rows(3, n_sentences=2) if row.task in TASKS]
    first = rows[0].filename
    rows = [replace(row, split="identification" if row.filename == first else "evaluation") for row in rows]
    write_rows(rows, tmp_path / "rows.jsonl")
    mean = replace(settings, data=tmp_path / "rows.jsonl", mode="mean")
    size = opened(settings.model).size("float32")
    with Store(tmp_path / "store.sqlite") as store:
        run = Run(read_inputs(mean), store, run_id="a")
        found = forecast(run, [ONE])
        lengths = [len(prompt.token_ids) for prompt in run.interventions.mean_prompts]
        assert len(lengths) == 2
        assert found.value_flops == sum(single_flops(size, n) for n in lengths)
        assert "operations to find what ablated heads put out instead" in "\n".join(forecast_lines(found))
        assert forecast(run, [BASELINE]).value_flops == 0
        run.interventions.find_means(lambda prompts, note: MeanValues(np.zeros((3, 32))), lambda done, n: None)
        assert forecast(run, [ONE]).value_flops == 0
    assert look(settings, ONE).value_flops == 0


def test_donors_are_counted_once_a_prompt(settings: Settings) -> None:
    size = opened(settings.model).size("float32")
    with Store(IN_MEMORY) as store:
        run = Run(read_inputs(replace(settings, mode="resample")), store, run_id="a")
        donors = [run.interventions.donor(row.id, "full") for row in run.inputs.rows]
        found = forecast(run, [ONE, TWO])
    assert found.value_flops == pytest.approx(sum(single_flops(size, len(donor.token_ids)) for donor in donors))


def test_heads_that_lose_edges_cost_a_little_attention(settings: Settings) -> None:
    """The prompt is read once for all; 1 + 2 heads of width 8, twice scores and values at each of 20 new tokens."""
    edges = replace(settings, mode="needle_edge")
    found = look(edges, BASELINE, ONE, TWO)
    assert found.passes == (6 * 9, 6 * 3)
    assert found.value_flops == 2 * 4 * 3 * 8 * 20 * sum(found.tokens)
    assert any("operations to find what ablated heads put out instead" in line for line in forecast_lines(found))


def test_prompts_of_two_kinds_share_nothing(settings: Settings) -> None:
    found = look(settings, BASELINE, NEEDLE_ABSENT, ONE)
    assert len(found.tokens) == 12
    assert found.passes == (6 * 9, 6 * (6 + 3))


def test_hours_are_those_of_a_benchmark(settings: Settings, tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING | {"n_layers": 3}, make_result()))
    found = look(replace(settings, bench=tmp_path / "bench.json"), BASELINE)
    read_bytes = decoding_bytes(opened(settings.model).size("float32"), found.steps, found.positions, 1)
    seconds = (found.flops[1] / 1e12 + read_bytes / 1e11) / 0.4
    assert found.hours == pytest.approx(seconds / 3600)
    assert forecast_lines(found)[-1].endswith(
        "on a card in float32, at the 40% of its best that the benchmark reached with prompts of 20-30 tokens, no "
        "answer ending early"
    )
    write_bench(tmp_path / "bench.json", Measured(SETTING, make_result()))
    other = look(replace(settings, bench=tmp_path / "bench.json"), BASELINE)
    assert other.hours is None
    assert forecast_lines(other)[-1] == (
        "hours: not known; the benchmark measured demo, 8 layers in float32, and this is 3 layers in float32; "
        "measure the like"
    )
    assert look(settings, BASELINE).hours is None


def test_a_benchmark_that_is_none(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"bench: .*expected a JSON file that can be read; give a file that"):
        look(replace(settings, bench=tmp_path / "none.json"), BASELINE)


def test_the_times_of_a_whole_command_are_told_from_a_benchmark(settings: Settings, tmp_path: Path) -> None:
    """What lacked a field that no user knows was the only thing said of them."""
    times = WholeResult("pytest evals", 10.0, 4.0, 5.0, 1.0, 20, 3, 60, "plain", 2, 6, 4.5)
    write_document(tmp_path / "whole.json", {**SETTING, **times.as_json()})
    with pytest.raises(SettingsError) as error:
        look(replace(settings, bench=tmp_path / "whole.json"), BASELINE)
    assert str(error.value) == (
        f"bench: {tmp_path / 'whole.json'}: the times of a whole command, as `retrieval-heads bench --whole` writes "
        "them; expected a benchmark of the engine; give a file that `retrieval-heads bench --json FILE` wrote, without "
        "--whole"
    )


def test_a_70b_config_needs_no_weights(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    SHAPES["llama-3.3-70b"].save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    heads = tmp_path / "heads.json"
    heads.write_text("[[10, 63], [79, 0]]")
    big = replace(settings, model=str(folder), heads=heads)
    found = look(replace(big, dtype="bfloat16"), BASELINE, ONE)
    first, *_, memory, hours = forecast_lines(found)
    assert first == (
        "6 rows, 2 conditions: 12 completions requested, 12 distinct, the weights are not here to look any up by"
    )
    assert memory.startswith("memory in bfloat16, as asked: 131.4 GiB of weights (70,554 million), ")
    # 2 (key, value) x 80 layers x 8 heads x 128 x 2 bytes a token
    assert f"{max(found.tokens) * 327_680 / 2**20:.1f} MiB of keys and values" in memory
    assert hours.startswith("hours: not known; ")
    # in 4 bits half a byte and a scale of 4 for each 64, but for both embeddings, norms and what is cached
    bits = look(replace(big, quantization="4bit", dtype="bfloat16"), BASELINE)
    whole = 2 * 128_256 * 8192 + 161 * 8192
    assert bits.kept[0].size.weight_bytes == whole * 2 + (found.kept[0].size.n_weights - whole) * 0.5625
    assert bits.kept[0].size.cached_bytes == 327_680
    assert "memory in 4bit and bfloat16, as asked: 39.8 GiB of weights (70,554 million), " in forecast_lines(bits)[-2]


@pytest.mark.parametrize("device_map", [None, "auto", "cpu"])
def test_what_a_gpu_would_take_stands_beside_it(settings: Settings, tmp_path: Path, device_map: str | None) -> None:
    """Whoever looks on a laptop means to run elsewhere, unless it is asked for by name."""
    folder = save_checkpoint(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    write_bench(tmp_path / "bench.json", Measured(SETTING | {"n_layers": 3, "dtype": "bfloat16"}, make_result()))
    found = look(replace(settings, model=str(folder), device_map=device_map, bench=tmp_path / "bench.json"), BASELINE)
    *_, memory, hours = forecast_lines(found)
    if device_map == "cpu":
        assert [kept.dtype for kept in found.kept] == ["float32"]
        assert hours.endswith("and this is 3 layers in float32; measure the like")
        return
    assert [(kept.dtype, kept.why) for kept in found.kept] == [
        ("float32", "as on this CPU"),
        ("bfloat16", "as on a GPU"),
    ]
    here, gpu = (kept.size for kept in found.kept)
    assert here.weight_bytes == 2 * gpu.weight_bytes
    assert memory.startswith("memory in bfloat16, as on a GPU: ")
    read_bytes = decoding_bytes(gpu, found.steps, found.positions, 1)
    assert found.hours == pytest.approx((found.flops[1] / 1e12 + read_bytes / 1e11) / 0.4 / 3600)
    assert " on a card in bfloat16, at " in hours


def test_a_pace_in_other_bits_does_not_count(settings: Settings, tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING | {"n_layers": 3, "quantization": "4bit"}, make_result()))
    found = look(replace(settings, bench=tmp_path / "bench.json"), BASELINE)
    assert found.hours is None
    assert "measured demo, 3 layers in 4bit and float32, and this is 3 layers in float32; " in forecast_lines(found)[-1]


def test_nothing_left_to_do(settings: Settings) -> None:
    found = look(settings, BASELINE)
    done = replace(found, plan=replace(found.plan, work=(), stored=6))
    assert forecast_lines(done)[1:] == ["to do: nothing"]


def test_facts_are_counted_beside_the_study(settings: Settings, tmp_path: Path) -> None:
    """Two sets of heads and none over each of three facts, whatever task the sets are of; the time is that of both."""
    write_bench(tmp_path / "bench.json", Measured(SETTING | {"n_layers": 3}, make_result()))
    inputs = read_inputs(replace(settings, bench=tmp_path / "bench.json"))
    with Store(IN_MEMORY) as store:
        run = Run(inputs, store, run_id="a")
        alone = forecast(run, [BASELINE, ONE])
        facts = FactsRun.beside(run, FACTS[:3])
        beside = facts.forecast([ONE, TWO])
        prompts = [facts.run.prompt(row.id, "needle_absent") for row in facts.run.inputs.rows]
    found = replace(alone, facts=beside)
    size = opened(settings.model).size("float32")
    assert (beside.plan.distinct, beside.steps) == (9, 60)
    assert beside.tokens == tuple(len(prompt.token_ids) for prompt in prompts)
    assert beside.flops[1] == sum(shared_flops(size, [NONE, FIRST, BOTH], n) for n in beside.tokens)
    assert found.hours == pytest.approx((alone.hours or 0) + (beside.hours or 0))
    assert (beside.hours or 0) > 0
    lines = forecast_lines(found)
    assert lines[1] == "beside them 3 facts, 3 sets of heads (none among them): 9 completions, 0 of them stored"
    assert lines[2].startswith(f"their prompts: {min(beside.tokens)}")
    assert len(lines) == len(forecast_lines(alone)) + 2
    done = replace(found, plan=replace(found.plan, work=(), stored=6))
    assert [line[:27] for line in forecast_lines(done)[1:]] == [
        lines[1][:27],
        lines[2][:27],
        "to do: nothing but the fact",
        lines[-1][:27],
    ]


def of_70b(settings: Settings, folder: Path, cluster: str, **asked: Any) -> list[str]:
    """The lines on a cluster, of a config alone."""
    SHAPES["llama-3.3-70b"].save_pretrained(folder / "llama")
    tiny_tokenizer().save_pretrained(folder / "llama")
    (folder / "heads.json").write_text("[[10, 63], [79, 0]]")
    big = replace(settings, model=str(folder / "llama"), heads=folder / "heads.json", dtype="bfloat16")
    lines = forecast_lines(look(replace(big, cluster=as_cluster(cluster), **asked), BASELINE, ONE))
    return lines[next(i for i, line in enumerate(lines) if line.startswith("hours: ")) + 1 :]


def test_a_cluster_is_laid_out(settings: Settings, tmp_path: Path) -> None:
    """No two-card pace of this name will ever be measured."""
    h200, h100, small, sum_of_all = of_70b(settings, tmp_path, "8xH200-141GB, 2x4xNONE-80GB,4xNONE-24GB")
    assert re.fullmatch(
        r"on 1 node of 8 x H200-141GB: 8 models, a card each, 6\.\d GiB beside the weights on the fullest card; "
        r"[\d.e-]+ hours for one, as measured on NVIDIA H200",
        h200,
    )
    assert re.fullmatch(
        r"on 2 nodes of 4 x NONE-80GB: 4 models, each over 2 cards \(40-40 layers\), 4 rows in flight, 12\.\d GiB "
        r"beside the weights on the fullest card; pace not measured",
        h100,
    )
    assert small.startswith("on 1 node of 4 x NONE-24GB: the model does not fit, 131.4 GiB of weights in bfloat16 and ")
    assert sum_of_all.startswith(
        "hours on the cluster: not measured with such a model on 2 x NONE-80GB; measure there "
    )


@pytest.mark.parametrize(
    ("cluster", "cards", "why"),
    [
        ("8xNONE-80GB", 9, "a node has 8 cards; expected 9 cards for one; set gpus to 8 or fewer"),
        ("1xNONE-80GB", 2, "a node has 1 card; expected 2 cards for one; set gpus to 1 or fewer"),
        ("99xNONE-80GB", 81, "the model has 80 layers; expected 81 cards for one; set gpus to 80 or fewer"),
    ],
)
def test_more_cards_a_model_than_there_can_be_are_no_lack_of_memory(
    settings: Settings, tmp_path: Path, cluster: str, cards: int, why: str
) -> None:
    assert of_70b(settings, tmp_path, cluster, gpus=cards)[0].endswith(f"-80GB: no model, for {why}")


def test_hours_of_a_cluster_are_those_of_all_its_models(settings: Settings, tmp_path: Path) -> None:
    *_, one, _ = of_70b(settings, tmp_path, "1xH200-141GB")
    line, total = of_70b(settings, tmp_path, "3x2xH200-141GB")
    (hours,) = re.findall(r"([\d.e-]+) hours for one", one)
    assert f"{hours} hours for one" in line
    (of_all,) = re.findall(r"hours on the cluster: ([\d.e-]+), rows shared out evenly", total)
    assert float(of_all) == pytest.approx(float(hours) / 6, rel=0.01)


def test_a_pace_that_is_given_goes_before_the_committed_one(settings: Settings, tmp_path: Path) -> None:
    setting = SETTING | {"n_layers": 80, "dtype": "bfloat16", "device": "NVIDIA H200", "gpus": 2}
    write_bench(tmp_path / "bench.json", Measured(setting, make_result()))
    line, total = of_70b(settings, tmp_path, "2xH200-141GB", bench=tmp_path / "bench.json", gpus=2)
    assert " each over 2 cards (40-40 layers), 4 rows in flight, " in line
    assert total.startswith("hours on the cluster: ")
    _, committed = of_70b(settings, tmp_path, "2xH200-141GB", gpus=2)
    assert committed.startswith("hours on the cluster: ")
    assert committed != total
    line, _ = of_70b(settings, tmp_path, "2xH100-80GB", gpus=2)
    assert line.endswith("; pace not measured")


def test_rows_of_a_filing_that_are_read_apart_take_longer(settings: Settings, tmp_path: Path) -> None:
    write_bench(tmp_path / "bench.json", Measured(SETTING | {"n_layers": 3}, make_result()))
    found = look(replace(settings, bench=tmp_path / "bench.json"), BASELINE)
    pace = found.pace
    assert pace is not None
    hours = found.hours
    assert hours is not None
    assert found.alone_flops == found.flops[1], "each of these filings' rows has a haystack of its own"
    assert found.hours_at(pace, apart=True) == hours
    shared = replace(found, flops=(found.flops[0], found.flops[1] / 2))
    apart = shared.hours_at(pace, apart=True)
    assert apart is not None
    assert apart == hours > (shared.hours or 0)
    assert forecast_lines(shared)[-1].endswith(
        f"no answer ending early ({hours:.3g} if rows of a filing were read apart)"
    )
