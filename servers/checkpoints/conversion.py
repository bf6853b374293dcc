"""Turns a folder of another layout into a plain one: config.json, safetensors, tokenizer.json.

What a library converts, it does: tokenizers of other files and GGUF by transformers. The layout of
mamba_ssm differs in names alone. The plain folder is a temporary one; the given one stays as it is.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harnessapi.programs import MissingExtraError, require_extra

from harness_servers.checkpoints.checkpoint_files import CONFIG, TOKENIZER, WEIGHTS, read_json
from harness_servers.errors import CheckpointError

_log = logging.getLogger(__name__)

# Files that a tokenizer is made from, where there is no tokenizer.json: all of a set are needed.
_TOKENIZER_SETS: Final = (
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.txt",),
)


@contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    """The folder itself where it is plain, else a converted one for as long as the context lasts.

    Raises CheckpointError, saying what to do.
    """
    steps = [step for applies, step in _STEPS if folder.is_dir() and applies(folder)]
    if not steps:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as scratch:
        # Of the same name: that is what the model is called.
        plain = Path(scratch) / folder.resolve().name
        plain.mkdir()
        for path in folder.iterdir():
            (plain / path.name).symlink_to(path.resolve())
        try:
            for step in steps:
                step(plain)
        except (CheckpointError, MissingExtraError) as error:
            raise CheckpointError(f"checkpoint {folder}: {error}") from error
        yield plain


def _ggufs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.gguf"))


def _is_gguf(folder: Path) -> bool:
    return bool(_ggufs(folder)) and not any(folder.glob(f"{WEIGHTS}*"))


def _convert_gguf(plain: Path) -> None:
    names = _ggufs(plain)
    if len(names) > 1:
        raise CheckpointError(
            f"it holds {len(names)} GGUF files ({', '.join(names[:4])}): put the one to be served "
            "into a folder of its own (parts of one model are joined by `llama-gguf-split --merge`)"
        )
    require_extra("gguf", f"converting {names[0]}")
    # Here and not at the top: it takes seconds to import, and may not be installed.
    from harness_servers.checkpoints.gguf_conversion import convert_gguf  # noqa: PLC0415

    _log.warning("%s is converted by transformers, into float32", names[0])
    convert_gguf(plain, names[0])


def _lacks_tokenizer(folder: Path) -> bool:
    return not (folder / TOKENIZER).is_file() and _tokenizer_set(folder) is not None


def _tokenizer_set(folder: Path) -> tuple[str, ...] | None:
    for names in _TOKENIZER_SETS:
        if all((folder / name).is_file() for name in names):
            return names
    return None


def _convert_tokenizer(plain: Path) -> None:
    names = " and ".join(_tokenizer_set(plain) or ())
    require_extra("transformers", f"{TOKENIZER} is missing; making it from {names}")
    from harness_servers.checkpoints.hugging_face import convert_tokenizer  # noqa: PLC0415

    _log.warning("%s is made from %s by transformers", TOKENIZER, names)
    convert_tokenizer(plain)


def _is_mamba_ssm(folder: Path) -> bool:
    path = folder / CONFIG
    if not path.is_file() or path.stat().st_size > _MAX_CONFIG_BYTES:
        return False
    raw = read_json(path)
    return isinstance(raw, dict) and "model_type" not in raw and {"d_model", "n_layer"} <= {*raw}


def _convert_mamba_ssm(plain: Path) -> None:
    # Brings torch, which the process in front of an engine does without.
    from harness_servers.checkpoints.mamba_ssm import convert  # noqa: PLC0415

    convert(plain)


_MAX_CONFIG_BYTES: Final = 2**20
# In this order: a config of GGUF's is there before its tokenizer is looked for.
_STEPS: Final[tuple[tuple[Callable[[Path], bool], Callable[[Path], None]], ...]] = (
    (_is_gguf, _convert_gguf),
    (_is_mamba_ssm, _convert_mamba_ssm),
    (_lacks_tokenizer, _convert_tokenizer),
)
