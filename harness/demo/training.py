"""Training of the demo's model, from a seed: `python -m harness.demo.training --out FOLDER`.

A Llama of 8 layers and 128 query heads learns to answer questions about generated filings. DropHead (Zhou et al. 2020,
https://arxiv.org/abs/2004.13342) is on from 35 % of the training: every head's input to the output projection is
zeroed with a probability drawn for each sample from 0 to 0.24. Unlike the paper's, the rest is not scaled up: what
is trained in is exactly what an ablation does. `--no-drophead` trains the sibling that the model card compares with.
"""

import argparse
import hashlib
import json
import math
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.demo.attributes import OTHER_ATTRIBUTES, TASK_ATTRIBUTES
from harness.demo.filings import Filing
from harness.demo.values import COMPOSERS
from harness.demo.tokenizer import BEGIN, END_TOKENS, TURN_END, train_tokenizer
from harness.retrieval.prompts import build_prompt
from harness.retrieval.tasks import EDGAR_TASKS, Task

IGNORED = -100
NUMBER_KINDS = {"year", "count", "code"}
"""Kinds of value that are asked for only once names and phrases are found.

Asked from the start, numbers are learnt first and by heads of the first layers, names later and by heads of the last,
and no head serves both. Asked later, while the first layers are frozen, numbers are found by the heads that find names.
"""
TOKENS_A_SENTENCE = 12
TOKENS_AROUND = 150
HELD_OUT_FILINGS = 24
TASKS = dict(EDGAR_TASKS) | {attribute.id: Task(attribute.id, attribute.question) for attribute in OTHER_ATTRIBUTES}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What determines the weights, the machine aside."""

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


def model_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The shape: `head_dim` is not `hidden_size / heads`, so that a wrong width cannot pass unseen."""
    ids = tokenizer.convert_tokens_to_ids(list(END_TOKENS))
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ids,
        pad_token_id=tokenizer.pad_token_id,
    )


def tokenizer_texts(settings: TrainingSettings) -> Iterator[str]:
    """Training filings, rows of every attribute in turn, as the tokenizer is to see them."""
    attributes = (*TASK_ATTRIBUTES, *OTHER_ATTRIBUTES)
    for index in range(settings.tokenizer_filings):
        filing = Filing(f"tokenizer-{index}", settings.seed, held_out=False)
        row = filing.row(attributes[index % len(attributes)], n_sentences=20)
        question = TASKS[row.task].template.format(context=row.haystack_text, question=TASKS[row.task].question)
        yield f"{question}\n\n{row.needle_sentence} {row.needle_value}"


