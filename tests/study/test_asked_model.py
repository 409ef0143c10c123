"""What settings ask of a model reaches it, each of them; and its checkpoint is opened once."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import save_checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from harness.cli import main
from harness.demo import MODEL_FOLDER
from harness.demo.filings import demo_rows
from harness.errors import ModelError
from harness.experiment.cost import Speed
from harness.experiment.head_files import write_ranking
from harness.experiment.rankings import rank
from harness.model import SPINS
from harness.model.loading import checkpoint
from harness.model.loading.checkpoint_files import digest
from harness.retrieval.rows import write_rows
from harness.settings import DEMO, Settings
from harness.study.asked_model import AskedModel
from harness.study.benchmark import Request, measure
from harness.study.memory import model_place
from harness.study.session import StudySession
from harness.study.workers import Place

TASK = "ceo_lastname"
PHI = ("phi = model.layers, self_attn.dense",)


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model outside the table, with the tokenizer of the others."""
    folder = save_checkpoint(tmp_path_factory.mktemp("models") / "phi")
    sizes = {"hidden_size": 32, "intermediate_size": 16, "vocab_size": 259}
    config = AutoConfig.for_model("phi", num_hidden_layers=2, num_attention_heads=4, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]  # the library's
    return folder


def test_as_the_settings_say(phi: Path) -> None:
    settings = Settings(model=str(phi), architectures=PHI, dtype="bfloat16", attn="eager", device_map='{"": "cpu"}')
    model = AskedModel(settings)
    blueprint, loaded = model.blueprint, model.load()
    assert (blueprint.dtype, blueprint.attention) == (loaded.dtype, loaded.attention) == ("bfloat16", "eager")
    assert blueprint.shape == loaded.shape
    assert loaded.shape.id == "phi"
    assert model.tokenizer is loaded.tokenizer
    assert model.size("float64").weight_bytes == 4 * model.size("bfloat16").weight_bytes
    with pytest.raises(ModelError, match="model_type 'phi'"):
        AskedModel(replace(settings, architectures=())).load()
    with pytest.raises(ModelError, match="revision 'v1' of a folder"):
        AskedModel(replace(settings, revision="v1")).check_weights()


def test_another_place_for_the_weights(phi: Path) -> None:
    """As a worker's own GPUs are."""
    model = AskedModel(Settings(model=str(phi), architectures=PHI))
    places = {"model": "cpu", "lm_head": "disk"}
    assert model.load(device_map=json.dumps(places)).model.hf_device_map == places


def test_an_adapter_is_checked_and_its_content_known(phi: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra 'lora'")
    settings = Settings(model=str(phi), architectures=PHI, adapter=tmp_path)
    with pytest.raises(ModelError, match=r"holds no adapter_config.json"):
        AskedModel(settings).blueprint  # noqa: B018  # opens the checkpoint
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"one")
    one = AskedModel(settings).fingerprints
    assert one == (digest(phi), digest(tmp_path))
    assert AskedModel(replace(settings, adapter=None)).fingerprints == (digest(phi), None)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"another")
    assert AskedModel(settings).fingerprints != one


def test_quantised(phi: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")
    model = AskedModel(Settings(model=str(phi), architectures=PHI, quantization="8bit", device_map="cpu"))
    assert model.blueprint.dtype == "float16"
    assert model.load().model.is_loaded_in_8bit


def test_the_demo() -> None:
    assert model_place(Settings()) == str(MODEL_FOLDER)
    assert model_place(Settings(model="owner/name")) == "owner/name"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a model's source was resolved, its config read, the model built without weights, and its tokenizer and
    weights loaded."""
    counts: Counter[str] = Counter()

    def count(what: str, owner: object, name: str) -> None:
        real = getattr(owner, name)

        def counting(*given: object, **named: object) -> object:
            counts[what] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, counting)

    count("source", checkpoint, "find")
    count("config", AutoConfig, "from_pretrained")
    count("meta model", AutoModelForCausalLM, "from_config")
    count("tokenizer", AutoTokenizer, "from_pretrained")
    count("weights", AutoModelForCausalLM, "from_pretrained")
    return counts


@pytest.fixture
def study(tmp_path: Path) -> Settings:
    """A small study of a tiny model, its prompts cut to a length."""
    save_checkpoint(tmp_path / "tiny")
    write_rows([row for row in demo_rows(4, n_sentences=2) if row.task == TASK], tmp_path / "rows.jsonl")
    write_ranking(rank({TASK: [[1.0, 2.0, 3.0, 4.0]] * 3}, top_k=2), tmp_path / "heads.json")
    return Settings(
        model=str(tmp_path / "tiny"),
        data=tmp_path / "rows.jsonl",
        heads=tmp_path / "heads.json",
        k=(1, 2),
        seq_len=600,
        max_new_tokens=2,
        reports=tmp_path / "reports",
    )


ONCE = {"source": 1, "config": 1, "meta model": 1, "tokenizer": 1}


def test_a_study_opens_its_checkpoint_once(study: Settings, counted: Counter[str], tmp_path: Path) -> None:
    """From the inputs to the report, the model's answers included."""
    session = StudySession(study, tmp_path, place=Place("a"), own_score=lambda row, completion: {})
    session.declare(session.expand(["within_task"]))
    assert session.header()
    assert session.results(lambda progress: None)
    assert session.finish("passed")
    session.close()
    assert counted == ONCE | {"weights": 1}


def test_so_does_a_dry_run(study: Settings, counted: Counter[str], tmp_path: Path) -> None:
    """Which tells the model's size too."""
    dry = replace(study, dry_run=True)
    session = StudySession(dry, tmp_path, place=Place("a"), own_score=lambda row, completion: {}, writes=False)
    session.declare(session.expand(["within_task"]))
    assert session.dry_run()
    session.close()
    assert counted == ONCE


def test_so_does_the_ranking_of_heads(study: Settings, counted: Counter[str], tmp_path: Path) -> None:
    given = [f"--{name}={value}" for name, value in (("model", study.model), ("data", study.data), ("seq-len", 600))]
    assert main(["identify", *given, "--top-k=2", f"--out={tmp_path / 'ranked.json'}"]) == 0
    assert counted == ONCE | {"weights": 1}


def test_so_does_a_benchmark(study: Settings, counted: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.model.performance.bench.measure_speed", lambda device, dtype: Speed(1e9, 1e9))
    request = Request(
        settings=replace(study, seq_len=None),
        shape=DEMO,
        experiments=("within_task",),
        n_rows=1,
        n_tokens=range(1, 2),
        baseline="plain",
    )
    assert measure(request).result.tokens_identical
    assert counted == ONCE | {"weights": 1}


def test_what_libraries_leave_is_not_looked_through() -> None:
    """In a process of its own, nor all the rest at its end: and how threads wait is settled before."""
    code = """
import atexit, gc, os
atexit.register(lambda: print(len(gc.get_objects()) < 1_000))
from harness.study.asked_model import load_libraries
load_libraries()
kept = [[each] for each in range(10_000)]
print(gc.isenabled(), gc.get_freeze_count() > 100_000, os.environ['GOMP_SPINCOUNT'])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["True", "True", SPINS, "True"]
