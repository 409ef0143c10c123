"""A prompt is read once for conditions that part behind it; only what comes after the baseline is given its draft."""

from as_the_plain_loop import SETS, UNTOUCHED, check_both
from tiny_models import N_LAYERS, doubled, random_prompt

from harness.experiment.intervention import Intervention
from harness.model.generation import engine
from harness.model.performance.measures import LayerCounter


def test_a_prompt_that_is_not_ablated_is_read_once_for_all() -> None:
    loaded, prompt = doubled("llama"), random_prompt(20)
    with LayerCounter(loaded, len(prompt.token_ids)) as counter:
        engine.run_row(loaded, prompt, SETS, None, Intervention(phase="decode"), max_new_tokens=4)
    # in the last layer, keys and values alone
    assert counter.prefill_passes == N_LAYERS - 1


def test_conditions_before_the_untouched_model_have_no_baseline() -> None:
    order = [SETS[1], UNTOUCHED, SETS[2], SETS[1], UNTOUCHED]
    got = check_both(doubled("llama"), random_prompt(20), order, tolerance=1e-10)
    assert [each.baseline_logprob is None for each in got] == [True, False, False, False, False]
    without = check_both(doubled("llama"), random_prompt(20), SETS[1:], tolerance=1e-10)
    assert all(each.baseline_logprob is None for each in without)