class Batches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Step -> (ids, answer labels, document labels), each (rows, tokens): a function of seed and step alone."""

    def __init__(self, settings: TrainingSettings, tokenizer: PreTrainedTokenizerFast, *, held_out: bool = False):
        self.settings = settings
        self.tokenizer = tokenizer
        self.held_out = held_out

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        world = "held-out" if self.held_out else "train"
        rng = random.Random(f"{self.settings.seed}/{world}/{step}")
        n_sentences = self._sentences(step, rng)
        rows = max(1, self.settings.tokens_a_step // (TOKENS_AROUND + TOKENS_A_SENTENCE * n_sentences))
        numbers = self.held_out or step >= self.settings.numbers_from * self.settings.steps
        kinds = set(COMPOSERS) if numbers else set(COMPOSERS) - NUMBER_KINDS
        return self._collate([self._dialogue(f"{world}-{step}-{index}", n_sentences, kinds, rng) for index in range(rows)])

    def _sentences(self, step: int, rng: random.Random) -> int:
        """Short documents first; later up to 1,200 tokens."""
        kind = rng.random()
        if step < 0.15 * self.settings.steps or kind < 0.6:
            return rng.randrange(8, 25)
        return rng.randrange(24, 49) if kind < 0.85 else rng.randrange(70, 97)

    def _dialogue(self, name: str, n_sentences: int, kinds: set[str], rng: random.Random) -> "Dialogue":
        """A prompt as in the evaluation and its answer, then further questions about the same document."""
        attributes = TASK_ATTRIBUTES if rng.random() < self.settings.task_share else OTHER_ATTRIBUTES
        asked = rng.choice([attribute for attribute in attributes if attribute.kind in kinds])
        filing = Filing(name, self.settings.seed, held_out=self.held_out)
        document = filing.document(asked, n_sentences=n_sentences)
        prompt = build_prompt(document.row, TASKS[asked.id], self.tokenizer, depth=rng.random())
        turns = [(list(prompt.token_ids), list(prompt.value_ids))]
        stated = [attribute for attribute in document.stated if attribute.kind in kinds]
        further = rng.sample(stated, min(self.settings.further_questions, len(stated)))
        for attribute in further if not self.held_out else ():
            message = [{"role": "user", "content": f"Question: {attribute.question}\nAnswer:"}]
            text = self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
            turn = self._encode(str(text).removeprefix(BEGIN))
            turns.append((turn, self._encode(filing.fact(attribute)[0])))
        return Dialogue(tuple(turns))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _collate(self, dialogues: list["Dialogue"]) -> tuple[Tensor, Tensor, Tensor]:
        turn_end = int(self.tokenizer.convert_tokens_to_ids(TURN_END))
        pairs = [dialogue.flat(turn_end) for dialogue in dialogues]
        width = max(len(ids) for ids, _ in pairs)
        ids = torch.full((len(pairs), width), int(self.tokenizer.pad_token_id))
        answers = torch.full_like(ids, IGNORED)
        documents = torch.full_like(ids, IGNORED)
        for index, (flat, is_answer) in enumerate(pairs):
            tokens, answer = torch.tensor(flat), torch.tensor(is_answer)
            ids[index, : len(flat)] = tokens
            answers[index, : len(flat)] = tokens.where(answer, IGNORED)
            documents[index, : len(flat)] = tokens.where(~answer, IGNORED)
        return ids, answers, documents


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns of (prompt ids, answer ids without the end of turn)."""

    turns: tuple[tuple[list[int], list[int]], ...]

    def flat(self, turn_end: int) -> tuple[list[int], list[bool]]:
        """All ids in a row, and for each whether the model is to say it."""
        ids: list[int] = []
        is_answer: list[bool] = []
        for prompt, answer in self.turns:
            ids += [*prompt, *answer, turn_end]
            is_answer += [False] * len(prompt) + [True] * (len(answer) + 1)
        return ids, is_answer


