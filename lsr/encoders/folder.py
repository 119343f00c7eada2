"""The folder of a model made by this project's own trainer: one JSON file, plain text lists, npy arrays.

`lsr.json` states the kind, the constants, and size and SHA-256 of every other file; its own hash is the
model's fingerprint. Reading runs no code from the folder: arrays are loaded without pickle, and every
size is checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.analysis import ANALYSIS_VERSION
from lsr.errors import InputError, InputFileError

CONFIG = "lsr.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with its configuration read and its file sizes checked.

    Attributes:
        path: The folder.
        settings: `lsr.json`.
        fingerprint: 32 hexadecimal digits.
    """

    path: Path
    settings: Mapping[str, Any]
    fingerprint: str

    @property
    def reference(self) -> str:
        """The model's name if it is bundled, else the whole path of its folder."""
        return str(self.settings["name"] if self.path.parent == bundled_root() else self.path.resolve())

    def lines(self, name: str) -> list[str]:
        """A text file as a list of lines; empty if the model has no such file."""
        if name not in self.settings["files"]:
            return []
        return (self.path / name).read_text(encoding="utf-8").split("\n")

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """An npy file, memory-mapped.

        Raises:
            InputError: Another dtype or shape than the model needs.
        """
        array: NDArray[Any] = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            raise InputError(
                f"{self.path / name} holds {array.dtype} {array.shape} instead of {dtype} {shape}; "
                "the model folder is damaged."
            )
        return array


def bundled_root() -> Path:
    """Where the models lie that ship in the package."""
    return Path(str(resources.files("lsr.encoders"))) / "models"


def is_model_folder(path: Path) -> bool:
    """Whether a folder was written by this project's trainer."""
    return (path / CONFIG).is_file()


def read_folder(path: Path) -> ModelFolder:
    """Read and check a model folder.

    Raises:
        InputFileError: No `lsr.json` there, or one of its files is missing.
        InputError: Damaged, or of a newer format.
    """
    if not is_model_folder(path):
        raise InputFileError(f"{path} is no model folder: it holds no {CONFIG}.")
    data = (path / CONFIG).read_bytes()
    try:
        settings = json.loads(data)
        version, files = settings["format"], settings["files"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path / CONFIG} is damaged; get the model again.") from None
    if version > FORMAT or settings.get("analysis", 0) > ANALYSIS_VERSION:
        raise InputError(f"The model in {path} was made by a newer version of lsr; upgrade to use it.")
    for name, facts in files.items():
        file = path / name
        if file.parent != path or not file.is_file():
            raise InputFileError(f"The model in {path} lacks its file {name}; get the model again.")
        if file.stat().st_size != facts["bytes"]:
            raise InputError(
                f"{file} has {file.stat().st_size} bytes instead of {facts['bytes']}; get the model again."
            )
    return ModelFolder(path, settings, hashlib.sha256(data).hexdigest()[:32])


def write_folder(path: Path, settings: Mapping[str, Any], files: Sequence[str]) -> ModelFolder:
    """Write `lsr.json` for files that lie in the folder already, last of all.

    Args:
        path: The folder.
        settings: The kind and its constants.
        files: Names of the files that belong to the model.
    """
    facts = {}
    for name in sorted(files):
        data = (path / name).read_bytes()
        facts[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    whole = {"format": FORMAT, "analysis": ANALYSIS_VERSION, **settings, "files": facts}
    text = json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (path / CONFIG).write_text(text, encoding="utf-8")
    return read_folder(path)
