"""What is remembered of a model, and that every change of what it depends on is a miss."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import make_report
from tiny_models import save_checkpoint
from transformers import AutoTokenizer

import harness
from harness.errors import ModelError
from harness.experiment.store import Store
from harness.findings.figures import plots
from harness.findings.report.report_data import ReportData
from harness.settings import Settings
from harness.study import memory
from harness.study.asked_model import AskedModel
from harness.study.memory import Memory
from harness.study.to_look_at import _figures


def never() -> str:
    raise AssertionError("it is known")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.fixture
def asked(checkpoint: Path, tmp_path: Path) -> Settings:
    """A checkpoint of which something is remembered in a store."""
    settings = Settings(model=str(checkpoint), store=tmp_path / "store.sqlite", dtype="float32")
    keep(settings)
    assert Memory(settings).recall("model", "name", never) == "known"
    return settings


def keep(settings: Settings) -> None:
    """Remember something of the model."""
    first = Memory(settings)
    assert first.recall("model", "name", lambda: "known") == "known"
    with Store(settings.store_file) as store:
        first.keep(store)


def is_known(settings: Settings) -> bool:
    return Memory(settings).knows("model", "name")


def test_where_things_go_is_no_matter(asked: Settings) -> None:
    assert is_known(replace(asked, run="another", reports=asked.store_file.parent, refresh=True))


@pytest.mark.parametrize(
    "change",
    [{"dtype": "bfloat16"}, {"template": ("enable_thinking=true",)}, {"max_new_tokens": 3}, {"seq_len": 40}],
    ids=lambda change: str(*change),
)
def test_other_settings_are_a_miss(change: dict[str, object], asked: Settings) -> None:
    assert not is_known(replace(asked, **change))  # type: ignore[arg-type]  # one of many kinds


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_another_byte_in_any_of_the_models_files_is_a_miss(name: str, asked: Settings) -> None:
    file = Path(asked.model) / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    assert not is_known(asked)


def test_a_template_of_ones_own_is_a_miss(asked: Settings) -> None:
    (Path(asked.model) / "chat_template.jinja").write_text("{{ messages }}")
    assert not is_known(asked)


def test_another_folder_is_a_miss(asked: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Path(asked.model).rename(other)
    assert not is_known(replace(asked, model=str(other)))


@pytest.mark.parametrize("program", memory.PROGRAMS)
def test_another_version_of_a_program_is_a_miss(program: str, asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    own: Callable[[str], str | None] = memory._version
    monkeypatch.setattr(memory, "_version", lambda name: "0.0" if name == program else own(name))
    assert not is_known(asked)


def test_another_source_of_the_harness_is_a_miss(asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "__file__", str(Path(harness.__file__).parent / "demo" / "__init__.py"))
    assert not is_known(asked)


def test_other_gpus_to_be_seen_are_a_miss(asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert not is_known(asked)


def test_a_dry_run_and_a_model_that_is_not_there_remember_nothing(asked: Settings) -> None:
    assert not is_known(replace(asked, dry_run=True))
    missing = Memory(replace(asked, model="/nowhere/at all"))
    assert missing.recall("model", "name", lambda: "found") == "found"
    with Store(asked.store_file) as store:
        missing.keep(store)
    assert not is_known(replace(asked, model="/nowhere/at all"))


def test_a_damaged_memory_is_none(asked: Settings) -> None:
    content = asked.store_file.read_bytes()
    assert content.count(b'"known"') == 1
    asked.store_file.write_bytes(content.replace(b'"known"', b'"gnown"'))
    assert not is_known(asked)


def test_what_is_remembered_is_what_is_found(checkpoint: Path, tmp_path: Path) -> None:
    settings = Settings(model=str(checkpoint), store=tmp_path / "store.sqlite")
    first = AskedModel(settings)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer("the answer", add_special_tokens=False)["input_ids"]
    found = (first.blueprint, first.fingerprints, first.special_tokens, first.known_text(ids))
    with Store(settings.store_file) as store:
        first.memory.keep(store)
    second = AskedModel(settings)
    assert (second.blueprint, second.fingerprints, second.special_tokens, second.known_text(ids)) == found
    assert "_checkpoint" not in vars(second)


def test_a_model_that_is_another_than_remembered_is_refused_and_forgotten(asked: Settings) -> None:
    model = AskedModel(asked)
    wrong = replace(model.blueprint, attention="eager")
    vars(model)["blueprint"] = wrong
    with pytest.raises(
        ModelError, match="not as the store remembers it; expected the same files and devices; start again"
    ):
        model.load()
    assert not model.memory.knows("model", "blueprint")


SESSION = """
import gc
import sys
import pytest
code = pytest.main(["evals", "-q", "-k", "{words}", "-p", "no:cacheprovider", "--ablation-max-rows=9", "--ablation-k=1",
    "--ablation-reports={reports}"])
loaded = {{"torch", "transformers", "tokenizers", "matplotlib"}} & set(sys.modules)
print(gc.get_freeze_count() > 0, int(code), sorted(loaded))
"""


def test_a_session_whose_records_are_stored_loads_no_torch(tmp_path: Path) -> None:
    def last_line() -> str:
        code = SESSION.format(words="general", reports=tmp_path)
        root = Path(harness.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    report = tmp_path / "latest" / "samples.jsonl"
    assert last_line().endswith("'tokenizers', 'torch', 'transformers']")
    first = report.read_bytes()
    assert last_line() == "True 0 []"  # nor is what modules leave looked through
    assert report.read_bytes() == first


def test_figures_of_an_equal_report_that_are_there_are_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []

    def draw(report: ReportData, folder: Path, **_how: object) -> tuple[Path, ...]:
        drawn.append(folder)
        file = folder / f"figure{report.run.seconds}.svg"
        file.write_text("<svg>")
        return (file,)

    monkeypatch.setattr(plots, "draw_plots", draw)
    memory, report = Memory(Settings(dry_run=True)), make_report(n_filings=3)[0]
    later = report.model_copy(update={"run": report.run.model_copy(update={"seconds": 99.0})})
    other = report.model_copy(update={"run": report.run.model_copy(update={"exit": "interrupted"})})
    (file,) = _figures(report, tmp_path, memory, lambda: False)
    assert _figures(later, tmp_path, memory, lambda: False) == (file,)
    assert len(drawn) == 1
    file.write_text("another's")
    assert _figures(report, tmp_path, memory, lambda: False) == (file,)
    assert (len(drawn), file.read_text()) == (2, "<svg>")
    _figures(other, tmp_path, memory, lambda: False)
    file.unlink()
    _figures(other, tmp_path, memory, lambda: False)
    assert len(drawn) == 4
