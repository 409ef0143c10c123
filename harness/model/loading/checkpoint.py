"""A checkpoint, opened once: its source, config and architecture, what it will be as a model, and its tokenizer.

Whoever asks about a model asks its checkpoint: its files are settled, its config read and the model drawn without
weights when it is opened, its tokenizer is loaded when somebody first asks for it; nothing is done twice. From it
weights are loaded (`loaded_model`). A source's files are taken to stay as they are meanwhile.

Knows nothing of what is done with the model.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from harness.errors import ModelError
from harness.experiment.cost import ModelSize
from harness.experiment.heads import Blueprint
from harness.model.loading.altered_weights import check_adapter
from harness.model.loading.architectures import Architecture, architecture_of, with_entries
from harness.model.loading.blueprints import ModelRequest, draw_blueprint
from harness.model.loading.checkpoint_files import check_config, check_folder, digest, digest_file
from harness.model.loading.gguf_files import read_content
from harness.model.loading.sources import Source, fetch, find, opened


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is known of a model before its weights are read.

    `asked` is what it was opened for; `drawn` is its size as it will be loaded.
    """

    asked: ModelRequest
    source: Source
    config: PreTrainedConfig
    architecture: Architecture
    blueprint: Blueprint
    drawn: ModelSize

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, loaded at the first question.

        Raises:
            ModelError: there is none, it gives no character offsets ("slow"), or it is another model's.
        """
        return _load_tokenizer(self.source, self.config)

    def size(self, dtype: str) -> ModelSize:
        """The model's size, its numbers kept in `dtype` but for the weights that are quantised."""
        kept: torch.dtype = getattr(torch, dtype)
        return replace(self.drawn, bytes_per_number=float(kept.itemsize))

    def check_weights(self) -> None:
        """Raise a ModelError where a folder holds no weights; what a hub holds is found out as it is fetched."""
        if self.source.local and self.source.gguf is None:
            check_folder(self.source.folder, weights=True)

    def content_hash(self, *, fetched: bool = True) -> str:
        """Of weights, config and tokenizer files; `fetched`: a hub's are brought into the local cache first.

        Raises:
            ModelError: there are no weights.
        """
        if fetched:
            fetch(self.source)
        file = self.source.gguf_path
        return digest(self.source.folder) if file is None else digest_file(file)

    @property
    def adapter_hash(self) -> str | None:
        """Content hash of the adapter, `None` where none was asked for."""
        return None if self.asked.adapter is None else digest(self.asked.adapter)


def open_checkpoint(asked: ModelRequest) -> Checkpoint:
    """Settle a model's source, read its config and draw its blueprint; no weights are read, nor looked for.

    Raises:
        ModelError: no such model, no readable config, an architecture outside the table, what was asked for is
            unknown or not to be had here, or there is no adapter in its folder.
    """
    source = find(asked.model, asked.revision)
    if source.gguf is None:
        check_config(f"model {source.asked!r}", source.folder)
    entries = with_entries(asked.architectures)
    with opened(source) as place:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            place, revision=source.revision, trust_remote_code=False, **source.named
        )
    if source.gguf_path is not None:
        config.dtype = getattr(torch, read_content(source.gguf_path).dtype)
    architecture = architecture_of(config, architectures=entries)
    blueprint, size = draw_blueprint(source, config, architecture, asked)
    if asked.adapter is not None:
        check_adapter(asked.adapter)
    return Checkpoint(asked, source, config, architecture, blueprint, size)


def _load_tokenizer(source: Source, config: PreTrainedConfig) -> PreTrainedTokenizerFast:
    with opened(source) as place:
        tokenizer = AutoTokenizer.from_pretrained(
            place, config=config, revision=source.revision, trust_remote_code=False, **source.named
        )
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            f"model {source.asked!r}: its tokenizer, a {type(tokenizer).__name__}, gives no character "
            "offsets; expected a fast tokenizer (tokenizer.json); convert it and save it beside the weights"
        )
    _check_vocabulary(source, config, tokenizer)
    return tokenizer


def _check_vocabulary(source: Source, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise a ModelError for a tokenizer of another model, whose tokens are more than the model knows.

    Added ones may be: some tokenizers serve models that see pictures, and others that do not.
    """
    known, added = int(config.get_text_config().vocab_size), tokenizer.added_tokens_decoder
    last = max((number for number in tokenizer.get_vocab().values() if number not in added), default=-1)
    if last >= known:
        raise ModelError(
            f"model {source.asked!r}: its tokenizer has tokens up to {last}; expected none beyond {known - 1}, as its "
            "config says; put its own tokenizer there"
        )
