"""Other ablations than zero at every token, end to end: other records, other answers, one baseline."""

from plugin.project import Project, names

STUDY = ("evals", "-k", "bottom")


def completions(project: Project) -> dict[tuple[str, str], float]:
    return {(line["condition"], line["row"]): line["gold_logprob"] for line in project.samples()}


def test_from_the_prompts_last_token_on(project: Project) -> None:
    project.run(*STUDY)
    usual, conditions = completions(project), names(project.report())
    result = project.run(*STUDY, "--ablation-phase=decode")
    result.assert_outcomes(passed=2, deselected=33)
    result.stdout.fnmatch_lines(["ablation: phase decode, *"])
    decoded = completions(project)
    assert names(project.report()) == conditions
    assert project.report()["configuration"]["phase"] == "decode"
    same = {condition for condition, row in usual if usual[condition, row] == decoded[condition, row]}
    assert same == {"baseline"}
