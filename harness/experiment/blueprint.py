"""A model's blueprint: what is known of it before its weights are read.

What its records depend on, and what it cannot be asked, are found out from its config, in seconds and without a
GPU. Knows nothing of how it is found out (`harness.model.loading.loaded_model`).
"""

from dataclasses import dataclass

from harness.errors import ModelError
from harness.experiment.heads import ModelShape


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model as it will be loaded.

    `attention` and `dtype` are those that the loaded model will have; loading checks that it has. `device_type` is
    where it computes, `cuda` or `cpu`. `window` is the most positions that it was made for, `None` without a limit.
    `one_by_one` says why a row's conditions cannot be computed together, `None` where they can. `gpu_dtype` is the
    dtype that it would have on a GPU, asked the same, where this is a CPU that nobody asked for.
    """

    shape: ModelShape
    attention: str
    dtype: str
    device_type: str
    window: int | None = None
    one_by_one: str | None = None
    gpu_dtype: str | None = None


def check_window(window: int | None, model_id: str | None, row_id: str, n_tokens: int) -> None:
    """Raise a ModelError that names the row unless a model's window holds this many tokens."""
    if window is not None and n_tokens > window:
        raise ModelError(
            f"{row_id}: {n_tokens} tokens, new ones included; expected at most {window}, the window of {model_id}; "
            "use shorter documents, or cut them with seq-len"
        )
