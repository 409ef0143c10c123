"""Which filings belong together."""

from harness.retrieval.filings.clusters import clusters_of
from harness.retrieval.filings.filing import Filing, Section


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
