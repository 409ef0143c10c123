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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.demo.dialogues import END_TOKENS, IGNORED, Batches, TrainingSettings, tokenizer_texts, train_tokenizer

HEAD_DIM = 32


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
        head_dim=HEAD_DIM,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ids,
        pad_token_id=tokenizer.pad_token_id,
    )


@contextmanager
def drop_heads(model: LlamaForCausalLM, rate: float, generator: torch.Generator, rows: int) -> Iterator[None]:
    """Zero heads at random in each sample, at every position, with a probability drawn from 0 to `rate`."""
    config = model.config
    device = model.device
    shape = (rows, config.num_hidden_layers, config.num_attention_heads)
    probability = rate * torch.rand(rows, 1, 1, generator=generator, device=device)
    dropped = torch.rand(shape, generator=generator, device=device) < probability

    def hook_of(layer: int) -> torch.utils.hooks.RemovableHandle:
        mask = dropped[:, layer].repeat_interleave(HEAD_DIM, dim=1).unsqueeze(1)  # (rows, 1, width)

        def zero(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0].masked_fill(mask, 0.0), *inputs[1:])

        projection: nn.Module = model.model.layers[layer].self_attn.o_proj
        return projection.register_forward_pre_hook(zero)

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
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a documented switch
    tokenizer = train_tokenizer(tokenizer_texts(settings))
    model = LlamaForCausalLM(model_config(tokenizer))
    nn.Module.to(model, device)
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
        with (
            torch.autocast(device, torch.bfloat16, enabled=device != "cpu"),
            drop_heads(model, rate, generator, len(ids)),
        ):
            logits = model(input_ids=ids, use_cache=False).logits
        answer_loss, document_loss = losses(logits, answers, documents)
        loss = answer_loss + settings.document_weight * document_loss
        loss.backward()  # type: ignore[no-untyped-call]  # the library's
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
    nn.Module.to(model, device="cpu", dtype=torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # the library's
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
    parser.add_argument("--numbers-from", type=float, default=default.numbers_from, help="share of the training")
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
        numbers_from=asked.numbers_from,
        frozen_layers=asked.frozen_layers,
        drophead=0.0 if asked.no_drophead else default.drophead,
    )
    train(settings, asked.out, device=asked.device, workers=asked.workers)


if __name__ == "__main__":
    main()
