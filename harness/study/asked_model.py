"""The model that the settings ask for: what is known of it, its tokenizer, its content, and the model itself.

The one place where settings become arguments of the model floor, which is imported inside functions only. The model's
checkpoint is opened at the first question that no earlier session has answered (`memory`), and once: its commit is
settled then, and a branch that moves during a run changes nothing.
"""

import atexit
import gc
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ModelError
from harness.experiment.cost import ModelSize
from harness.experiment.heads import Blueprint, Head, ModelShape
from harness.experiment.intervention import MeanValues
from harness.experiment.record import RunKey
from harness.retrieval.prompts import Tokenizer
from harness.settings import DEMO, Settings
from harness.study.memory import Memory, model_place

if TYPE_CHECKING:
    from harness.model.loading.checkpoint import Checkpoint
    from harness.model.loading.loaded_model import LoadedModel


@dataclass(frozen=True, eq=False)
class AskedModel:
    """What a study asks about its model; whatever cannot be answered is a ModelError."""

    settings: Settings

    @cached_property
    def memory(self) -> Memory:
        """What earlier sessions found out of it."""
        return Memory(self.settings)

    @cached_property
    def blueprint(self) -> Blueprint:
        """What will be loaded."""
        found = self.memory.recall("model", "blueprint", lambda: asdict(self._checkpoint.blueprint))
        return Blueprint(**found | {"shape": ModelShape(**found["shape"]), "windows": tuple(found["windows"])})

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, loaded without the model."""
        return self._checkpoint.tokenizer

    @cached_property
    def special_tokens(self) -> frozenset[int]:
        """The tokenizer's special tokens."""

        def find() -> list[int]:
            return sorted(number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special)

        return frozenset(self.memory.recall("model", "special tokens", find))

    @cached_property
    def fingerprints(self) -> tuple[str, str | None]:
        """Content hashes of the model's files, and of its adapter's; a dry run fetches none."""
        model, adapter = self.memory.recall(
            "model",
            "fingerprints",
            lambda: [
                self._checkpoint.content_hash(fetched=not self.settings.dry_run),
                self._checkpoint.adapter_hash,
            ],
        )
        return model, adapter

    @cached_property
    def run_key(self) -> RunKey:
        """What this model's records depend on beside prompt and heads, found out without loading weights."""
        found = self.memory.recall("model", "run key", lambda: asdict(self._find_run_key()))
        return RunKey(**found | {"architectures": tuple(found["architectures"])})

    def _find_run_key(self) -> RunKey:
        import torch
        import transformers

        from harness.model.generation.engines import engine_version
        from harness.model.loading.devices import attention_with_kernels

        settings, blueprint = self.settings, self.blueprint
        fingerprint, adapter = self.fingerprints
        return RunKey(
            fingerprint=fingerprint,
            revision=blueprint.shape.revision,
            dtype=blueprint.dtype,
            attention=attention_with_kernels(blueprint.attention, blueprint.device_type),
            device_type=blueprint.device_type,
            engine=engine_version(settings.engine),
            max_new_tokens=settings.max_new_tokens,
            torch_version=torch.__version__,
            transformers_version=transformers.__version__,
            quantization=settings.quantization,
            adapter=adapter,
            architectures=tuple(sorted("".join(entry.split()) for entry in settings.architectures)),
        )

    def check_weights(self) -> None:
        """Raise a ModelError where it is known already that there are no weights to load."""
        if not self.memory.knows("model", "fingerprints"):
            self._checkpoint.check_weights()

    def text(self, token_ids: Sequence[int]) -> str:
        """What tokens say, special ones left out."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def known_text(self, token_ids: Sequence[int]) -> str:
        """The same, remembered."""
        return self.memory.recall("texts", " ".join(map(str, token_ids)), lambda: self.text(token_ids))

    def size(self, dtype: str) -> ModelSize:
        """How large the model is in a dtype."""
        return self._checkpoint.size(dtype)

    def load(self, *, device_map: str | None = None, work: Sequence[float] = ()) -> "LoadedModel":
        """The model, ready for inference; `device_map` in place of the settings' own.

        `work` is what is done in each layer, in any unit, by default alike: what layers of a model over several GPUs
        are dealt out by.

        Raises ModelError too where it is not as it was remembered, which no earlier session is believed in again.
        """
        from harness.model.loading import loaded_model

        if self._checkpoint.blueprint != self.blueprint:
            self.memory.forget()
            raise ModelError(
                f"model {self.settings.model!r}: it, or this machine, is not as the store remembers it; expected the "
                "same files and devices; start again: it is found out anew"
            )
        return loaded_model.load_model(self._checkpoint, device_map=device_map, work=work)

    def write_without(self, heads: Collection[Head], out: Path, means: MeanValues | None = None) -> None:
        """Write its checkpoint without these heads, put to zero or to these means, as a folder of its own."""
        from harness.model.loading.cut_checkpoint import write_cut

        name = DEMO if self.settings.model == DEMO else None
        write_cut(self._checkpoint, heads, out, means=means, name=name)

    @cached_property
    def _checkpoint(self) -> "Checkpoint":
        load_libraries()
        from harness.model.loading.blueprints import ModelRequest
        from harness.model.loading.checkpoint import open_checkpoint

        settings = self.settings
        return open_checkpoint(
            ModelRequest(
                model_place(settings),
                revision=settings.revision,
                dtype=settings.dtype,
                device_map=settings.device_map,
                attention=settings.attn,
                quantization=settings.quantization,
                adapter=settings.adapter,
                architectures=settings.architectures,
                elsewhere=settings.ray is not None,
            )
        )


def load_libraries() -> None:
    """Import torch, and what every model needs of transformers, without looking for garbage meanwhile or later."""
    if "transformers.modeling_utils" in sys.modules:
        return
    import harness.model  # noqa: F401  # it says how threads wait, before there is torch

    collects = gc.isenabled()
    gc.disable()
    try:
        import transformers.modeling_utils
        import transformers.models.auto.modeling_auto  # noqa: F401  # with it torch, and nearly all of this floor's needs
    finally:
        if collects:
            gc.enable()
    leave_alone()


def leave_alone() -> None:
    """Never look for garbage in what there is now.

    What modules leave, thousands with torch, stays to the end, and the collector would go through it again and again
    (https://docs.python.org/3/library/gc.html#gc.freeze). As the process ends it would go through all that is there.
    """
    gc.freeze()
    atexit.register(gc.freeze)
