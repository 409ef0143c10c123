"""Filings in, rows out: on a made-up filing, by hand."""

from collections import Counter

from made_up_filing import FACTS, filing

from harness.retrieval.filings.building import Length, Recipe, build_rows, clusters_of, draw
from harness.retrieval.filings.filing import Filing, Section
from harness.retrieval.filings.sentences import Run
from harness.retrieval.rows import Row, check_rows
from harness.retrieval.scoring import matches_value
from harness.retrieval.tasks import EDGAR_TASKS, select_tasks

LEFT = (
    "ITEM 1. BUSINESS\nOur widgets are sold in 40 states. Zeta Corp., a subsidiary, had 77 full-time employees.\n"
    "We own three patents. We believe that widgets will be needed for a long time to come.\nMr. Roe leads our sales."
)


def words(row: Row) -> int:
    """A fake of the prompt's length: words of the haystack and the needle."""
    return len(row.haystack_text.split()) + len(row.needle_sentence.split())


def test_one_haystack_without_any_of_the_values() -> None:
    built = build_rows([filing()], EDGAR_TASKS)
    by_task = {row.task: row for row in built.rows}
    assert by_task.keys() == EDGAR_TASKS.keys() - (EDGAR_TASKS.keys() - by_task.keys()), "at most one a task"
    assert len({row.needle_sentence for row in built.rows}) == len(built.rows) == 6
    assert len({row.haystack_text for row in built.rows}) == 1
    haystack = built.rows[0].haystack_text
    assert haystack.startswith("ITEM 1. BUSINESS\nOur widgets are sold in 40 states.")
    for row in built.rows:
        assert not matches_value(haystack, row.needle_value, EDGAR_TASKS[row.task].compare)
    assert {row.cluster for row in built.rows} == {"12345"}
    assert check_rows(built.rows, EDGAR_TASKS, source="built", strict=True).rows == built.rows


def test_by_hand() -> None:
    tasks = select_tasks(EDGAR_TASKS, ["employees_count_total", "incorporation_state", "ceo_lastname"])
    built = build_rows([filing()], tasks)
    assert [(row.task, row.needle_value) for row in built.rows] == [
        ("employees_count_total", "1,234"),
        ("incorporation_state", "Ohio"),
        ("ceo_lastname", "Doe"),
    ]
    (haystack,) = {row.haystack_text for row in built.rows}
    first = 'Acme Widgets, Inc. ("Acme" or the "Company") makes widgets of every size.'
    assert haystack == (
        LEFT.replace("Our widgets", f"{first}\nOur widgets")
        + "\n\nAs of August 31, 2001, there were approximately 345 holders of record of our common stock."
    )


def test_cut_to_what_the_longest_prompt_of_the_filing_takes() -> None:
    tasks = select_tasks(EDGAR_TASKS, ["employees_count_total", "ceo_lastname"])
    whole = build_rows([filing()], tasks)
    longest = max(map(words, whole.rows))
    assert build_rows([filing()], tasks, length=Length(longest, words)).rows == whole.rows
    cut = build_rows([filing()], tasks, length=Length(40, words))
    (haystack,) = {row.haystack_text for row in cut.rows}
    assert whole.rows[0].haystack_text.startswith(haystack)
    assert haystack.endswith(".")
    most = max(map(words, cut.rows))
    following = whole.rows[0].haystack_text[len(haystack) :].split(".")[0]
    assert most <= 40 < most + len(following.split())


def test_no_room_for_a_sentence() -> None:
    for in_place, most in ((False, 5), (True, 5)):
        built = build_rows([filing()], EDGAR_TASKS, in_place=in_place, length=Length(most, words))
        assert not built.rows
        assert {each.reason for each in built.candidates if "no room" in (each.reason or "")} == {
            "no room for the needle and one more sentence of the filing that states none of its values"
        }


def test_nothing_is_left_without_the_values() -> None:
    for length in (None, Length(100, words)):
        assert not build_rows([filing(item_1="We had 12 employees.")], EDGAR_TASKS, length=length).rows


def test_values_in_all_of_the_first_sentences() -> None:
    text = " ".join(["We had 12 employees.", *["The 12 of us sell."] * 200, "It grew. It shrank."])
    built = build_rows([filing(item_1=text)], EDGAR_TASKS, length=Length(6, words))
    assert [row.haystack_text for row in built.rows] == ["It grew."]