@contextmanager
def drop_heads(model: LlamaForCausalLM, rate: float, generator: torch.Generator, rows: int) -> Iterator[None]:
    """Zero heads at random in each sample, at every position, with a probability drawn from 0 to `rate`."""
    config = model.config
    device = model.device
    shape = (rows, config.num_hidden_layers, config.num_attention_heads)
    probability = rate * torch.rand(rows, 1, 1, generator=generator, device=device)
    dropped = torch.rand(shape, generator=generator, device=device) < probability

    def hook_of(layer: int) -> torch.utils.hooks.RemovableHandle:
        mask = dropped[:, layer].repeat_interleave(config.head_dim, dim=1).unsqueeze(1)  # (rows, 1, width)

        def zero(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0].masked_fill(mask, 0.0), *inputs[1:])

        return model.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(zero)

    handles = [hook_of(layer) for layer in range(config.num_hidden_layers)] if rate else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def freeze(model: LlamaForCausalLM, settings: TrainingSettings, step: int) -> None:
    """The first layers rest from the step that numbers are asked until those have been learnt without them."""
    frozen = settings.numbers_from <= step / settings.steps < settings.frozen_until
    for layer in model.model.layers[: settings.frozen_layers]:
        layer.requires_grad_(not frozen)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < settings.warmup:
        return settings.peak_rate * (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.peak_rate * 0.5 * (1 + math.cos(math.pi * share))


def losses(logits: Tensor, answers: Tensor, documents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over answer tokens and over all others; logits (rows, tokens, vocabulary)."""
    is_answer = answers[:, 1:] != IGNORED
    labels = torch.where(is_answer, answers[:, 1:], documents[:, 1:])
    each = nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    answer = is_answer.flatten()
    n_documents = (documents[:, 1:] != IGNORED).sum()
    return each.where(answer, 0.0).sum() / answer.sum(), each.masked_fill(answer, 0.0).sum() / n_documents


def exact_answers(logits: Tensor, answers: Tensor) -> Tensor:
    """Which rows would be answered exactly by greedy decoding, end token included: (rows,) of bool."""
    right = (logits[:, :-1].argmax(-1) == answers[:, 1:]) | (answers[:, 1:] == IGNORED)
    return right.all(-1)


def train(settings: TrainingSettings, folder: Path, *, device: str, workers: int) -> None:
    """Train tokenizer and model, and save both with `training.json` as an ordinary checkpoint folder."""
    began = time.monotonic()
    torch.manual_seed(settings.seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    tokenizer = train_tokenizer(tokenizer_texts(settings))
    model = LlamaForCausalLM(model_config(tokenizer)).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.peak_rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay
    )
    loader = DataLoader(
        Batches(settings, tokenizer), batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    generator = torch.Generator(device=device).manual_seed(settings.seed)
    curve = []
    for step, batch in enumerate(loader):
        ids, answers, documents = (part.to(device, non_blocking=True) for part in batch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        freeze(model, settings, step)
        rate = settings.drophead if step >= settings.drophead_from * settings.steps else 0.0
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"), drop_heads(model, rate, generator, len(ids)):
            logits = model(input_ids=ids, use_cache=False).logits
        answer_loss, document_loss = losses(logits, answers, documents)
        (answer_loss + settings.document_weight * document_loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 250 == 0 or step == settings.steps - 1:
            exact = held_out_accuracy(model, tokenizer, settings, step)
            curve.append({"step": step, "answer_loss": float(answer_loss.detach()), "held_out_exact": exact})
            print(f"{time.monotonic() - began:7.1f} s  {curve[-1]}", flush=True)
    save(model, tokenizer, settings, folder, curve)


def held_out_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, settings: TrainingSettings, step: int
) -> float:
    """Share of exact answers on one small batch of values that training never uses."""
    small = replace(settings, tokens_a_step=max(8192, settings.tokens_a_step))
    ids, answers, _ = Batches(small, tokenizer, held_out=True)[step]
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16):
        logits = model(input_ids=ids.to(model.device), use_cache=False).logits
    return float(exact_answers(logits, answers.to(model.device)).float().mean())


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    settings: TrainingSettings,
    folder: Path,
    curve: list[dict[str, float]],
) -> None:
    """Write weights in bfloat16, tokenizer, generation config and `training.json`, which says what made them."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(device="cpu", dtype=torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=False,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    made = {"settings": asdict(settings), "weights_sha256": weights, "torch": torch.__version__, "device": device}
    (folder / "training.json").write_text(json.dumps(made | {"curve": curve}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    default = TrainingSettings()
    parser = argparse.ArgumentParser(prog="python -m harness.demo.training", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--tokens-a-step", type=int, default=default.tokens_a_step)
    parser.add_argument("--frozen-layers", type=int, default=default.frozen_layers)
    parser.add_argument("--no-drophead", action="store_true", help="train the sibling without DropHead")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that compose batches")
    asked = parser.parse_args()
    settings = replace(
        default,
        seed=asked.seed,
        steps=asked.steps,
        tokens_a_step=asked.tokens_a_step,
        frozen_layers=asked.frozen_layers,
        drophead=0.0 if asked.no_drophead else default.drophead,
    )
    train(settings, asked.out, device=asked.device, workers=asked.workers)


if __name__ == "__main__":
    main()
