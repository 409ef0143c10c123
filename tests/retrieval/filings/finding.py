"""What a module of patterns says of one sentence: statements as (task, value), doubts as their reasons."""

from made_up_filing import ACME

from harness.retrieval.filings.registrant import Doubt, Finder, Registrant, Statement


def stated(find: Finder, sentence: str, section: str = "1", registrant: Registrant = ACME) -> dict[str, str]:
    """Values by task."""
    return {each.task: each.value for each in find(sentence, section, registrant) if isinstance(each, Statement)}


def doubted(find: Finder, sentence: str, section: str = "1", registrant: Registrant = ACME) -> list[str]:
    """Reasons; there must be no statement beside them."""
    found = list(find(sentence, section, registrant))
    assert all(isinstance(each, Doubt) for each in found), found
    return [each.reason for each in found if isinstance(each, Doubt)]
