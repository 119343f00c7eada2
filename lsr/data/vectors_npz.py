"""Vectors in the `.npz` of `scipy.sparse.save_npz`, streamed out of the archive.

The archive holds the arrays of a CSR matrix. Their headers are read and compared with the sizes in the
archive before anything is trusted; nothing is unpickled; `indptr` (8 bytes a row) is the only array that
is in memory whole, the others are read row by row as the batches come.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lsr.data.canonical import quote
from lsr.data.lines import decode, file_error, open_bytes, read_lines
from lsr.data.vectors import VectorBatch
from lsr.errors import InputError, LsrError

_MOST_ROWS = 2**31 - 1
_HEADER_BYTES = 4096
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # a seek to an offset that cannot be
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_SMALLEST = np.finfo(np.float32).smallest_subnormal


class NpzVectors:
    """Vectors of `X.npz` with the ids of `X.ids.txt` and the terms of `X.vocabulary.txt`.

    Args:
        path: The `.npz`: a CSR matrix of real weights, 0 or above.

    Attributes:
        vocabulary: The lines of the vocabulary file; column j is the j-th.
        rows: How many vectors there are.

    Raises:
        InputFileError: One of the three files is not there.
        InputError: They do not belong together, or one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stem = path.name[: -len(".npz")]
        self._ids = path.with_name(f"{stem}.ids.txt")
        vocabulary = path.with_name(f"{stem}.vocabulary.txt")
        with _archive(path) as archive:
            self.rows, columns, self._indptr = _read_frame(archive, str(path))
        self.vocabulary = list(_words(vocabulary, "term"))
        _check_count(str(path), columns, "columns", vocabulary, len(self.vocabulary))
        if len(set(self.vocabulary)) != columns:
            raise InputError(
                f"{vocabulary} holds {_twice(self.vocabulary)} twice; a column has its own term."
            )
        _check_count(str(path), self.rows, "rows", self._ids, sum(1 for _ in _words(self._ids, "id")))
        if not self.rows:
            raise InputError(f"{path} holds no vector: the matrix has no rows; give one that has.")

    def batches(self, size: int) -> Iterator[VectorBatch]:
        """See `lsr.data.vectors.VectorSource`."""
        ids = _words(self._ids, "id")
        with _archive(self._path) as archive:
            name = str(self._path)
            with archive.open("indices.npy") as indices, archive.open("data.npy") as data:
                column_type = _header(indices, name, "indices").dtype
                weight_type = _header(data, name, "data").dtype
                for start in range(0, self.rows, size):
                    stop = min(start + size, self.rows)
                    bounds = self._indptr[start : stop + 1]
                    count = int(bounds[-1] - bounds[0])
                    columns = _take(indices, column_type, count, name)
                    weights = _take(data, weight_type, count, name)
                    matrix = self._matrix(start, bounds - bounds[0], columns, weights)
                    names = list(islice(ids, stop - start))
                    _check_count(name, stop, "rows", self._ids, start + len(names))
                    yield names, matrix, None
                _take(indices, column_type, 0, name, at_end=True)
                _take(data, weight_type, 0, name, at_end=True)

    def _matrix(
        self, first: int, indptr: NDArray[np.int64], columns: NDArray[Any], weights: NDArray[Any]
    ) -> Any:
        from scipy.sparse import csr_array

        def refuse(at: int, what: str) -> InputError:
            row = first + int(np.searchsorted(indptr, at, side="right"))
            return InputError(f"{self._path}, row {row}: {what}.")

        wrong = np.flatnonzero((columns < 0) | (columns >= len(self.vocabulary)))
        if len(wrong):
            raise refuse(wrong[0], f"column {columns[wrong[0]]} is outside the matrix; write the file again")
        with np.errstate(over="ignore"):
            values = weights.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(values) | (values < 0))
        if len(wrong):
            at = wrong[0]
            raise refuse(
                at,
                f"the weight of {quote(self.vocabulary[columns[at]])} is {weights[at]}; "
                "weights are finite and not below 0",
            )
        values[(values == 0) & (weights > 0)] = _SMALLEST  # a weight above 0 stays above 0
        shape = (len(indptr) - 1, len(self.vocabulary))
        matrix = csr_array((values, columns.astype(np.int32), indptr), shape=shape)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return matrix


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    name = str(path)
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; only its opening is a fault of the path)
    except OSError as error:
        raise file_error(name, error) from None
    try:
        with file, zipfile.ZipFile(file) as archive:
            yield archive
    except LsrError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{name} is no .npz file or is damaged ({error}); write it again.") from None
    except KeyError as error:
        raise InputError(
            f"{name} is no sparse matrix ({error.args[0]}); use scipy.sparse.save_npz."
        ) from None


