"""From a name to an encoder: bundled models, folders, and models of the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lsr.encoders.decoder_folder import is_decoder_folder
from lsr.encoders.folder import ModelFolder, bundled_root, is_model_folder, read_folder
from lsr.encoders.processor import is_installed
from lsr.encoders.protocol import Encoder
from lsr.errors import InputError, MissingExtraError, UnknownEncoderError, UnsupportedError

ALIASES = {"default": "lsr-en-1"}

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fast"]


def bundled_models() -> dict[str, Path]:
    """The models that ship in the package: name to folder, sorted by name."""
    root = bundled_root()
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
        name: A bundled name (`"default"`, `"lsr-en-1"`, `"bm25"`), a model folder (this project's, a
            sentence-transformers SparseEncoder, a masked language model of Hugging Face, a decoder), or
            `"hf:org/name"`, the only kind that touches the network.
        device: Where the neural side runs; `"auto"` takes a GPU if there is one. The bundled models run on
            the CPU.
        precision: `"auto"` for float32 on the fastest backend installed, `"fast"` for bfloat16 where
            processor and backend have it, else int8.

    Returns:
        The encoder.

    Raises:
        UnknownEncoderError: No such bundled model and no such folder.
        UnsupportedError: A kind of model or a device that this version does not have.
        MissingExtraError: The model needs a part that is not installed.
        InputError: A damaged folder, or a model that could not be fetched.

    Example:
        >>> load_encoder("bm25").name
        'bm25'
    """
    _check_option("device", device, ("auto", "cpu", "cuda"))
    _check_option("precision", precision, ("auto", "fast"))
    resolved = resolve_name(str(name))
    bundled = bundled_models()
    if resolved in bundled:
        return _load_own(bundled[resolved], device)
    if resolved.startswith("hf:"):
        from lsr.encoders.hub import fetch_model

        return _load_folder(fetch_model(resolved), device, precision, reference=resolved)
    path = Path(name)
    if not path.is_dir():
        known = ", ".join(["default", *bundled])
        raise UnknownEncoderError(
            f"There is no encoder {str(name)!r}: bundled are {known}; otherwise give a folder."
        )
    return _load_folder(path, device, precision)


def _load_folder(path: Path, device: Device, precision: Precision, *, reference: str = "") -> Encoder:
    if is_model_folder(path):
        return _load_own(path, device)
    if is_decoder_folder(path):
        if not is_installed("torch", "transformers"):
            raise MissingExtraError(f"The language model in {path}", "torch")
        from lsr.encoders.decoder import load_decoder_encoder

        decoder = load_decoder_encoder(path, device=device, precision=precision)
        decoder.reference = reference or decoder.reference
        return decoder
    from lsr.encoders.sparse_folder import is_sparse_folder, read_sparse_folder
    from lsr.encoders.sparse_loading import load_sparse_encoder

    if not is_sparse_folder(path):
        raise InputError(
            f"{path} holds no model that lsr reads: no lsr.json, no modules.json of sentence-transformers, "
            "and no config.json of a masked language model."
        )
    encoder = load_sparse_encoder(read_sparse_folder(path), device=device, precision=precision)
    encoder.reference = reference or encoder.reference
    return encoder


def _load_own(path: Path, device: Device) -> Encoder:
    folder = read_folder(path)
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
