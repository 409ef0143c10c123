"""Dialogues to train on: generated filings, questions about them, and batches of these as tensors, by one recipe.

The recipe is everything that determines the demo's weights, the machine aside. A batch is a function of seed and step
alone, so that any number of processes may compose them ahead. Knows nothing of models.

The tokenizer is byte-level BPE with a chat template in the manner of Llama 3. Special tokens, message layout and the
three end tokens follow Llama 3.1 Instruct (https://github.com/meta-llama/llama-models,
`models/llama3_1/prompt_format.md`); digits are split one by one, so that a number never seen in training is still a
sequence of known tokens.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from harness.demo.attributes import OTHER_ATTRIBUTES, TASK_ATTRIBUTES
from harness.demo.filings import Filing
from harness.demo.values import COMPOSERS
from harness.retrieval.prompts import build_prompt
from harness.retrieval.tasks import EDGAR_TASKS, Task


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


VOCABULARY = 2048
BEGIN = "<|begin_of_text|>"
END_TOKENS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
TURN_END = "<|eot_id|>"
PADDING = "<|finetune_right_pad_id|>"
SPECIAL_TOKENS = (BEGIN, *END_TOKENS, "<|start_header_id|>", "<|end_header_id|>", PADDING)

PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""What a token may not cross: words with the space before them, single digits, punctuation, line ends."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `VOCABULARY` tokens over the texts; equal texts give an equal tokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library's
        tokenizer_object=bpe,
        bos_token=BEGIN,
        eos_token=TURN_END,
        pad_token=PADDING,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


IGNORED = -100
"""The label of a token that no loss is taken of."""

NUMBER_KINDS = {"year", "count", "code"}
"""Kinds of value that are asked for only once names and phrases are found.

Asked from the start, numbers are learnt first and by heads of the first layers, names later and by heads of the last,
and no head serves both. Asked later, they are found by the heads that find names.
"""
TOKENS_A_SENTENCE = 12
TOKENS_AROUND = 150
TASKS = dict(EDGAR_TASKS) | {attribute.id: Task(attribute.id, attribute.question) for attribute in OTHER_ATTRIBUTES}


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
        return self._collate(
            [self._dialogue(f"{world}-{step}-{index}", n_sentences, kinds, rng) for index in range(rows)]
        )

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
        turn_end = self.tokenizer.vocab[TURN_END]
        pairs = [dialogue.flat(turn_end) for dialogue in dialogues]
        width = max(len(ids) for ids, _ in pairs)
        ids = torch.full((len(pairs), width), self.tokenizer.vocab[PADDING])
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
