"""What is shown of a head file, what is converted, and what is refused."""

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.experiment.head_files import read_ranking, write_ranking
from harness.experiment.heads import ModelShape
from harness.experiment.rankings import rank
from harness.retrieval.tasks import EDGAR_TASKS

from .refusals import Capture, refusal, usage_error

PUBLIC = Path(__file__).parents[3] / "shared" / "reference" / "edgar_haystack"
HEADS = b'{"ceo_lastname": [{"head": [2, 3], "avg_score": 0.5}'


@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"no public head files in {PUBLIC}")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ranked_heads.json", "9 tasks x 128 heads, 102 shared"),
        ("ranked_heads_v1.json", "9 tasks x 20 heads, 7 shared"),
    ],
)
def test_public_files(name: str, size: str, capsys: Capture) -> None:
    assert main(["heads", str(PUBLIC / name), "--model-shape", "32,32"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: {size}\n")
    assert all(f"\n{task} " in out for task in EDGAR_TASKS)
    assert "\ncontrol pool: " in out


def test_a_shape_that_fits(heads_file: Path, capsys: Capture) -> None:
    assert main(["heads", str(heads_file), "--model-shape", "3,4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "heads.json: 1 tasks x 2 heads, 2 shared"
    assert "control pool: 10 of 12 heads at top-k 2: enough for random controls up to k = 5" in lines


def test_a_shape_that_does_not_fit(heads_file: Path, capsys: Capture) -> None:
    line = refusal(capsys, "heads", heads_file, "--model-shape", "2,4")
    assert line == "heads.json: tasks.ceo_lastname[0]: layer 2, but the model has 2 layers (0-1)"


@pytest.mark.parametrize("shape", ["80", "80,0", "80,64,1", "a,b", "-1,4"])
def test_a_shape_that_is_none(heads_file: Path, shape: str, capsys: Capture) -> None:
    assert "argument --model-shape: " in usage_error(capsys, "heads", heads_file, "--model-shape", shape)


def test_conversion_keeps_the_heads_and_the_shape(heads_file: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.json"
    assert main(["heads", str(heads_file), "--model-shape", "3,4", "--convert", str(ours)]) == 0
    before, after = read_ranking(heads_file), read_ranking(ours)
    assert (after.tasks, after.top_k) == (before.tasks, before.top_k)
    assert after.model == ModelShape(3, 4)
    assert json.loads(ours.read_text())["schema_version"] == 1


@pytest.fixture
def rankings(tmp_path: Path) -> tuple[Path, Path]:
    """Two methods' rankings of 2 layers of 2 heads."""
    paths = tmp_path / "one.json", tmp_path / "two.json"
    for path, method, scores in zip(
        paths, ("a", "b"), ([[4.0, 3.0], [2.0, 1.0]], [[4.0, 1.0], [3.0, 2.0]]), strict=True
    ):
        write_ranking(rank({"city": scores}, top_k=2, method=method, samples={"city": 3}), path)
    return paths


def test_against_another_method(rankings: tuple[Path, Path], capsys: Capture) -> None:
    one, two = rankings
    assert main(["heads", str(one), "--against", str(two)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1: one.json: a",
        "2: two.json: b",
        "Spearman's rank correlation over all heads, and how many of the top 2 are common",
        "task             1-2",
        "city      0.400  1/2",
        "all rows  0.400  1/2",
    ]
    assert main(["heads", str(one), "--against", str(two), str(one), "--top-k", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all rows  0.400  2/3  1.000  3/3  0.400  2/3"


def test_what_cannot_be_compared(rankings: tuple[Path, Path], heads_file: Path, capsys: Capture) -> None:
    one, two = rankings
    against = (one, "--against", two)
    assert "--top-k: got without --against" in refusal(capsys, "heads", one, "--top-k", "2")
    assert "no task in common" in refusal(capsys, "heads", one, "--against", heads_file)
    assert "expected 5; compare fewer with --top-k" in refusal(capsys, "heads", *against, "--top-k", "5")
    assert "expected a ranking of this model's heads" in refusal(
        capsys, "heads", one, "--against", two, "--model-shape", "2,3"
    )
    assert "none.json: " in refusal(capsys, "heads", one, "--against", one.with_name("none.json"))


@pytest.mark.parametrize("content", [None, b"", b"\x80\x81\x00", HEADS, b'{"a": 1}'], ids=str)
def test_a_file_that_is_none(content: bytes | None, tmp_path: Path, capsys: Capture) -> None:
    path, ours = tmp_path / "bad.json", tmp_path / "ours.json"
    if content is not None:
        path.write_bytes(content)
    assert "bad.json" in refusal(capsys, "heads", path, "--convert", ours)
    assert not ours.exists()


def test_a_conversion_that_cannot_be_written(heads_file: Path, capsys: Capture) -> None:
    line = refusal(capsys, "heads", heads_file, "--convert", heads_file / "ours.json")
    assert "expected a file that can be written" in line
