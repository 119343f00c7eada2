"""Vectors to the `.npz` of `scipy.sparse.save_npz`, beside a file of ids and one of terms.

The archive wants whole arrays, and their lengths before their values. So columns and weights are spilled to
hidden files beside the output as they come, and streamed from there into the archive at the end.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lsr.data.replacing import PendingFile, written
from lsr.data.vectors_out import check_lines
from lsr.types import SparseBatch

_PIECE = 1 << 18
_PACKING = 1  # zlib's fastest level: weights hardly shrink, and columns shrink by little more at a higher one
_YEAR_ZERO = (1980, 1, 1, 0, 0, 0)  # of zip; the same vectors make the same bytes


class NpzWriter:
    """`X.npz`, `X.ids.txt` and `X.vocabulary.txt`: a CSR matrix of float32 over all columns of an encoder.

    Args:
        files: The three, in this order.
        terms: The name of each column; the matrix has as many columns.
    """

    def __init__(self, files: list[Path], terms: Sequence[str]) -> None:
        self.files = files
        self._terms = terms
        self._stored = 0
        self._pending: list[PendingFile] = []
        self._spilled: dict[str, PendingFile] = {}
        try:
            for file in files:
                self._pending.append(PendingFile(file))
            for name in ("indptr", "indices", "data"):
                spill = self._spilled[name] = PendingFile(files[0].with_name(f"{files[0].name}.{name}"))
                self._pending.append(spill)
        except BaseException:
            self.discard()
            raise
        self._spill("indptr", np.zeros(1, np.int64))

    def write(self, ids: Sequence[str], batch: SparseBatch) -> None:
        """See `VectorWriter.write`."""
        check_lines(ids, self.files[1])
        with written(self.files[1]):
            self._pending[1].stream.write("".join(f"{id}\n" for id in ids).encode("utf-8"))
        self._spill("indptr", (batch.indptr[1:] + self._stored).astype(np.int64))
        self._spill("indices", batch.indices.astype(np.int32))
        self._spill("data", batch.values.astype(np.float32))
        self._stored += len(batch.values)

    def finish(self) -> None:
        """See `VectorWriter.finish`."""
        archive, ids, vocabulary = self._pending[:3]
        with written(self.files[2]):
            vocabulary.stream.write("".join(f"{term}\n" for term in self._terms).encode("utf-8"))
        with written(self.files[0]):
            self._assemble(archive.stream)
            # An older matrix goes first, so that it is never seen beside the new ids.
            self.files[0].unlink(missing_ok=True)
        ids.publish()
        vocabulary.publish()
        archive.publish()

    def discard(self) -> None:
        """See `VectorWriter.discard`; removes the spilled arrays in any case."""
        for file in self._pending:
            file.discard()

    def _spill(self, name: str, values: NDArray[Any]) -> None:
        with written(self.files[0]):
            self._spilled[name].stream.write(values.tobytes())

    def _assemble(self, stream: IO[bytes]) -> None:
        rows = self._spilled["indptr"].stream.tell() // 8 - 1
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_PACKING) as archive:
            for name, dtype, length in (
                ("indices", "<i4", self._stored),
                ("indptr", "<i8", rows + 1),
                ("data", "<f4", self._stored),
            ):
                with _member(archive, name) as target:
                    header = {"descr": dtype, "fortran_order": False, "shape": (length,)}
                    npy.write_array_header_1_0(target, header)
                    source = self._spilled[name].stream
                    source.seek(0)
                    shutil.copyfileobj(source, target, _PIECE)
            for name, value in (
                ("format", np.array(b"csr")),
                ("shape", np.array([rows, len(self._terms)], np.int64)),
                ("_is_array", np.array(True)),
            ):
                with _member(archive, name) as target:
                    npy.write_array(target, value, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy", _YEAR_ZERO)
    info.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(info, "w", force_zip64=True)