def _read_frame(archive: zipfile.ZipFile, name: str) -> tuple[int, int, NDArray[np.int64]]:
    """Rows, columns and `indptr`, checked against the other arrays."""
    kind = _small(archive, "format", name)
    if kind.tobytes().rstrip(b"\0") not in (b"csr", "csr".encode("utf-32-le")):
        raise InputError(f"{name} is no CSR matrix; save matrix.tocsr() with scipy.sparse.save_npz.")
    shape = _small(archive, "shape", name)
    if shape.shape != (2,) or shape.dtype.kind not in "iu":
        raise InputError(f"{name} is damaged: the shape is no pair of numbers; write it again.")
    rows, columns = (int(part) for part in shape)
    indptr_header = _check_member(archive, "indptr", name, "iu")
    indices_header = _check_member(archive, "indices", name, "iu")
    data_header = _check_member(archive, "data", name, "fiu")
    if not (0 <= rows <= _MOST_ROWS and 0 <= columns <= _MOST_ROWS) or indptr_header.shape != (rows + 1,):
        raise InputError(f"{name} is damaged: its shape and its row offsets disagree; write it again.")
    with archive.open("indptr.npy") as stream:
        header = _header(stream, name, "indptr")
        indptr = _take(stream, header.dtype, rows + 1, name, at_end=True).astype(np.int64)
    stored = data_header.shape[0]
    if indices_header.shape[0] != stored or indptr[0] != 0 or indptr[-1] != stored:
        raise InputError(f"{name} is damaged: its arrays are not of one length; write it again.")
    lengths = np.diff(indptr)
    if rows and (lengths.min() < 0 or lengths.max() > columns):
        raise InputError(f"{name} is damaged: its row offsets fall or leap; write it again.")
    return rows, columns, indptr


def _small(archive: zipfile.ZipFile, member: str, name: str) -> NDArray[Any]:
    """An array of a few bytes, read whole."""
    if archive.getinfo(f"{member}.npy").file_size > _HEADER_BYTES:
        raise InputError(f"{name} is damaged: {member} is too large; write it again.")
    with archive.open(f"{member}.npy") as stream:
        header = _header(stream, name, member)
        if header.dtype.hasobject or not header.dtype.itemsize:
            raise InputError(f"{name} holds pickled objects, which are not read; use scipy.sparse.save_npz.")
        count = int(np.prod(header.shape, dtype=np.int64))
        return _take(stream, header.dtype, count, name, at_end=True).reshape(header.shape)


def _check_member(archive: zipfile.ZipFile, member: str, name: str, kinds: str) -> _Header:
    """The header of an array, whose size has to be what the archive says."""
    info = archive.getinfo(f"{member}.npy")
    with archive.open(info) as stream:
        header = _header(stream, name, member)
        begin = stream.tell()
    if header.dtype.kind not in kinds or len(header.shape) != 1:
        raise InputError(
            f"{name}: the array {member} is {header.dtype} with {len(header.shape)} dimensions; "
            "save a CSR matrix of float32 with scipy.sparse.save_npz."
        )
    if header.shape[0] * header.dtype.itemsize != info.file_size - begin:
        raise InputError(f"{name} is damaged: the array {member} is not as long as it says; write it again.")
    return header


def _header(stream: IO[bytes], name: str, member: str) -> _Header:
    """Reads the header of an `.npy` and leaves the stream at its first value."""
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = npy.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
        else:
            shape, _, dtype = npy.read_array_header_2_0(stream, max_header_size=_HEADER_BYTES)
    except (ValueError, SyntaxError, TypeError):
        raise InputError(f"{name} is damaged: {member} is no array; write it again.") from None
    if any(length < 0 for length in shape):
        raise InputError(f"{name} is damaged: {member} has a negative length; write it again.")
    return _Header(shape, dtype)


def _take(
    stream: IO[bytes], dtype: np.dtype[Any], count: int, name: str, *, at_end: bool = False
) -> NDArray[Any]:
    """The next values of an array; at its end, one byte more is asked for, so that the CRC is checked."""
    data = stream.read(count * dtype.itemsize) if count else b""
    if len(data) != count * dtype.itemsize or (at_end and stream.read(1)):
        raise InputError(f"{name} is damaged: an array is cut or too long; write it again.")
    return np.frombuffer(data, dtype)


def _words(path: Path, what: str) -> Iterator[str]:
    """The lines of a file of ids or terms; each has to hold one."""
    name = str(path)
    with open_bytes(path, name) as stream:
        for number, line in read_lines(stream, name):
            where = f"{name}, line {number}"
            if isinstance(line, InputError):
                raise line
            word = decode(line, where).rstrip("\r\n")
            if not word:
                raise InputError(
                    f"{where}: the line is empty where {what} {number} was expected; fill it in."
                )
            yield word


def _check_count(name: str, expected: int, what: str, path: Path, found: int) -> None:
    if expected != found:
        raise InputError(
            f"{name} has {expected} {what} and {path} has {found} lines; they have to belong together."
        )


def _twice(words: list[str]) -> str:
    seen: set[str] = set()
    for word in words:
        if word in seen:
            return quote(word)
        seen.add(word)
    return "nothing"
