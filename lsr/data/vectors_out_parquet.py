"""Vectors to Parquet, through pyarrow (the extra `[parquet]`): columns `id`, `terms` and `weights`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lsr.data.replacing import PendingFile, written
from lsr.errors import InputFileError, MissingExtraError
from lsr.types import SparseBatch


def require_parquet_writer() -> None:
    """Raises MissingExtraError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError("Writing Parquet files", "parquet") from None


class ParquetWriter:
    """`id` string, `terms` list<string>, `weights` list<float32>; a batch is a row group.

    Args:
        path: The file.
        terms: The name of each column of the vectors.
    """

    def __init__(self, path: Path, terms: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.files = [path]
        self._terms = pa.array(terms, pa.string())
        self._schema = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("terms", pa.list_(pa.string()), nullable=False),
                pa.field("weights", pa.list_(pa.float32()), nullable=False),
            ]
        )
        self._pending = PendingFile(path)
        try:
            with _refusals(path):
                self._writer = pq.ParquetWriter(self._pending.stream, self._schema, compression="zstd")
        except BaseException:
            self._pending.discard()
            raise

    def write(self, ids: Sequence[str], batch: SparseBatch) -> None:
        """See `VectorWriter.write`."""
        import pyarrow as pa

        offsets = pa.array(batch.indptr.astype(np.int32))
        terms = pa.ListArray.from_arrays(offsets, self._terms.take(pa.array(batch.indices)))
        weights = pa.ListArray.from_arrays(offsets, pa.array(batch.values, pa.float32()))
        table = pa.table([pa.array(ids, pa.string()), terms, weights], schema=self._schema)
        with _refusals(self._pending.path):
            self._writer.write_table(table)

    def finish(self) -> None:
        """See `VectorWriter.finish`."""
        with _refusals(self._pending.path):
            self._writer.close()
        self._pending.publish()

    def discard(self) -> None:
        """See `VectorWriter.discard`."""
        with contextlib.suppress(Exception):  # pyarrow closes by itself when collected, and complains then
            self._writer.close()
        self._pending.discard()


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """The system's refusals, also where pyarrow raises them without a number of their own."""
    import pyarrow as pa

    try:
        with written(path):
            yield
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0][:120]
        raise InputFileError(f"{path} cannot be written ({reason}); check the disk.") from None
