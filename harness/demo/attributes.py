"""What can be asked about a filing of the embedded world: the nine tasks and dozens of attributes besides.

The nine are the evaluation. The others exist so that *finding what the question asks for* is one skill, carried by
common heads, rather than nine tricks; their sentences are also the distractors that stand beside a needle.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.retrieval.tasks import EDGAR_TASKS


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something a filing states in one sentence: `phrasings` hold `{v}` where the value stands."""

    id: str
    question: str
    kind: str
    phrasings: tuple[str, ...]


TASK_PHRASINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "registrant_name": (
        "company",
        (
            "The exact name of the registrant as specified in its charter is {v}.",
            "This annual report is filed by {v} as the registrant.",
            "{v} is the registrant named on the cover of this report.",
            "The registrant does business under the name {v}.",
        ),
    ),
    "headquarters_city": (
        "city",
        (
            "The registrant keeps its headquarters in the city of {v}.",
            "Our corporate headquarters building stands in downtown {v}.",
            "The headquarters offices were moved to the city of {v}.",
            "From its headquarters city of {v} the registrant directs all operations.",
        ),
    ),
    "headquarters_state": (
        "state",
        (
            "The headquarters of the registrant are in the state of {v}.",
            "Our head offices pay property tax to the state of {v}, where headquarters are.",
            "The state in which headquarters are situated is {v}.",
            "Headquarters staff live and work in the state of {v}.",
        ),
    ),
    "incorporation_state": (
        "state",
        (
            "The registrant was incorporated under the laws of {v}.",
            "It is a corporation organized under the statutes of {v}.",
            "Articles of incorporation were filed with the secretary of {v}.",
            "The jurisdiction of incorporation is {v}.",
        ),
    ),
    "incorporation_year": (
        "year",
        (
            "The registrant was first incorporated in {v}.",
            "Its incorporation dates from the year {v}.",
            "The certificate of incorporation was granted in {v}.",
            "Incorporation of the business took place in {v}.",
        ),
    ),
    "employees_count_total": (
        "count",
        (
            "In total the registrant has {v} employees.",
            "The total number of employees was {v} at year end.",
            "At the close of the year it employed a total of {v} persons.",
            "Our total workforce consists of {v} employees.",
        ),
    ),
    "holder_record_amount": (
        "count",
        (
            "There were {v} holders of record of the common stock.",
            "The common stock was held by {v} stockholders of record.",
            "As of that date we counted {v} record holders of our common shares.",
            "Holders of record of the common stock numbered {v}.",
        ),
    ),
    "employees_count_full_time": (
        "count",
        (
            "Of these, {v} worked on a full-time basis.",
            "The registrant has {v} full-time employees.",
            "The number of persons employed full time was {v}.",
            "Full-time staff amounted to {v} people.",
        ),
    ),
    "ceo_lastname": (
        "surname",
        (
            "{first} {v} has been chief executive officer for several years.",
            "The chief executive officer of the registrant is {first} {v}.",
            "Our CEO, {first} {v}, also sits on the board.",
            "The board appointed {first} {v} as CEO.",
        ),
    ),
}
"""The nine tasks' kinds of value and phrasings; the questions are the tasks' own."""

OFFICES = (
    "chairman treasurer controller secretary ombudsman auditor librarian physician surveyor archivist pilot chemist"
).split()
SITES = "warehouse laboratory refinery foundry shipyard bakery quarry dairy sawmill brewery tannery depot".split()
HOLDINGS = "patents trademarks trucks stores wells aircraft leases vessels orchards forklifts".split()
PARTNERS = "lender insurer landlord supplier distributor broker underwriter carrier".split()
SUPPLIES = "main product|raw material|largest export|best seller|newest line|discontinued line|spare stock".split("|")
EVENTS = "merger|stock split|public listing|reorganization|strike|fire|recall|name change".split("|")


