"""The demo's training: batches from seed and step alone, losses against a slow reference, DropHead, two steps."""

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
import torch
from tiny_models import load, tiny_model
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from harness.demo.dialogues import IGNORED, TrainingSettings, tokenizer_texts, train_tokenizer
from harness.demo.training import (
    HEAD_DIM,
    drop_heads,
    exact_answers,
    freeze,
    learning_rate,
    losses,
    model_config,
    train,
)

SMALL = TrainingSettings(steps=100, warmup=10, tokens_a_step=2000)
NUMBERS = 40
"""The first step of SMALL that asks for numbers."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(islice(tokenizer_texts(SMALL), 40))


def test_losses_against_a_slow_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator)
    answers = torch.tensor([[-100, -100, -100, 3, 4], [-100, 6, 2, -100, -100]])
    documents = torch.tensor([[1, 2, 5, -100, -100], [0, -100, -100, 1, -100]])
    expected = []
    for labels in (answers, documents):
        each = [
            -math.log(math.exp(logits[row, at - 1, label]) / logits[row, at - 1].exp().sum())
            for row in range(2)
            for at in range(1, 5)
            if (label := int(labels[row, at])) != IGNORED
        ]
        expected.append(sum(each) / len(each))
    assert [float(loss) for loss in losses(logits, answers, documents)] == pytest.approx(expected, rel=1e-5)


def test_an_answer_is_exact_only_as_a_whole() -> None:
    answers = torch.tensor([[-100, 1, 2], [-100, 1, 2], [-100, -100, 2]])
    said = torch.tensor([[1, 2, 0], [1, 0, 0], [5, 2, 0]])
    logits = torch.nn.functional.one_hot(said, 6).float()
    assert exact_answers(logits, answers).tolist() == [True, False, True]


class TestDropHeads:
    ROWS = 3
    IDS = torch.arange(10, 10 + 9 * ROWS).view(ROWS, 9)
    N_LAYERS, N_HEADS = 8, 16

    @pytest.fixture
    def model(self, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
        """The demo's shape, with random weights wide enough that every head matters."""
        config = model_config(tokenizer)
        config.initializer_range = 0.2
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = LlamaForCausalLM(config)
        model.train(False)
        return model

    def dropped(self, rate: float) -> Tensor:
        """Which heads a generator of seed 1 drops: (rows, layers, heads)."""
        generator = torch.Generator().manual_seed(1)
        probability = rate * torch.rand(self.ROWS, 1, 1, generator=generator)
        return torch.rand(self.ROWS, self.N_LAYERS, self.N_HEADS, generator=generator) < probability

    @torch.no_grad()
    def logits(self, model: LlamaForCausalLM, rate: float, ids: Tensor = IDS) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        with drop_heads(model, rate, generator, len(ids)):
            return cast(Tensor, model(input_ids=ids).logits)

    def test_it_does_what_an_ablation_does(self, model: LlamaForCausalLM) -> None:
        """The oracle: for each row, the same model without the weights of that row's heads."""
        dropped = self.dropped(0.9)
        assert 0 < dropped.sum() < dropped.numel()
        found = self.logits(model, 0.9)
        for row in range(self.ROWS):
            cut = copy.deepcopy(model)
            for layer, head in dropped[row].nonzero().tolist():
                weight = cut.model.layers[layer].self_attn.o_proj.weight
                weight.data[:, head * HEAD_DIM : (head + 1) * HEAD_DIM] = 0
            expected = self.logits(cut, 0.0, self.IDS[row : row + 1])[0]
            torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-3)
            assert not torch.allclose(found[row], self.logits(model, 0.0)[row], atol=1.0)

    def test_slices_are_exactly_zero_and_the_rest_untouched(self, model: LlamaForCausalLM) -> None:
        seen: list[Tensor] = []

        def keep(_module: object, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        projection = model.model.layers[0].self_attn.o_proj
        before = projection.register_forward_pre_hook(keep)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad(), drop_heads(model, 0.9, generator, self.ROWS):
            after = projection.register_forward_pre_hook(keep)
            model(input_ids=self.IDS)
        before.remove()
        after.remove()
        entered, left = seen
        for row, head in itertools.product(range(self.ROWS), range(self.N_HEADS)):
            part = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
            expected = torch.zeros(()) if self.dropped(0.9)[row, 0, head] else entered[row, :, part]
            assert torch.equal(left[row, :, part], expected.expand_as(left[row, :, part]))

    def test_rate_zero_and_the_way_out_leave_the_model_alone(self, model: LlamaForCausalLM) -> None:
        with torch.no_grad():
            expected = model(input_ids=self.IDS).logits
        assert torch.equal(self.logits(model, 0.0), expected)
        self.logits(model, 0.9)
        with pytest.raises(ZeroDivisionError), drop_heads(model, 0.9, torch.Generator(), self.ROWS):
            raise ZeroDivisionError
        assert not any(module._forward_pre_hooks for module in model.modules())

    def test_the_mean_share_is_half_the_rate(self, model: LlamaForCausalLM) -> None:
        """Over 400 rows of one token; a row's own probability is anything from 0 to the rate."""
        seen: list[Tensor] = []
        with torch.no_grad(), drop_heads(model, 0.24, torch.Generator().manual_seed(1), 400):
            for layer in model.model.layers:
                layer.self_attn.o_proj.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][:, 0]))
            model(input_ids=torch.full((400, 1), 9))
        zero = torch.stack([(width.view(400, self.N_HEADS, HEAD_DIM) == 0).all(-1) for width in seen])
        shares = zero.float().mean((0, 2))
        assert float(shares.mean()) == pytest.approx(0.12, abs=0.01)
        assert float(shares.max()) > 0.2


