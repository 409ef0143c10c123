"""The same inputs under other settings."""

from dataclasses import replace

from harness.study.asked_model import AskedModel
from harness.study.inputs import Inputs


def under(inputs: Inputs, **changes: object) -> Inputs:
    """With these settings changed; rows and ranking stay as they were read."""
    return replace(inputs, model=AskedModel(replace(inputs.settings, **changes)))  # type: ignore[arg-type]  # of its type
