"""The files of a stranger's model folder: every name and size is checked, and no code is run.

Weights are safetensors (a JSON header of names, types and offsets, then the numbers); pickled weights are
refused. No path leaves the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError, InputFileError, UnsupportedError

_HEADER_LIMIT = 100_000_000
_WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2,
    "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_text(file: Path) -> str:
    """A text file.

    Raises:
        InputFileError: Not there.
        InputError: Not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputFileError(f"{file} is missing; get the model again.") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8; get the model again.") from None


def read_json(file: Path) -> Any:
    """A JSON file.

    Raises:
        InputFileError: Not there.
        InputError: Not JSON.
    """
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not valid JSON; get the model again.") from None


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        InputFileError: Not there.
        InputError: Not JSON, or not an object.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        raise InputError(f"{file} holds {type(value).__name__} where an object belongs; get the model again.")
    return value


def read_json_if_there(file: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where the file is missing.

    Raises:
        InputError: Not JSON, or not an object.
    """
    return read_object(file) if file.is_file() else {}


def inside(root: Path, relative: Any, *, stated_in: Path) -> Path:
    """A path that a model's configuration names, in the folder.

    Args:
        root: The folder.
        relative: The name as the configuration gives it; empty for the folder itself.
        stated_in: Where it is named, for the message.

    Raises:
        InputError: It leaves the folder.
    """
    if not isinstance(relative, str):
        raise InputError(f"{stated_in} names {relative!r} where a path belongs; get the model again.")
    windows, posix = PureWindowsPath(relative), PurePosixPath(relative)
    outside = windows.anchor or posix.is_absolute() or ".." in windows.parts or "\0" in relative
    target = root if outside else root / relative
    if outside or not any(target.resolve().is_relative_to(home.resolve()) for home in _homes(root)):
        raise InputError(
            f"{stated_in} names {relative!r}, which lies outside the model's folder; nothing is read there."
        )
    return target


def _homes(root: Path) -> list[Path]:
    """The folder, and for a model in the cache of Hugging Face the place that its links point to."""
    whole = root.absolute()
    caches = [place.parent.parent for place in (whole, *whole.parents) if place.parent.name == "snapshots"]
    return [root, *(cache / "blobs" for cache in caches[:1])]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies.

    Attributes:
        file: The safetensors file.
        dtype: As safetensors names it: `"F32"`, `"BF16"`.
        shape: Its shape.
        start: First byte in the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def load(self) -> NDArray[np.float32]:
        """The numbers as float32.

        Raises:
            UnsupportedError: Not a floating type that this version reads.
        """
        if self.dtype not in _NUMPY:
            raise UnsupportedError(f"{self.file} holds {self.dtype} numbers where floats belong.")
        raw = np.fromfile(self.file, _NUMPY[self.dtype], math.prod(self.shape), offset=self.start)
        if self.dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32).reshape(self.shape)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: one, or the shards that its index names; headers are checked.

    Raises:
        InputFileError: None there, or a shard missing.
        UnsupportedError: Weights in a pickled format only.
        InputError: Damaged.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        shards = read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise InputError(f"{index} has no weight_map; get the model again.")
        names = sorted({str(name) for name in shards.values()})
    else:
        raise _no_weights(folder)
    files = [inside(folder, name, stated_in=index) for name in names]
    for file in files:
        if file.suffix != ".safetensors":
            raise UnsupportedError(f"{index} names {file.name}, which is no safetensors file.")
        read_tensors(file)
    return files


def _no_weights(folder: Path) -> InputFileError | UnsupportedError:
    pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
    if pickled:
        return UnsupportedError(
            f"{folder} holds its weights as {pickled[0]}, a format that can run code when read; save them as "
            "model.safetensors (model.save_pretrained(FOLDER, safe_serialization=True))."
        )
    return InputFileError(f"{folder} holds no model.safetensors; get the model again.")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The header of a safetensors file, every size checked against the file.

    Raises:
        InputFileError: Not there.
        InputError: Cut, altered, or something else.
    """
    damaged = InputError(f"{file} is no whole safetensors file; get the model again.")
    if not file.is_file():
        raise InputFileError(f"{file} is missing; get the model again.")
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _HEADER_LIMIT):
            raise damaged
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            return {name: _tensor(file, entry, 8 + length, size) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise damaged from None


def _tensor(file: Path, entry: Mapping[str, Any], base: int, size: int) -> Tensor:
    begin, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    whole = all(type(n) is int and n >= 0 for n in (begin, end, *shape))
    if not whole or end - begin != math.prod(shape) * _WIDTHS[dtype] or not begin <= end <= size - base:
        raise ValueError
    return Tensor(file, dtype, shape, base + begin)


def write_tensors(file: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write float32 arrays as a safetensors file."""
    header, offset = {}, 0
    for name, array in tensors.items():
        end = offset + 4 * array.size
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode("utf-8")
    head += b" " * (-len(head) % 8)  # the numbers begin at a multiple of eight
    with file.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        for array in tensors.values():
            stream.write(np.ascontiguousarray(array, "<f4").tobytes())


def content_hash(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_of(parts: Iterable[Any]) -> str:
    """32 hexadecimal digits over JSON values, the same for equal values."""
    text = json.dumps(list(parts), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