def test_learning_rate() -> None:
    """Linear up in 10 steps; half-way down the cosine at step 55, zero at 100."""
    settings = replace(SMALL, peak_rate=2.0)
    rates = [learning_rate(step, settings) for step in (0, 4, 9, 10, 55, 100)]
    assert rates == pytest.approx([0.2, 1.0, 2.0, 2.0, 1.0, 0.0])


def test_frozen_layers_rest_while_numbers_are_learnt() -> None:
    model = cast(LlamaForCausalLM, tiny_model("llama"))
    settings = replace(SMALL, frozen_layers=2)
    for step, rests in ((NUMBERS - 1, False), (NUMBERS, True), (69, True), (70, False)):
        freeze(model, settings, step)
        trained = [all(parameter.requires_grad for parameter in layer.parameters()) for layer in model.model.layers]
        assert trained == [not rests, not rests, trained[2]]


def test_the_shape(tokenizer: PreTrainedTokenizerFast) -> None:
    config = model_config(tokenizer)
    assert config.num_hidden_layers * config.num_attention_heads >= 128
    assert config.head_dim != config.hidden_size // config.num_attention_heads
    assert (config.num_attention_heads, config.num_key_value_heads) == (16, 4)
    assert config.eos_token_id == [1, 2, 3]


@pytest.fixture
def global_state() -> Iterator[None]:
    """Training sets torch's seed and its deterministic algorithms for the whole process."""
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a documented switch
    with torch.random.fork_rng():
        yield
    torch.use_deterministic_algorithms(before)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]  # a documented switch


@pytest.mark.usefixtures("global_state")
def test_two_steps_make_a_checkpoint_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = TrainingSettings(steps=2, tokens_a_step=300, warmup=1, drophead_from=0.5, tokenizer_filings=20)
    train(settings, tmp_path, device="cpu", workers=0)
    loaded = load(str(tmp_path))
    assert (loaded.shape.n_layers, loaded.shape.n_heads, loaded.shape.head_dim) == (8, 16, 32)
    assert loaded.end_token_ids == {1, 2, 3}
    made = json.loads((tmp_path / "training.json").read_text())
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert made["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert made["settings"] == asdict(settings)
    assert [point["step"] for point in made["curve"]] == [0, 1]
    assert capsys.readouterr().out.count("answer_loss") == 2
