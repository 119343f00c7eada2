"""Runs: rows on their way to a segment, in temporary files beside it.

A build of vectors does not know its scale, its terms or the order of its rows before it has seen all rows.
Until then they lie here, row after row, as columns and float weights; `lsr.index.merging` makes a segment of
them. The files are named `run-*.tmp`: what a killed build leaves of them goes with the next writer.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.index.durable import cannot_write
from lsr.index.layout import MOST_ROWS, POSTINGS
from lsr.types import SparseBatch

_TABLE = 1 << 22
"""Columns of vectors up to which a table says which occur; beyond, they are sorted."""
_ROW_BYTES = 90
"""What a row takes of a layout besides its postings, at most: bounds and bits of 2,047 dense terms."""
_ENTRY_BYTES = 4
"""What a posting that is alone in its block takes besides itself."""


class Runs:
    """The rows of one segment that is to be made.

    Args:
        folder: The index, which the files are made in.
        dimension: Number of columns.
        quantize: The form that the weights will have.
        memory: Bytes that the build may use.

    Attributes:
        rows: How many rows were added.
        postings: How many entries they have.
        columns, values: The files, int32 and float32.
    """

    def __init__(self, folder: Path, dimension: int, quantize: str, memory: int) -> None:
        self.rows = self.postings = 0
        self.columns = RunFile(folder)
        self.values = RunFile(folder)
        self._posting_bytes = np.dtype(POSTINGS[quantize]).itemsize + _ENTRY_BYTES
        self._room = memory // 5 * 4
        self._lengths: list[NDArray[np.int32]] = []
        self._occurs = np.zeros(dimension if dimension <= _TABLE else 0, np.bool_)
        self._terms: NDArray[np.int32] = np.empty(0, np.int32)

    def takes(self, batch: SparseBatch) -> bool:
        """Whether the segment may be that large: its layout must fit into four fifths of the memory."""
        if self.rows == 0:
            return True
        rows, postings = self.rows + len(batch), self.postings + len(batch.values)
        return rows <= MOST_ROWS and postings * self._posting_bytes + rows * _ROW_BYTES <= self._room

    def add(self, batch: SparseBatch) -> None:
        """Write rows behind those that are there.

        Raises:
            LsrError: A file cannot be written.
        """
        self.columns.write(self.postings, batch.indices)
        self.values.write(self.postings, batch.values)
        self._lengths.append(np.diff(batch.indptr).astype(np.int32))
        if len(self._occurs):
            self._occurs[batch.indices] = True
        else:
            self._terms = np.union1d(self._terms, batch.indices)
        self.rows += len(batch)
        self.postings += len(batch.values)

    def lengths(self) -> NDArray[np.int32]:
        """int32 [rows]: how many entries each row has."""
        return np.concatenate([np.empty(0, np.int32), *self._lengths])

    def terms(self) -> NDArray[np.int32]:
        """The columns that occur, int32, ascending."""
        return np.flatnonzero(self._occurs).astype(np.int32) if len(self._occurs) else self._terms

    def remove(self) -> None:
        """Remove the files."""
        self.columns.remove()
        self.values.remove()


class RunFile:
    """A temporary file of numbers; threads may read and write different parts of it at once.

    Args:
        folder: The index, which it is made in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"run-{secrets.token_hex(8)}.tmp"
        try:
            self._path.touch(exist_ok=False)
        except OSError as error:
            raise cannot_write(folder, self._path.name, error) from error

    def write(self, first: int, numbers: NDArray[Any]) -> None:
        """Write numbers from place `first` on.

        Raises:
            LsrError: They cannot be written.
        """
        try:
            with open(self._path, "r+b", buffering=0) as file:
                file.seek(first * numbers.itemsize)
                left = np.ascontiguousarray(numbers).data.cast("B") if numbers.size else memoryview(b"")
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            raise cannot_write(self._folder, self._path.name, error) from error

    def read(self, first: int, last: int, dtype: Any) -> NDArray[Any]:
        """The numbers from place `first` to before `last`."""
        size = np.dtype(dtype).itemsize
        return np.fromfile(self._path, dtype, last - first, offset=first * size)

    def remove(self) -> None:
        """Remove it; a file that is gone is fine."""
        with contextlib.suppress(OSError):
            self._path.unlink()
