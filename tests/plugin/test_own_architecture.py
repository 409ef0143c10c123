"""A model class that nobody has heard of, registered in a conftest.py and described by an ini entry."""

from plugin.project import Project, usage_error

CONFTEST = """
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

class OddConfig(LlamaConfig):
    model_type = "odd"

class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            layer.self_attn.o_proj = torch.nn.Sequential(layer.self_attn.o_proj)

AutoConfig.register("odd", OddConfig, exist_ok=True)
AutoModelForCausalLM.register(OddConfig, OddForCausalLM, exist_ok=True)

def make(folder):
    config = OddConfig.from_pretrained(folder)
    config.model_type = "odd"
    OddForCausalLM(config).save_pretrained(folder)
"""


def make_odd(project: Project) -> None:
    project.own_model()
    project.pytester.makeconftest(CONFTEST)
    assert project.pytester.run(project.ready_python(), "-c", "from conftest import make; make('tiny')").ret == 0


def test_without_an_entry(project: Project) -> None:
    make_odd(project)
    said = usage_error(project.run("evals"))
    assert said.startswith("model_type 'odd': where it keeps its attention heads is not known; expected one of bloom")
    assert said.endswith(", as in --ablation-architectures 'odd = model.layers, self_attn.o_proj'")


def test_with_an_entry(project: Project) -> None:
    make_odd(project)
    project.configure(ablation_architectures="\n  odd = model.layers, self_attn.o_proj.0")
    result = project.run("evals", "-k", "within_task or hooks")
    result.assert_outcomes(passed=5, deselected=33)
    reason = "no test has branched the layers of odd"
    assert f"ablation: each condition is computed alone: {reason}" in result.outlines
    assert project.report()["configuration"]["architectures"] == ["odd = model.layers, self_attn.o_proj.0"]
    conditions = {each["name"]: each["gold_logprob_change"] for each in project.report()["conditions"]}
    assert all(conditions[name] != 0 for name in conditions if name != "baseline")
