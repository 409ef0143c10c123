"""Sessions of a small study, what is declared in them, and who hears of it."""

from harness.experiment.conditions import Condition
from harness.experiment.heads import Head
from harness.retrieval.rows import Row
from harness.settings import Settings
from harness.study.progress import Progress
from harness.study.session import StudySession
from harness.study.workers import Place

TASKS = ("incorporation_year", "ceo_lastname")
MAIN = Place("run")
MINE = Condition("mine", heads=(Head(0, 1), Head(2, 3)))


def ignore(_progress: Progress) -> None:
    """No progress is shown."""


def no_score(_row: Row, _completion: str) -> dict[str, float]:
    return {}


class Sessions:
    """Makes studies, and closes them at the end of a test."""

    def __init__(self) -> None:
        self.made: list[StudySession] = []

    def __call__(self, settings: Settings, place: Place = MAIN, *, writes: bool = True) -> StudySession:
        root = settings.reports.parent
        self.made.append(StudySession(settings, root, place=place, own_score=no_score, writes=writes))
        return self.made[-1]
