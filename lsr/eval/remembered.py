"""An encoder that remembers on disk what it has encoded, so that a killed evaluation goes on where it was.

Each batch of texts is a file whose name is the hash of the texts; the encoder's fingerprint is in the
folder's name. A second index over the same vectors (another quantisation) reads them, too. How long the
encoder took is kept beside the vectors: an index that was built from remembered ones is as expensive as
one that was not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import zipfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np

from lsr.encoders.protocol import Encoder
from lsr.types import SparseBatch, Surfaces


class RememberedEncoder:
    """An encoder whose batches are kept in a folder.

    Everything but `encode_batch` is the encoder's own.

    Args:
        encoder: The encoder.
        folder: Where to; made when the first batch is kept.

    Attributes:
        saved_seconds: What the encoder once took for the batches that were read and not encoded.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder
        self.saved_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        """Documents to vectors, from the folder if they are there; see `Encoder.encode_batch`."""
        path = self._folder / f"{_hash(texts, max_length)}.npz"
        kept = _read(path)
        if kept is not None:
            self.saved_seconds += kept[1]
            return kept[0]
        started = time.perf_counter()
        batch = self._encoder.encode_batch(texts, max_length=max_length)
        _write(path, batch, time.perf_counter() - started)
        return batch


def remember(encoder: Encoder, folder: Path) -> tuple[Encoder, RememberedEncoder]:
    """The remembering form of an encoder, as an encoder and as what counts the seconds saved."""
    remembered = RememberedEncoder(encoder, folder)
    return cast(Encoder, remembered), remembered


def _hash(texts: Sequence[str], max_length: int | None) -> str:
    hashed = blake2b(f"{max_length}".encode(), digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        hashed.update(f"\0{len(data)}\0".encode())
        hashed.update(data)
    return hashed.hexdigest()


def _write(path: Path, batch: SparseBatch, seconds: float) -> None:
    arrays: dict[str, Any] = {
        "indptr": batch.indptr,
        "indices": batch.indices,
        "values": batch.values,
        "frame": np.array([batch.dimension, seconds], np.float64),
    }
    if batch.lexical is not None:
        arrays["lexical"] = batch.lexical
    if batch.cut is not None:
        arrays["cut"] = batch.cut
    if batch.surfaces is not None:
        forms = json.dumps(batch.surfaces.forms, ensure_ascii=False).encode("utf-8")
        arrays["surface_rows"] = batch.surfaces.rows
        arrays["surface_columns"] = batch.surfaces.columns
        arrays["surface_forms"] = np.frombuffer(forms, np.uint8)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, packed.getbuffer())


def _read(path: Path) -> tuple[SparseBatch, float] | None:
    """A batch and the seconds that it took; None where there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        surfaces = None
        if "surface_rows" in found:
            forms = json.loads(found["surface_forms"].tobytes().decode("utf-8"))
            surfaces = Surfaces(found["surface_rows"], found["surface_columns"], tuple(forms))
        dimension, seconds = found["frame"].tolist()
        batch = SparseBatch(
            found["indptr"],
            found["indices"],
            found["values"],
            int(dimension),
            found.get("lexical"),
            surfaces,
            found.get("cut"),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile):
        return None
    return batch, float(seconds)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Writes a file that appears under its name when it is complete."""
    part = path.with_name(f".{path.name[-100:]}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
