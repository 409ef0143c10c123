"""The page's data against the report and the samples that it is made of."""

from collections import Counter

import pytest
from changed_section import changed
from fake_study import make_report
from two_reports import CEO, GENERAL, RIGHT, source

from harness.experiment.conditions import BASELINE
from harness.findings.comparing.compare import Source
from harness.findings.page.page_data import NONE, SHOWN, PageData, page_data
from harness.findings.report.report_data import ReportData
from harness.findings.report.row_texts import RowText
from harness.findings.samples import Sample

TASKS = ("ceo_lastname", "incorporation_year")
Made = tuple[ReportData, tuple[Sample, ...]]


@pytest.fixture(scope="module")
def made() -> Made:
    return make_report(TASKS, (1, 5), None, 6)


@pytest.fixture(scope="module")
def data(made: Made) -> PageData:
    return page_data(*made)


def test_letters_beside_the_baseline() -> None:
    """By hand: + right, - wrong, x right in other words, which is wrong here, . no record."""
    letters = {**RIGHT, BASELINE: "++++---.", GENERAL: "+-.++-+-"}
    found = {each.name: each.answers for each in page_data(*_both(source(letters))).conditions}
    baseline, general = found["baseline"], found[GENERAL.name]
    assert baseline is not None
    assert general is not None
    assert baseline.states == "rrrrwww."
    assert general.states == "rl.rgwgw"  # the last has no untouched answer beside it
    assert general.texts[2] == -1


def test_a_condition_without_samples_has_no_answers() -> None:
    found = {each.name: each.answers for each in page_data(*_both(source({**RIGHT, CEO: "...."}))).conditions}
    assert found[CEO.name] is None


def test_lost_and_gained_are_the_reports(made: Made, data: PageData) -> None:
    for condition, shown in zip(made[0].conditions, data.conditions, strict=True):
        assert shown.answers is not None
        letters = Counter(shown.answers.states)
        assert (letters["r"] + letters["g"], len(data.rows) - letters[NONE]) == (condition.matches, condition.n)
        if condition.drop is not None:
            assert (letters["l"], letters["g"]) == (condition.drop.lost, condition.drop.gained)


def test_every_sample_is_in_it(made: Made, data: PageData) -> None:
    of = {condition.name: condition.answers for condition in data.conditions}
    place = {row.id: i for i, row in enumerate(data.rows)}
    for sample in made[1]:
        answers, i = of[sample.condition], place[sample.row]
        assert answers is not None
        assert data.texts[answers.texts[i]] == sample.completion
        assert answers.gold[i] == pytest.approx(sample.gold_logprob, abs=1e-4)
        assert dict(answers.faults).get(i, ()) == sample.faults


def test_the_table_is_the_reports_accuracies(made: Made, data: PageData) -> None:
    lines = {(line[0], line[2]): dict(zip(SHOWN, line, strict=True)) for line in data.table}
    for condition in made[0].conditions:
        assert lines[condition.name, "pooled"]["accuracy"] == condition.accuracy
        for task, result in condition.per_task.items():
            assert lines[condition.name, task]["matches"] == result.matches


def test_no_row_has_two_conditions_of_a_column(data: PageData) -> None:
    columns = {column.label: column for column in data.columns}
    assert sorted(place for column in data.columns for place in column.conditions) == list(range(len(data.conditions)))
    for column in data.columns:
        all_states = [data.conditions[place].answers for place in column.conditions]
        for letters in zip(*(answers.states for answers in all_states if answers is not None), strict=True):
            assert sum(letter != NONE for letter in letters) <= 1
    assert len(columns["within_task, k = 1"].conditions) == len(TASKS)
    assert len(columns) == len(data.columns)


def test_texts_of_rows(made: Made) -> None:
    row = made[1][0].row
    text = RowText(row=row, question="Who?", needle="<n>", before="b", after="a", depth=0.5)
    first, second = page_data(*made, [text]).rows[:2]
    assert (first.question, first.needle, first.before, first.after) == ("Who?", "<n>", "b", "a")
    assert second.question is None


def test_scores_of_heads(made: Made, data: PageData) -> None:
    ranking, heads = made[0].ranking, data.heads
    assert ranking is not None
    assert heads is not None
    assert heads.whole
    assert heads.scores == ranking.mean_scores
    cut = changed(ranking, {"mean_scores": None})
    listed = page_data(changed(made[0], {"ranking": cut.model_dump()}), made[1]).heads
    assert listed is not None
    assert not listed.whole
    layer, head, score = cut.tasks["ceo_lastname"][0]
    assert listed.scores["ceo_lastname"][layer][head] == score
    known = sum(value is not None for line in listed.scores["ceo_lastname"] for value in line)
    assert known == len(cut.tasks["ceo_lastname"])


def test_a_report_without_ranking_or_samples(made: Made) -> None:
    bare = page_data(changed(made[0], {"ranking": None, "model": None}), ())
    assert bare.heads is None
    assert (bare.rows, bare.columns) == ((), ())
    assert len(bare.conditions) == len(made[0].conditions)


def _both(of: Source) -> Made:
    return of.data, tuple(of.samples or ())
