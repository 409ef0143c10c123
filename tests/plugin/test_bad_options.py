"""A bad value of an option: exit code 4, and one line that says where it was given and what is expected."""

import sys

import pytest

from plugin.project import Project, usage_error

BAD = [
    ("k", "0", "'0'; expected a whole number of at least 1"),
    ("k", "-1", "'-1'; expected a whole number of at least 1"),
    ("k", "two", "'two'; expected a whole number of at least 1"),
    ("k", "1,1", "'1,1'; expected different whole numbers, as in 1,2,5"),
    ("depth", "2", "'2'; expected different numbers from 0 to 1, as in 0.25,0.5,0.75"),
    ("depth", "middle", "'middle'; expected different numbers from 0 to 1, as in 0.25,0.5,0.75"),
    ("tasks", "a,,b", "'a,,b'; expected different names with commas between"),
    ("dtype", "int8", "'int8'; expected auto or bfloat16 or float16 or float32 or float64"),
    ("quantization", "2bit", "'2bit'; expected 8bit or 4bit"),
    ("template", "enable_thinking", "'enable_thinking'; expected NAME=VALUE, as in enable_thinking=false"),
    ("template", "a b=1", "'a b=1'; expected NAME=VALUE"),
    ("template", "messages=[]", "'messages=[]'; expected another name: messages is what a prompt is made of"),
    ("template", "a=1;a=2", "'a=1;a=2'; expected each name once"),
    ("architectures", "mine = layers", "'mine = layers'; expected a model type, its list of layers, and in a layer"),
    ("architectures", "a = b, c; a = d, e", "'a = b, c; a = d, e'; expected each model type once"),
    ("seq-len", "0", "'0'; expected a whole number of at least 1"),
    ("engine", "magic", "'magic'; expected "),
    ("insertion", "anywhere", "'anywhere'; expected sentence or published"),
    ("random-match", "head", "'head'; expected uniform or layer"),
    ("scorer", "judge", "'judge'; expected value or published"),
    ("max-new-tokens", "0", "'0'; expected a whole number of at least 1"),
    ("max-rows", "0", "'0'; expected a whole number of at least 1"),
    ("random-draws", "0", "'0'; expected a whole number of at least 1"),
    ("seed", "-1", "'-1'; expected a whole number of at least 0"),
    ("ray", "there", "'there'; expected HOST:PORT of a cluster's head, as 10.0.0.1:6379, with a port from 1 to 65535"),
    ("ray", "ray://10.0.0.1:10001", "'ray://10.0.0.1:10001'; expected HOST:PORT of a cluster's head"),
    ("cluster", "H100", "'H100'; expected GPUs, card and memory of each kind of node, how many such nodes first"),
    ("cluster", "0xH100-80GB", "'0xH100-80GB'; expected GPUs, card and memory"),
    ("cluster", "8xH100-80GB,", "'8xH100-80GB,'; expected GPUs, card and memory"),
    ("run", "a/b", "'a/b'; expected the name of a folder, without slashes"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD)
class TestEach:
    def test_command_line(self, project: Project, name: str, text: str, words: str) -> None:
        result = project.run("evals", f"--ablation-{name}={text}")
        assert usage_error(result).startswith(f"--ablation-{name}: {words}")
        assert project.left() == []

    def test_ini(self, project: Project, name: str, text: str, words: str) -> None:
        key = f"ablation_{name.replace('-', '_')}"
        project.configure(**{key: text})
        assert usage_error(project.run("evals")).startswith(f"ini value {key}: {words}")
        assert project.left() == []


@pytest.mark.parametrize("name", ["strict_rows", "refresh", "dry_run"])
def test_a_switch_in_the_ini_file(project: Project, name: str) -> None:
    project.configure(**{f"ablation_{name}": "perhaps"})
    assert usage_error(project.run("evals")) == f"ini value ablation_{name}: 'perhaps'; expected true or false"


def test_a_cluster_has_its_own_workers(project: Project) -> None:
    result = project.run("evals", "--ablation-ray=local", "-n", "2")
    assert usage_error(result).startswith("--ablation-ray: given with -n; expected one process, which hands rows to ")
    assert project.left() == []
    project.configure(ablation_ray="local")
    assert usage_error(project.run("evals", "-n", "2")).startswith("ini value ablation_ray: given with -n; expected ")
    said = usage_error(project.run("evals", "--ablation-part=1/2"))
    assert said.startswith("--ablation-part: given with ini value ablation_ray; expected one of the two, ")


def test_a_cluster_says_which_gpus(project: Project) -> None:
    result = project.run("evals", "--ablation-ray=local", "--ablation-device-map=cuda:1")
    assert usage_error(result).startswith("--ablation-device-map: cuda:1 with Ray, which says itself which GPUs a ")


def test_a_cluster_without_ray_says_what_to_install(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = project.run("evals", "--ablation-ray=local")
    assert usage_error(result) == (
        "Ray: the package ray is not installed; expected it, on every node of the cluster; pip install "
        "'retrieval-heads[ray]'"
    )
    assert project.left() == []


def test_a_dry_run_is_one_process(project: Project) -> None:
    result = project.run("evals", "--ablation-dry-run", "-n", "2")
    assert usage_error(result) == "--ablation-dry-run: given with -n; expected one process; leave out -n"
