"""A made-up filing: two sections of few sentences, in which every task's value is stated once, and some again."""

from collections.abc import Mapping

from harness.retrieval.filings.filing import SECTIONS, Filing, Section
from harness.retrieval.filings.registrant import Registrant, registrant_of

BUSINESS = """ITEM 1. BUSINESS
Acme Widgets, Inc. ("Acme" or the "Company") makes widgets of every size. The Company was incorporated in Ohio in 1985.
Our widgets are sold in 40 states. Ohio is where most of them are sold. As of June 30, 2001, we had 1,234 employees, of
whom 1,100 were full-time. Zeta Corp., a subsidiary, had 77 full-time employees.
We own three patents. We believe that widgets will be needed for a long time to come. Our costs rose by 1,234 dollars.
Jane Q. Doe has been President and Chief Executive Officer of the Company since 1993. Mr. Roe leads our sales."""
PROPERTIES = (
    "Our corporate headquarters are located at 12 Main Street, Dayton, Ohio 45402. We rent a garage in Toledo, Ohio."
)
MARKET = "As of August 31, 2001, there were approximately 345 holders of record of our common stock."
FACTS = {"cik": "0000012345", "company": "ACME WIDGETS INC /OH/", "state_of_inc": "OH", "filing_date": "2001-09-28"}


def filing(
    name: str = "12345_10K_2001_0000012345-01-000001.htm", *, facts: Mapping[str, str] = FACTS, **sections: str
) -> Filing:
    """A filing of these sections (`item_1="..."`), or of those above."""
    texts = sections or {"item_1": BUSINESS.replace("\nwhom", " whom"), "item_2": PROPERTIES, "item_5": MARKET}
    given = {key.removeprefix("item_"): text for key, text in texts.items()}
    return Filing(
        name, tuple(Section(each, given[each]) for each in SECTIONS if each in given), {"filename": name, **facts}
    )


ACME: Registrant = registrant_of(filing())
"""How the made-up filing speaks of its company."""