def test_in_place_all_stays() -> None:
    built = build_rows([filing()], EDGAR_TASKS, in_place=True)
    whole = "\n\n".join(section.text for section in filing().sections)
    assert {row.haystack_text for row in built.rows} == {whole}
    assert {row.placement for row in built.rows} == {"in_place"}
    assert check_rows(built.rows, EDGAR_TASKS, source="built", strict=True).rows == built.rows


def test_in_place_rows_share_as_few_parts_of_the_filing_as_hold_their_needles() -> None:
    for most, parts in ((40, 5), (60, 4), (80, 2), (200, 1)):
        built = build_rows([filing()], EDGAR_TASKS, in_place=True, length=Length(most, words))
        assert len({row.haystack_text for row in built.rows}) == parts
        assert check_rows(built.rows, EDGAR_TASKS, source="built", strict=True).rows == built.rows
        assert max(map(words, built.rows)) <= most
        assert [row.task for row in built.rows] == [row.task for row in build_rows([filing()], EDGAR_TASKS).rows]


def test_in_place_a_sentence_that_stands_twice_is_no_needle() -> None:
    twice = filing(item_1="We had 12 employees. So it is.", item_7="It is so. We  had 12 employees.")
    assert not build_rows([twice], EDGAR_TASKS, in_place=True).rows
    assert len(build_rows([twice], EDGAR_TASKS).rows) == 1


def test_a_filing_that_states_nothing_gives_no_rows() -> None:
    silent = filing("silent.htm", facts=FACTS, item_1="Widgets are needed.")
    assert {row.filename for row in build_rows([silent, filing()], EDGAR_TASKS).rows} == {filing().name}


def test_a_row_comes_out_of_its_recipe() -> None:
    built = build_rows([filing()], EDGAR_TASKS)
    assert tuple(recipe.row(filing()) for recipe in built.recipes) == built.rows


def made(name: str, text: str, **facts: str) -> Filing:
    return Filing(name, (Section("1", text),), facts)


def test_by_company_submission_and_text_and_through_each_other() -> None:
    filings = [
        made("a", "1", cik="9"),
        made("b", "2", cik="0009", filename="9_10K_0000000009-01-000001.htm"),
        made("c", "3", cik="7", filename="7_10K_0000000009-01-000001.htm"),
        made("d", "3", cik="30"),
        made("e", "4", cik="31"),
        made("f", "5"),
        made("g", "5"),
        made("h", "6"),
    ]
    assert clusters_of(filings) == {
        **{"a": "7", "b": "7", "c": "7", "d": "7"},
        "e": "31",
        **{"f": "f", "g": "f"},
        "h": "h",
    }


def test_the_order_does_not_matter() -> None:
    filings = [made(name, text, cik=cik) for name, text, cik in (("a", "1", "5"), ("b", "2", "4"), ("c", "1", "4"))]
    assert clusters_of(filings) == clusters_of(filings[::-1]) == dict.fromkeys("abc", "4")


def recipe(task: str, filing: int, cluster: int) -> Recipe:
    return Recipe(f"{filing:03}.txt", task, "v", Run("1", 0, 1), (), "insert", str(cluster))


MANY = [recipe(task, filing, filing // 2) for filing in range(80) for task in "abcdef"]
"""Six tasks, 40 companies of two filings each."""


def test_even_over_tasks_and_at_most_two_a_company() -> None:
    drawn = draw(MANY, 60, seed=1)
    assert Counter(each.task for each in drawn) == dict.fromkeys("abcdef", 10)
    assert max(Counter(each.cluster for each in drawn).values()) == 2
    assert list(drawn) == sorted(drawn, key=MANY.index)


def test_the_seed_decides() -> None:
    assert draw(MANY, 60, seed=1) == draw(MANY, 60, seed=1) != draw(MANY, 60, seed=2)


def test_a_task_with_few_rows_gives_them_all_and_others_more() -> None:
    few = [each for each in MANY if each.task in "ab"] + [recipe("c", 1, 0), recipe("c", 9, 4)]
    drawn = draw(few, 12, seed=1)
    assert Counter(each.task for each in drawn) == {"a": 5, "b": 5, "c": 2}


def test_too_few_companies_give_more_each_and_too_few_rows_all() -> None:
    of_three = [recipe(task, filing, filing % 3) for filing in range(9) for task in "ab"]
    drawn = draw(of_three, 9, seed=1)
    assert sorted(Counter(each.cluster for each in drawn).values()) == [3, 3, 3]
    assert draw(of_three, 99, seed=1) == tuple(of_three)
    assert draw([], 5, seed=1) == ()
