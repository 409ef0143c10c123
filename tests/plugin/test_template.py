"""Chat templates of models that think: an error that says what to do, and arguments that records depend on."""

import json

from plugin.project import Project

STUDY = ("evals", "-k", "baseline")
OPEN = "{{ messages[0]['content'] }}<think>{{ '' if enable_thinking else '' }}"
SWITCH = "{{ messages[0]['content'] }}<think>{% if not enable_thinking %}</think>{% endif %}"


def give_template(project: Project, template: str) -> None:
    file = project.own_model() / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))


def test_a_thought_left_open_stops_the_run(project: Project) -> None:
    give_template(project, OPEN)
    result = project.run(*STUDY)
    assert result.ret != 0
    said = result.stdout.str() + result.stderr.str()
    assert "the chat template leaves <think> open" in said
    assert "--ablation-template enable_thinking=true" in said
    assert "Traceback" not in said


def test_arguments_are_in_the_report_and_in_every_key(project: Project) -> None:
    """With another argument the same rows are asked anew; with the first one again, all is in the store."""
    give_template(project, SWITCH)
    project.run(*STUDY, "--ablation-run=off")
    assert "nothing" in project.run(*STUDY, "--ablation-dry-run").stdout.str()
    other = project.run(*STUDY, "--ablation-dry-run", "--ablation-template=enable_thinking=true").stdout.str()
    assert "nothing" not in other, "other arguments make other prompts"
    project.run(*STUDY, "--ablation-run=on", "--ablation-template=enable_thinking=true")
    assert project.report("on")["configuration"]["template"] == ["enable_thinking=true"]
    assert project.report("off")["configuration"]["template"] == []
    said = project.run(*STUDY, "--ablation-dry-run", "--ablation-template=enable_thinking=True").stdout.str()
    assert "nothing" in said, "the same value written otherwise is the same prompt"


def test_an_argument_without_use_stops_the_run(project: Project) -> None:
    give_template(project, SWITCH)
    result = project.run(*STUDY, "--ablation-template=effort=low")
    assert result.ret != 0
    assert "template argument 'effort': the chat template does not use it" in result.stdout.str() + result.stderr.str()