def _office_attributes() -> Iterator[Attribute]:
    for office in OFFICES:
        yield Attribute(
            f"{office}_lastname",
            f"What is the {office}'s last name?",
            "surname",
            (
                f"The {office} of the registrant is {{first}} {{v}}.",
                f"{{first}} {{v}} was named {office} last spring.",
                f"Our {office}, {{first}} {{v}}, reports every month.",
            ),
        )
        yield Attribute(
            f"{office}_badge",
            f"What is the {office}'s badge number?",
            "code",
            (
                f"The {office} wears badge number {{v}}.",
                f"Badge number {{v}} belongs to the {office}.",
                f"The badge of the {office} is number {{v}}.",
            ),
        )


def _site_attributes() -> Iterator[Attribute]:
    for site in SITES:
        yield Attribute(
            f"{site}_city",
            f"What is the {site}'s city?",
            "city",
            (
                f"The {site} lies in the city of {{v}}.",
                f"We operate a {site} near {{v}}.",
                f"Visitors to {{v}} may tour the {site}.",
            ),
        )
        yield Attribute(
            f"{site}_state",
            f"What is the {site}'s state?",
            "state",
            (
                f"The {site} is located in the state of {{v}}.",
                f"The {site} is licensed by {{v}}.",
                f"Inspectors of {{v}} visited the {site}.",
            ),
        )
        yield Attribute(
            f"{site}_year",
            f"What year was the {site} opened?",
            "year",
            (
                f"The {site} was opened in {{v}}.",
                f"Since {{v}} the {site} has been in service.",
                f"Construction of the {site} ended in {{v}}.",
            ),
        )
        yield Attribute(
            f"{site}_workers",
            f"How many workers does the {site} have?",
            "count",
            (
                f"The {site} has {{v}} workers.",
                f"Some {{v}} people work at the {site}.",
                f"Shifts at the {site} are staffed by {{v}} workers.",
            ),
        )
        yield Attribute(
            f"{site}_permit",
            f"What is the {site}'s permit number?",
            "code",
            (
                f"The {site} works under permit number {{v}}.",
                f"Permit number {{v}} was issued for the {site}.",
                f"The permit of the {site} is number {{v}}.",
            ),
        )


def _registrant_attributes() -> Iterator[Attribute]:
    for holding in HOLDINGS:
        yield Attribute(
            f"{holding}_count",
            f"How many {holding} does the registrant have?",
            "count",
            (
                f"The registrant has {{v}} {holding}.",
                f"We own or control {{v}} {holding}.",
                f"The number of {holding} rose to {{v}}.",
            ),
        )
    for partner in PARTNERS:
        yield Attribute(
            f"{partner}_name",
            f"What is the {partner}'s name?",
            "company",
            (
                f"The {partner} is {{v}}.",
                f"{{v}} acts as our {partner}.",
                f"We renewed the contract with {{v}}, our {partner}.",
            ),
        )
        yield Attribute(
            f"{partner}_contract",
            f"What is the number of the {partner}'s contract?",
            "code",
            (
                f"The contract of the {partner} is number {{v}}.",
                f"Contract number {{v}} binds the {partner}.",
                f"With the {partner} we have contract number {{v}}.",
            ),
        )
    for supply in SUPPLIES:
        yield Attribute(
            f"{supply.replace(' ', '_')}",
            f"What is the registrant's {supply}?",
            "phrase",
            (
                f"The {supply} of the registrant is {{v}}.",
                f"Our {supply} was {{v}} again.",
                f"As its {supply} the registrant reports {{v}}.",
            ),
        )
    for event in EVENTS:
        yield Attribute(
            f"{event.replace(' ', '_')}_year",
            f"What year was the {event}?",
            "year",
            (
                f"The {event} took place in {{v}}.",
                f"In {{v}} we went through a {event}.",
                f"A {event} occurred in {{v}}.",
            ),
        )


TASK_ATTRIBUTES: tuple[Attribute, ...] = tuple(
    Attribute(task, EDGAR_TASKS[task].question, kind, phrasings) for task, (kind, phrasings) in TASK_PHRASINGS.items()
)
OTHER_ATTRIBUTES: tuple[Attribute, ...] = (
    *_office_attributes(),
    *_site_attributes(),
    *_registrant_attributes(),
)
