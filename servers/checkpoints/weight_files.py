"""The safetensors of a checkpoint, one file or shards: found, and read with what is said of them.

Headers are read before any tensor is: what does not fit is refused without loading it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness_servers.checkpoints.checkpoint_files import WEIGHTS, read_json
from harness_servers.errors import CheckpointError

INDEX: Final = f"{WEIGHTS}.index.json"
# Each goes into float32, which is computed in; of these only float64 is rounded.
FLOATS: Final = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_INTEGERS: Final = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64")
# The format's own limit, and twice what the largest published models have.
_MAX_HEADER_BYTES: Final = 100_000_000
_MAX_TENSORS: Final = 200_000
# Old checkpoints carry what models now compute from their config.
_COMPUTED: Final = re.compile(r"(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFiles:
    """Files of safetensors; `shapes` and `dtypes` (as the format names them) by tensor."""

    paths: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]

    @property
    def stored_dtype(self) -> str:
        """How the numbers are stored: torch's name, several by falling share of the weights."""
        sizes: dict[str, int] = {}
        for name, dtype in self.dtypes.items():
            if dtype in FLOATS:
                sizes[dtype] = sizes.get(dtype, 0) + torch.Size(self.shapes[name]).numel()
        return ", ".join(FLOATS[dtype] for dtype in sorted(sizes, key=lambda d: -sizes[d]))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """One after the other; numbers in float32. Raises CheckpointError for what is no number."""
        for path in self.paths:
            try:
                with safe_open(path, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118
                        if name in self.shapes:
                            yield name, _widen(name, file.get_tensor(name))
            except (SafetensorError, OSError, ValueError) as error:
                raise _not_safetensors(path, error) from error


def find_weights(folder: Path) -> WeightFiles:
    """The one file, or the shards of the index. Raises CheckpointError, naming file and value."""
    single = folder / WEIGHTS
    paths = (single,) if single.is_file() else _shards(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    places: dict[str, Path] = {}
    for path in paths:
        for name, entry in _read_header(path).items():
            if _COMPUTED.search(name) is not None:
                continue
            if name in places:
                # Whichever file comes last would win.
                raise CheckpointError(
                    f"{name} is in {places[name].name} and in {path.name}: which of the two is "
                    "meant cannot be told; save the model anew"
                )
            places[name] = path
            shapes[name], dtypes[name] = _read_entry(path, name, entry)
    return WeightFiles(paths=paths, shapes=shapes, dtypes=dtypes)


def require_finite(name: str, tensor: Tensor) -> None:
    """Raises CheckpointError where a weight is NaN or infinite."""
    if tensor.is_floating_point() and tensor.numel():
        low, high = torch.aminmax(tensor)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise CheckpointError(f"{name} has weights that are NaN or infinite")


def _widen(name: str, tensor: Tensor) -> Tensor:
    require_finite(name, tensor)
    return tensor.float() if tensor.is_floating_point() else tensor


def _shards(folder: Path) -> tuple[Path, ...]:
    index = folder / INDEX
    if not index.is_file():
        raise CheckpointError(f"{WEIGHTS} is missing")
    found = read_json(index)
    files = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{INDEX} has no weight_map")
    names = {name if isinstance(name, str) else repr(name) for name in files.values()}
    for name in sorted(names):
        if Path(name).name != name:
            raise CheckpointError(f"{INDEX}: {name!r} is not the name of a file beside it")
        if not (folder / name).is_file():
            raise CheckpointError(f"{name} is missing; {INDEX} names it")
    return tuple(folder / name for name in sorted(names))


def _read_header(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            num_bytes = int.from_bytes(file.read(8), "little")
            if num_bytes > _MAX_HEADER_BYTES:
                raise ValueError(f"its header has {num_bytes:,} bytes")
            header = json.loads(file.read(num_bytes))
    except (OSError, ValueError, RecursionError) as error:
        raise _not_safetensors(path, error) from error
    if not isinstance(header, dict):
        raise _not_safetensors(path, ValueError("its header is no object"))
    header.pop("__metadata__", None)
    if len(header) > _MAX_TENSORS:
        raise CheckpointError(
            f"{path.name} names {len(header):,} tensors; no model has more than {_MAX_TENSORS:,}"
        )
    return header


def _read_entry(path: Path, name: str, entry: object) -> tuple[tuple[int, ...], str]:
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    dtype, shape = fields.get("dtype"), fields.get("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        raise _not_safetensors(path, ValueError(f"{name} has the shape {shape!r}"))
    if dtype not in (*FLOATS, *_INTEGERS):
        known = ", ".join(FLOATS.values())
        raise CheckpointError(
            f"{path.name}: {name} is stored as {dtype}; weights have to be {known}: save the model "
            "in one of them"
        )
    return tuple(shape), str(dtype)


def _not_safetensors(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path.name} is not a safetensors file: {error}")
