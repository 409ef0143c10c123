"""GGUF files: one file that holds weights, config, tokenizer and chat template
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

transformers reads one as it reads a folder, quantised weights as full numbers. What is in a file, and what of it
transformers would leave out without a word, is found out here first, by the format's own package. Knows nothing of
which architectures can be ablated.
"""

import functools
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES
from transformers.utils import quantization_config
from transformers.utils.quantization_config import QuantizationConfigMixin

from harness.errors import ModelError
from harness.files import at_home, is_file, is_folder

SUFFIX = ".gguf"
MAGIC = b"GGUF"

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Kinds of numbers that are not quantised, and torch's names for them."""

_END_TOKENS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
_BIAS = re.compile(r"blk\.\d+\..*\.bias")
_ROTARY = re.compile(r"rope_(freqs|factors_long|factors_short)\.weight")


@dataclass(frozen=True, slots=True)
class GgufContent:
    """What a file holds.

    `kind` is how most of its weights are kept, as `Q4_1` or `F16`; `end_token_ids` are all that it names: the end of a
    text, of a turn and of a message, of which transformers reads the first alone. `biased`: its layers have biases.
    """

    kind: str
    end_token_ids: frozenset[int]
    biased: bool

    @property
    def dtype(self) -> str:
        """The checkpoint's own dtype; of quantised weights, what they are read as."""
        return DTYPES.get(self.kind, "float32")

    @property
    def quantized(self) -> str | None:
        """The kind, where it is quantised."""
        return None if self.kind in DTYPES else self.kind


def gguf_file(path_or_id: str) -> Path | None:
    """The file that is meant, or `None` if this names none; a ModelError where it is not there."""
    file = at_home(path_or_id)
    if file.suffix.lower() != SUFFIX or is_folder(file):
        return None
    if not is_file(file):
        raise ModelError(f"model {path_or_id!r}: no such file; expected a GGUF file on this machine")
    return file


def read_content(file: Path) -> GgufContent:
    """What a GGUF file holds, its weights unread.

    Raises:
        ModelError: no GGUF, cut off, a part of a model, without a tokenizer, of an architecture that transformers does
            not read, or with scaled rotary frequencies; or the package gguf is not installed.
    """
    return _read_content(*_state(file))


@functools.cache
def _read_content(file: Path, size: int, modified: int) -> GgufContent:
    """Once for each state of a file: a vocabulary takes seconds."""
    where = f"model {str(file)!r}"
    if find_spec("gguf") is None:
        raise ModelError(
            f"{where}: the package gguf is not installed; expected it; pip install 'retrieval-heads[gguf]'"
        )
    with file.open("rb") as stream:
        begins = stream.read(len(MAGIC))
    if begins != MAGIC:
        raise ModelError(f"{where}: begins with {begins!r}; expected {MAGIC!r}, as every GGUF file; name another file")
    try:
        reader = _reader(file, size, modified)
    except (ValueError, LookupError, ArithmeticError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{where}: cannot be read as GGUF ({said}); expected a whole file of version 2 or 3; it may be cut off: "
            "compare its size with that of its source"
        ) from None
    fields = {name: field.contents() for name, field in reader.fields.items() if len(field.data) == 1}
    architecture = str(fields.get("general.architecture", ""))
    if int(fields.get("split.count", 1)) > 1:
        raise ModelError(f"{where}: one of {fields['split.count']} parts; expected a whole model; merge its parts")
    if _bare(architecture) not in {_bare(name) for name in GGUF_SUPPORTED_ARCHITECTURES} - {"general", "tokenizer"}:
        raise ModelError(
            f"{where}: architecture {architecture!r}, which transformers does not read from GGUF; expected another; "
            "name the folder or hub id that it was made from"
        )
    if "tokenizer.ggml.tokens" not in reader.fields:
        raise ModelError(
            f"{where}: holds no tokenizer; expected one (tokenizer.ggml.tokens); name a file that was made with its "
            "vocabulary"
        )
    scaling = str(fields.get(f"{architecture}.rope.scaling.type", "none"))
    if scaling != "none" or any(_ROTARY.fullmatch(tensor.name) for tensor in reader.tensors):
        raise ModelError(
            f"{where}: scales its rotary frequencies, which transformers leaves out of a GGUF file; expected none "
            "scaled; name the folder or hub id that it was made from"
        )
    kinds: Counter[str] = Counter()
    for tensor in reader.tensors:
        kinds[tensor.tensor_type.name] += int(tensor.n_elements)
    if not kinds:
        raise ModelError(f"{where}: holds no weights; expected a model's; name another file")
    ends = frozenset(int(fields[name]) for name in _END_TOKENS if name in fields)
    biased = any(_BIAS.fullmatch(tensor.name) for tensor in reader.tensors)
    return GgufContent(kinds.most_common(1)[0][0], ends, biased)


def check_biases(file: Path, parameters: Iterable[str]) -> None:
    """Raise a ModelError where the layers' biases have no place among a model's parameters: they would be left out.

    A GGUF file does not say whether its model is to have any, and transformers passes over what it does not expect.
    """
    if read_content(file).biased and not any("bias" in name for name in parameters):
        raise ModelError(
            f"model {str(file)!r}: its layers have biases, which transformers leaves out of a GGUF file of this "
            "architecture; expected none; name the folder or hub id that it was made from"
        )


def _bare(name: str) -> str:
    """GGUF writes `qwen2moe` and `gpt-oss`, transformers `qwen2_moe` and `gpt_oss`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def full_weights() -> QuantizationConfigMixin | None:
    """What tells transformers to read quantised weights as full ones; `None` for versions that always do."""
    config = getattr(quantization_config, "GgufConfig", None)
    return None if config is None else cast(QuantizationConfigMixin, config(dequantize=True))


@contextmanager
def alone(file: Path) -> Iterator[Path]:
    """A folder that shows this file and nothing else, and silence about reading it.

    Of a file beside which a `tokenizer.json` lies, transformers would take that one. It also takes a file
    apart anew for config, tokenizer and weights, seconds each with a vocabulary of 50,000: while the folder is there,
    whoever asks for this file's reader gets the one that there is.
    """
    import gguf

    own = gguf.GGUFReader

    def once(path: str | Path, *mode: Any) -> Any:
        return _reader(*_state(Path(path))) if Path(path).resolve() == file.resolve() else own(path, *mode)

    with tempfile.TemporaryDirectory(prefix="retrieval-heads-") as folder, redirect_stderr(io.StringIO()):
        Path(folder, file.name).symlink_to(file.resolve())
        gguf.GGUFReader = once  # type: ignore[misc,assignment]  # a class, of which no more than this is used
        try:
            yield Path(folder)
        finally:
            gguf.GGUFReader = own  # type: ignore[misc]  # put back


@functools.cache
def _reader(file: Path, size: int, modified: int) -> Any:
    """The format's own reader of a file in this state; weights are mapped, not read."""
    from gguf.gguf_reader import GGUFReader

    return GGUFReader(file)


def _state(file: Path) -> tuple[Path, int, int]:
    """Where a file really lies, its size, and when it was changed."""
    status = file.stat()
    return file.resolve(), status.st_size, status.st_mtime_ns
