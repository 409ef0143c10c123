"""The command line, through `main(argv)`: what each command prints and writes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from fake_study import make_report
from tiny_models import save_checkpoint

from harness import cli
from harness.cli import main
from harness.demo.filings import demo_rows
from harness.experiment.head_files import read_ranking
from harness.experiment.heads import ModelShape
from harness.findings.report_writing import write_report
from harness.retrieval.rows import read_rows
from harness.retrieval.split import filing_hash, split_of
from harness.retrieval.tasks import EDGAR_TASKS

Capture = pytest.CaptureFixture[str]
PUBLIC = Path(__file__).parents[2] / "shared" / "reference" / "edgar_haystack"
HEADS = '{"ceo_lastname": [{"head": [2, 3], "avg_score": 0.5}, {"head": [0, 1], "avg_score": 0.25}]}'


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 layers of 4 heads."""
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def heads_file(tmp_path: Path) -> Path:
    path = tmp_path / "heads.json"
    path.write_text(HEADS)
    return path


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    assert main(["rows", "--out", str(path), "--filings", "6", "--sentences", "2"]) == 0
    return path


def refusal(capsys: Capture, *argv: object) -> str:
    """The one line of a command that must fail with exit code 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in argv]) == 2
    *notes, line = capsys.readouterr().err.splitlines()
    assert line.startswith("retrieval-heads: error: ")
    assert not any("error" in note or "Traceback" in note for note in notes)
    return line.removeprefix("retrieval-heads: error: ")


def usage_error(capsys: Capture, *argv: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


class TestHeads:
    @pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"no public head files in {PUBLIC}")
    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("ranked_heads.json", "9 tasks x 128 heads, 102 shared"),
            ("ranked_heads_v1.json", "9 tasks x 20 heads, 7 shared"),
        ],
    )
    def test_public_files(self, name: str, size: str, capsys: Capture) -> None:
        assert main(["heads", str(PUBLIC / name), "--model-shape", "32,32"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{name}: {size}\n")
        assert all(f"\n{task} " in out for task in EDGAR_TASKS)
        assert "\ncontrol pool: " in out

    def test_a_shape_that_fits(self, heads_file: Path, capsys: Capture) -> None:
        assert main(["heads", str(heads_file), "--model-shape", "3,4"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "heads.json: 1 tasks x 2 heads, 2 shared"
        assert "control pool: 10 of 12 heads at top-k 2: enough for random controls up to k = 5" in lines

    def test_a_shape_that_does_not_fit(self, heads_file: Path, capsys: Capture) -> None:
        line = refusal(capsys, "heads", heads_file, "--model-shape", "2,4")
        assert line == "heads.json: tasks.ceo_lastname[0]: layer 2, but the model has 2 layers (0-1)"

    @pytest.mark.parametrize("shape", ["80", "80,0", "80,64,1", "a,b", "-1,4"])
    def test_a_shape_that_is_none(self, heads_file: Path, shape: str, capsys: Capture) -> None:
        assert "argument --model-shape: " in usage_error(capsys, "heads", heads_file, "--model-shape", shape)

    def test_conversion_keeps_the_heads_and_the_shape(self, heads_file: Path, tmp_path: Path) -> None:
        ours = tmp_path / "ours.json"
        assert main(["heads", str(heads_file), "--model-shape", "3,4", "--convert", str(ours)]) == 0
        before, after = read_ranking(heads_file), read_ranking(ours)
        assert (after.tasks, after.top_k) == (before.tasks, before.top_k)
        assert after.model == ModelShape(3, 4)
        assert json.loads(ours.read_text())["schema_version"] == 1

    @pytest.mark.parametrize("content", [None, b"", b"\x80\x81\x00", HEADS[:60].encode(), b'{"a": 1}'], ids=str)
    def test_a_file_that_is_none(self, content: bytes | None, tmp_path: Path, capsys: Capture) -> None:
        path, ours = tmp_path / "bad.json", tmp_path / "ours.json"
        if content is not None:
            path.write_bytes(content)
        assert "bad.json" in refusal(capsys, "heads", path, "--convert", ours)
        assert not ours.exists()

    def test_a_conversion_that_cannot_be_written(self, heads_file: Path, capsys: Capture) -> None:
        line = refusal(capsys, "heads", heads_file, "--convert", heads_file / "ours.json")
        assert "expected a file that can be written" in line


class TestRows:
    @pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
    def test_rows_come_back_as_the_demo_has_them(self, ending: str, tmp_path: Path, capsys: Capture) -> None:
        path = tmp_path / f"rows.{ending}"
        assert main(["rows", "--out", str(path), "--filings", "2", "--seed", "5", "--sentences", "3"]) == 0
        assert read_rows(path, EDGAR_TASKS, strict=True).rows == demo_rows(2, seed=5, n_sentences=3)
        assert capsys.readouterr().out == f"wrote {path}: 18 rows of 2 filings\n"

    @pytest.mark.parametrize("side", ["identification", "evaluation"])
    def test_all_rows_on_one_side(self, side: str, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        assert main(["rows", "--out", str(path), "--filings", "3", "--split", side]) == 0
        assert {row.split for row in read_rows(path, EDGAR_TASKS).rows} == {side}

    def test_without_options_they_are_the_demos(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        assert main(["rows", "--out", str(path)]) == 0
        assert read_rows(path, EDGAR_TASKS).rows == demo_rows()

    def test_bad_options(self, tmp_path: Path, capsys: Capture) -> None:
        assert "expected .csv, .parquet or .jsonl" in refusal(capsys, "rows", "--out", tmp_path / "rows.txt")
        lost = tmp_path / "none" / "rows.csv"
        assert "expected a folder that can be written" in refusal(capsys, "rows", "--out", lost)
        for option, value in (("--filings", 0), ("--seed", -1), ("--sentences", "two"), ("--split", "test")):
            line = usage_error(capsys, "rows", "--out", tmp_path / "rows.csv", option, value)
            assert f"argument {option}: " in line
        assert not list(tmp_path.iterdir())


class TestIdentify:
    @pytest.fixture
    def sound(self, checkpoint: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """Options that work, in the folder of the rows."""
        monkeypatch.chdir(rows_file.parent)
        return {"--model": str(checkpoint), "--data": "rows.jsonl", "--top-k": "2", "--out": "out.json"}

    def test_a_ranking_from_rows_to_file(self, checkpoint: Path, rows_file: Path, capsys: Capture) -> None:
        out = rows_file.with_name("ranking.json")
        argv = ["identify", "--model", str(checkpoint), "--data", str(rows_file), "--out", str(out)]
        argv += ["--top-k", "3", "--seed", "1", "--tasks", "ceo_lastname,incorporation_year"]
        capsys.readouterr()
        assert main(argv) == 0
        shown = capsys.readouterr()
        ranking = read_ranking(out)
        identified = [row for row in demo_rows(6, n_sentences=2) if split_of(row, 1) == "identification"]
        n = len(identified) // 9
        assert 0 < n < 6
        assert list(ranking.tasks) == ["ceo_lastname", "incorporation_year"]
        assert ranking.samples == {"ceo_lastname": n, "incorporation_year": n}
        assert ranking.filing_hashes == frozenset(filing_hash(row.filename, 1) for row in identified)
        assert (ranking.split_seed, ranking.top_k, ranking.method) == (1, 3, "summed_attention")
        assert all(len(heads) == 3 for heads in ranking.tasks.values())
        assert {len(grid) for grid in (ranking.mean_scores or {}).values()} == {3}
        assert str(checkpoint.parent) not in out.read_text()
        lines = shown.out.splitlines()
        assert lines[0].startswith(f"{out}: 2 tasks x 3 heads, ")
        assert lines[5].startswith(f"ceo_lastname           {n}      3  ")
        assert f"control pool: {len(ranking.pool(ModelShape(3, 4)))} of 12 heads at top-k 3" in shown.out
        said = f"{checkpoint}: {2 * n} identification rows of {n} filings, 2 tasks\n"
        assert shown.err == said
        first = out.read_bytes()
        assert main(argv) == 0
        assert out.read_bytes() == first, "the same command gives the same file"
        assert sorted(path.name for path in rows_file.parent.iterdir()) == ["ranking.json", "rows.jsonl"]

    def test_excluded_rows_are_told(self, checkpoint: Path, tmp_path: Path, capsys: Capture) -> None:
        lines = []
        for index in range(8):
            row = {"filename": f"f{index}", "task": "ceo_lastname", "split": "identification"}
            row |= {
                "needle_sentence": "The CEO is Lee.",
                "needle_value": "Lee",
                "haystack_text": "No. It is.",
            }
            lines.append(row)
        lines[5]["haystack_text"] = "No. The CEO is Lee."
        data, out = tmp_path / "rows.jsonl", tmp_path / "out.json"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        argv = [
            "identify",
            "--model",
            str(checkpoint),
            "--data",
            str(data),
            "--out",
            str(out),
            "--top-k",
            "2",
        ]
        assert main([*argv, "--max-rows", "6"]) == 0
        err = capsys.readouterr().err
        assert "excluded: f5/ceo_lastname: the needle already stands in the haystack (1 x)\n" in err
        assert err.endswith("1 rows excluded\n")
        assert read_ranking(out).samples == {"ceo_lastname": 6}
        assert "row 6: haystack_text" in refusal(capsys, *argv, "--strict-rows")

    def test_paths_are_relative_to_the_working_folder(
        self, checkpoint: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(rows_file.parent)
        (rows_file.parent / "tiny").symlink_to(checkpoint)
        argv = ["--model", "tiny", "--data", "rows.jsonl", "--top-k", "2", "--tasks", "ceo_lastname"]
        assert main(["identify", *argv]) == 0
        assert read_ranking(rows_file.parent / "retrieval_heads.json").top_k == 2

    @pytest.mark.parametrize(
        ("option", "value", "words"),
        [
            (
                "--out",
                "none/out.json",
                "--out: none/out.json: No such file or directory; expected a file in a",
            ),
            ("--out", ".", "is a folder; expected a file in a folder that can be written"),
            ("--data", "none.jsonl", "none.jsonl: No such file"),
            ("--model", "./none", "no such folder; expected a checkpoint's folder or a hub id"),
            ("--tasks", "ceo_firstname", "tasks: got 'ceo_firstname'; expected one or more of"),
            ("--task-file", "none.toml", "none.toml: No such file"),
            ("--method", "mean", "method: 'mean'; expected one of summed_attention"),
            ("--top-k", "13", "top_k: 13; expected 1 to 12"),
            ("--max-rows", "8", "rows.jsonl: no rows for identification"),
            ("--max-rows", "two", "--max-rows: 'two'; expected a whole number of at least 1"),
            ("--seed", "-1", "--seed: '-1'; expected a whole number of at least 0"),
            ("--insertion", "end", "--insertion: 'end'; expected sentence or published"),
        ],
    )
    def test_what_cannot_be_used(
        self, option: str, value: str, words: str, sound: dict[str, str], capsys: Capture
    ) -> None:
        argv = [f"{name}={text}" for name, text in (sound | {option: value}).items()]
        assert words in refusal(capsys, "identify", *argv)
        assert [path.name for path in Path.cwd().iterdir()] == ["rows.jsonl"], "nothing half-written"

    def test_the_output_is_checked_first(self, tmp_path: Path, capsys: Capture) -> None:
        lost = ["--model=./none", f"--data={tmp_path}/none.csv", f"--out={tmp_path}/none/out.json"]
        assert refusal(capsys, "identify", *lost).startswith("--out: ")

    def test_interrupted(self, rows_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        def interrupted(*_arguments: object, **_options: object) -> NoReturn:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "identify_heads", interrupted)
        out = rows_file.with_name("out.json")
        assert main(["identify", "--data", str(rows_file), "--out", str(out)]) == 130
        assert capsys.readouterr().err.endswith("\nretrieval-heads: interrupted\n")
        assert not out.exists()


class TestReports:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        report, samples = make_report(("ceo_lastname",), (1, 2), ("within_task",), 3)
        write_report(report, samples, tmp_path / "run")
        return tmp_path / "run"

    def test_plots_go_beside_the_report(self, folder: Path, capsys: Capture) -> None:
        assert main(["plot", str(folder), "--format", "png"]) == 0
        drawn = sorted(path.name for path in (folder / "plots").iterdir())
        assert {"accuracy_by_k.png", "head_map.png"} <= set(drawn)
        assert all(name.endswith(".png") for name in drawn)
        wrote = sorted(line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines())
        assert wrote == [str(folder / "plots" / name) for name in drawn]

    def test_plots_go_where_they_are_asked_for(self, folder: Path, tmp_path: Path) -> None:
        argv = [
            "plot",
            str(folder / "report.json"),
            "--format",
            "svg,png",
            "--out",
            str(tmp_path / "figures"),
        ]
        assert main(argv) == 0
        assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
        assert not (folder / "plots").exists()

    def test_tables(self, folder: Path, tmp_path: Path, capsys: Capture) -> None:
        assert main(["export", str(folder), "--csv"]) == 0
        assert main(["export", str(folder), "--csv", str(tmp_path / "tables")]) == 0
        names = ["accuracy_by_k.csv", "figures.csv"]
        places = [folder / "plots", tmp_path / "tables"]
        assert [sorted(path.name for path in place.iterdir()) for place in places] == [names, names]
        wrote = [f"wrote {place / name}" for place in places for name in names]
        assert capsys.readouterr().out.splitlines() == wrote

    def test_what_cannot_be_used(self, folder: Path, tmp_path: Path, capsys: Capture) -> None:
        assert "expected one or more of png,svg,pdf" in refusal(capsys, "plot", folder, "--format", "gif")
        for command in (["plot"], ["export", "--csv", str(tmp_path)]):
            assert "expected a report's file" in refusal(capsys, command[0], tmp_path / "none", *command[1:])
        blocked = folder / "report.json"
        assert "expected a folder that can be written" in refusal(capsys, "plot", folder, "--out", blocked)
        assert "expected a folder that can be written" in refusal(capsys, "export", folder, "--csv", blocked)
        assert "--csv" in usage_error(capsys, "export", folder)


def test_a_closed_pipe_is_no_error(heads_file: Path) -> None:
    """As in `retrieval-heads heads FILE | head -0`."""
    command = [sys.executable, "-m", "harness.cli", "heads", str(heads_file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_parsing_loads_nothing_heavy() -> None:
    script = (
        "import sys; from harness.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(command in done.stdout for command in ("identify", "heads", "rows", "plot", "export"))
