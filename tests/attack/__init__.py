"""The attack: malformed inputs to every reader, and kills while results are written; `python -m tests.attack`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the fakes that the tests use
