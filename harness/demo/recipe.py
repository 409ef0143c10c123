"""The recipe: everything that determines the demo's weights, the machine aside."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The settings of a training; the defaults are the demo's.

    Shares of the training, from 0 to 1: numbers are asked for from `numbers_from`; the first `frozen_layers` rest
    from there until `frozen_until`; heads are dropped, with a probability of up to `drophead`, from `drophead_from`.
    """

    seed: int = 7
    steps: int = 3700
    tokens_a_step: int = 32768
    peak_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.1
    document_weight: float = 0.2
    task_share: float = 0.45
    further_questions: int = 4
    numbers_from: float = 0.4
    frozen_layers: int = 0
    frozen_until: float = 0.7
    drophead: float = 0.24
    drophead_from: float = 0.35
    tokenizer_filings: int = 2000
