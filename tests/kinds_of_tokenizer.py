"""Tokenizers of three kinds, built here, each with and without a chat template.

Byte-level BPE (a character's bytes may fall into different tokens), Unigram with spaces as parts of words and byte
fallback (in the manner of SentencePiece), and one token a character.
"""

from collections.abc import Callable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "The registrant was incorporated in Delaware in 1985. Its CEO is Mr. Smith.",
    "It has seven hundred employees; 1,234 holders of record.</document>\nQuestion: What is it?\nAnswer:",
]

SPECIAL = ["<|begin|>", "<|end|>"]

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|end|>{{ message['role'] }}\n"
    "{{ message['content'] | trim }}{% endfor %}<|end|>\n"
    "{% if add_generation_prompt %}assistant\n\n{% endif %}"
)


def fast(core: tokenizers.Tokenizer, *, chat: str | None = None, adds_bos: bool = True) -> PreTrainedTokenizerFast:
    """As a Hugging Face tokenizer; like most, it begins a text with its BOS by itself."""
    if adds_bos:
        bos = (SPECIAL[0], core.token_to_id(SPECIAL[0]))
        begin = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=[bos])
        core.post_processor = begin
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, bos_token=SPECIAL[0], eos_token=SPECIAL[1]
    )
    tokenizer.chat_template = chat
    return tokenizer


def byte_level() -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=350, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return core


def unigram() -> tokenizers.Tokenizer:
    words = {f"▁{word}" for text in TEXTS for word in text.split()} | {"▁", "The", "CEO", "is", "ment"}
    letters = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,'<>/?!:;\n")
    pieces = [("<unk>", -20.0), *((f"<0x{byte:02X}>", -15.0) for byte in range(256))]
    pieces += [(word, -3.0) for word in sorted(words)] + [(letter, -9.0) for letter in sorted(letters)]
    core = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens(SPECIAL)
    return core


def characters() -> tokenizers.Tokenizer:
    known = [*SPECIAL, "<unk>", *(chr(code) for code in range(0x300)), "日", "本", "。", "—"]
    core = tokenizers.Tokenizer(models.WordLevel({token: at for at, token in enumerate(known)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens(SPECIAL)
    return core


KINDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "bytes": byte_level,
    "unigram": unigram,
    "characters": characters,
}

TOKENIZERS = {
    (kind, name): fast(build(), chat=chat)
    for kind, build in KINDS.items()
    for name, chat in (("plain", None), ("chat", CHAT))
}
