"""From a name to an encoder: bundled models, folders, and (with its extra) models of the hub."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Literal

from lsr.encoders.folder import ModelFolder, is_model_folder, read_folder
from lsr.encoders.protocol import Encoder
from lsr.errors import InputError, UnknownEncoderError, UnsupportedError

ALIASES = {"default": "lsr-en-1"}

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fast"]


def bundled_models() -> dict[str, Path]:
    """The models that ship in the package: name to folder, sorted by name."""
    root = Path(str(files("lsr.encoders"))) / "models"
    return (
        {path.name: path for path in sorted(root.iterdir()) if is_model_folder(path)} if root.is_dir() else {}
    )


def resolve_name(name: str) -> str:
    """The lasting name behind an alias: `"default"` is `"lsr-en-1"`."""
    return ALIASES.get(name, name)


def load_encoder(
    name: str | Path = "default", *, device: Device = "auto", precision: Precision = "auto"
) -> Encoder:
    """Load an encoder.

    Args:
        name: A bundled name (`"default"`, `"lsr-en-1"`, `"bm25"`) or a model folder.
        device: Where the neural side runs; the bundled models run on the CPU.
        precision: `"auto"` for the model's own arithmetic, `"fast"` for the fastest of this machine.

    Returns:
        The encoder.

    Raises:
        UnknownEncoderError: No such bundled model and no such folder.
        UnsupportedError: A kind of model or a device that this version does not have.
        InputError: A damaged folder.

    Example:
        >>> load_encoder("bm25").name
        'bm25'
    """
    _check_option("device", device, ("auto", "cpu", "cuda"))
    _check_option("precision", precision, ("auto", "fast"))
    folder = _find(str(name))
    kind = folder.settings.get("kind")
    if device == "cuda":
        raise UnsupportedError(
            f"The model {folder.settings.get('name')!r} runs on the CPU; use device='cpu'."
        )
    if kind not in _KINDS:
        raise UnsupportedError(f"Models of the kind {kind!r} need a newer version of lsr ({folder.path}).")
    return _KINDS[kind](folder)


def _check_option(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{option}={value!r} is not one of {', '.join(allowed)}.")


def _find(name: str) -> ModelFolder:
    bundled = bundled_models()
    resolved = resolve_name(name)
    if resolved in bundled:
        return read_folder(bundled[resolved])
    path = Path(name)
    if is_model_folder(path):
        return read_folder(path)
    known = ", ".join(["default", *bundled])
    if name.startswith("hf:"):
        raise UnsupportedError(
            f"{name}: models of the hub cannot be loaded by this version; known are {known}."
        )
    if path.is_dir():
        raise UnsupportedError(
            f"{name} is a folder without lsr.json, and this version reads its own model folders only; "
            f"bundled are {known}."
        )
    raise UnknownEncoderError(f"There is no encoder {name!r}: bundled are {known}; otherwise give a folder.")


def _load_lexical(folder: ModelFolder) -> Encoder:
    from lsr.encoders.lexical import LexicalEncoder

    return LexicalEncoder(folder)


def _load_projected(folder: ModelFolder) -> Encoder:
    from lsr.encoders.projected import ProjectedEncoder

    return ProjectedEncoder(folder)


_KINDS: dict[str, Callable[[ModelFolder], Encoder]] = {
    "lexical": _load_lexical,
    "projected": _load_projected,
}
