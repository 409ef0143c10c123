"""A GGUF file as the model: what the header and the report say of it."""

from hashlib import sha256

from gguf_writing import save_gguf

from plugin.project import Project, usage_error

STUDY = ("evals", "-k", "within_task", "--ablation-model=quantised.gguf")


def test_header_and_report_say_how_the_weights_are_kept(project: Project) -> None:
    file = save_gguf(project.path / "quantised.gguf", "Q4_1")
    result = project.run(*STUDY)
    result.assert_outcomes(passed=4)
    lines = result.outlines
    assert "ablation: quantised weights (Q4_1), read as full float32" in lines
    assert [line for line in lines if line.startswith("ablation: model quantised.gguf, rows rows.csv")]
    model = project.report()["model"]
    assert (model["id"], model["dtype"]) == ("quantised.gguf", "float32")
    assert model["quantization"] == "Q4_1, read as full weights"
    assert model["fingerprint"] == sha256(file.read_bytes()).hexdigest()


def test_a_file_that_is_not_quantised(project: Project) -> None:
    save_gguf(project.path / "quantised.gguf")
    result = project.run(*STUDY)
    assert "quantised weights" not in result.stdout.str()
    assert project.report()["model"]["quantization"] is None


def test_a_file_that_is_cut(project: Project) -> None:
    file = save_gguf(project.path / "quantised.gguf")
    file.write_bytes(file.read_bytes()[:5000])
    assert "cannot be read as GGUF" in usage_error(project.run(*STUDY))
