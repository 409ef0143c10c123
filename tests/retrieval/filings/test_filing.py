"""What a filing says about itself."""

from made_up_filing import filing

from harness.retrieval.filings.filing import Filing, Section


def test_numbers() -> None:
    assert (filing().cik, filing().accession) == ("12345", "0000012345-01-000001")
    bare = Filing("a", (), {"cik": "n/a", "complete_text_filing_link": "https://x/0000012345-01-000002.txt"})
    assert (bare.cik, bare.accession) == (None, "0000012345-01-000002")
    assert Filing("a", (), {}).accession is None


def test_sections() -> None:
    assert filing().section("2") == filing().sections[1]
    assert filing().section("3") is None


def test_the_hash_is_of_the_text_under_any_name() -> None:
    assert filing("a").text_hash() == filing("b", facts={}).text_hash()
    one, other = Filing("a", (Section("1", "ab"), Section("2", "c")), {}), Filing("a", (Section("1", "abc"),), {})
    assert one.text_hash() != other.text_hash() != filing().text_hash()
