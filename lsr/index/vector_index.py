"""`VectorIndex`: sparse vectors in, top-k out, without texts, ids or an encoder.

Rows of the matrices that come in are the documents, counted through all batches. On disk such an index is
a store like any other (kind `"vectors"`); in memory it is the same arrays that a segment file would hold.
Either way `lsr.index.search` does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.batch_search import rank_batch
from lsr.index.memory import read_memory
from lsr.index.quantise import check_quantize
from lsr.index.query_batch import QueryBatch, read_query_matrix
from lsr.index.rankings import Rankings
from lsr.index.search import Mode, Searchable
from lsr.index.uploads import Uploads
from lsr.index.vector_build import Order, build_in_memory, build_on_disk

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lsr.index.store import Store


class VectorIndex:
    """A searchable set of sparse vectors.

    Make one with `build` or `open`; it may be searched from many threads.

    Example:
        >>> from scipy.sparse import csr_array
        >>> vectors = csr_array([[0, 2, 0], [1, 0, 0], [3, 1, 0]], dtype="float32")
        >>> index = VectorIndex.build(vectors)
        >>> scores, rows = index.search(csr_array([[1, 1, 0]], dtype="float32"), k=2)
        >>> scores.tolist(), rows.tolist()
        ([[4.0, 2.0]], [[2, 0]])
    """

    def __init__(self, snapshot: Searchable, dimension: int, store: Store | None = None) -> None:
        self._snapshot: Searchable | None = snapshot
        self._dimension = dimension
        self._store = store
        self._uploads = Uploads()

    @classmethod
    def build(
        cls,
        vectors: csr_array | Iterable[csr_array],
        path: str | Path | None = None,
        *,
        quantize: str = "u8",
        scale: float | None = None,
        memory: int | str | None = None,
        order: Order = "similar",
        compress: bool = False,
    ) -> VectorIndex:
        """Index the rows of a sparse matrix.

        On disk, rows are written to temporary files in the folder as they come in (8 bytes an entry), and
        merged into segments when all were seen, on all processors. Segments are as large as the format
        allows, about 2 million rows, and as the memory allows: 6 bytes an entry with `"u8"` have to fit.

        Args:
            vectors: A SciPy sparse matrix [n, dimension] of finite weights of at least 0, taken as float32,
                or an iterable of such matrices, one after another, of one dimension.
            path: A folder to make; None keeps the index in memory, without any file.
            quantize: `"u8"`, `"u16"` or `"f32"`, the form of the stored weights.
            scale: The value of one integer step. Without it the weights decide: 1 if all are whole numbers
                within range, else the largest weight over 255 or 65,535. Not used with `"f32"`.
            memory: What the build on disk may use: bytes, or text like `"2GB"`; 1 GB if nothing is said. What
                Python and the kernels take comes on top (about 300 MB), and what `vectors` holds itself.
            order: `"similar"` lays alike rows side by side, which makes the index smaller and searches
                several times faster; `"arrival"` leaves them as they come, which builds twice as fast. The
                answers are the same.
            compress: Take a third less room, and a little more time for each search.

        Raises:
            InputError: The matrices, or an option, cannot be used.
            IndexExistsError: There is an index at `path`.
        """
        check_quantize(quantize)
        budget = read_memory(memory)
        if order not in ("similar", "arrival"):
            raise InputError(f'order="{order}" is unknown; choose "similar" or "arrival".')
        if path is None:
            return cls(*build_in_memory(vectors, quantize, scale, order=order, compress=compress))
        store = build_on_disk(
            vectors, Path(path), quantize, scale, memory=budget, order=order, compress=compress
        )
        return cls(store.snapshot, store.settings.dimension or 0, store)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> VectorIndex:
        """Open an index that `build` wrote.

        Args:
            path: Its folder.
            verify: Check every byte first.

        Raises:
            InputError: The folder holds an index of documents; `lsr.Index.open` opens it.
            IndexNotFoundError: There is none.
            IndexCorruptError: A file is damaged.
        """
        from lsr.index.store import Store

        store = Store.open(path, verify=verify)
        settings = store.settings
        if settings.kind != "vectors" or settings.dimension is None:
            store.close()
            raise InputError(f"{path} is an index of documents; open it with lsr.Index.open.")
        return cls(store.snapshot, settings.dimension, store)

    @property
    def dimension(self) -> int:
        """Number of columns."""
        return self._dimension

    def __len__(self) -> int:
        return sum(len(segment.row_document) for segment in self._segments().segments)

    def search(
        self,
        queries: csr_array,
        k: int = 10,
        *,
        mode: Mode = "exact",
        overlap: float | None = None,
        threads: int = 1,
        device: str | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best rows for each query.

        Args:
            queries: A SciPy sparse matrix [q, dimension] of finite weights of at least 0.
            k: How many rows a query.
            mode: `"exact"`, or `"approximate"`, which may leave rows out.
            overlap: The share of the exact top k that an approximate search should find.
            threads: How many threads share the queries; not used with a device.
            device: None, or where torch scores the batch, `"cpu"`, `"cuda"` or `"cuda:N"`: the same answers,
                exact in both modes. The postings stay there until the index is closed. Meant for large
                batches on a GPU.

        Returns:
            Scores float32 [q, k], descending, and rows int64 [q, k], of equal scores the earlier row first.
            Only rows with a score above 0 are found; what is left is filled with 0.0 and -1.

        Raises:
            QueryError: The queries, or an option, cannot be used.
            MissingExtraError: A device is given, and torch is not installed.
            InputError: There is no such device, or its memory is too small.
        """
        snapshot = self._segments()
        asked = read_query_matrix(queries, self._dimension, snapshot.settings.quantize)
        if device is not None:
            return _padded(self._rank_on(device, snapshot, asked, k, mode, overlap), k, asked.form)
        return _padded(rank_batch(snapshot, asked, k, threads, mode=mode, overlap=overlap), k, asked.form)

    def _rank_on(
        self, device: str, snapshot: Searchable, asked: QueryBatch, k: int, mode: Mode, overlap: float | None
    ) -> Rankings:
        from lsr.index.device import search_many

        queries = asked.split()
        return search_many(snapshot, queries, k, device, uploads=self._uploads, mode=mode, overlap=overlap)

    def close(self) -> None:
        """Let the files go; the index cannot be searched afterwards. Closing twice is fine."""
        self._snapshot = None
        self._uploads.clear()
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> VectorIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _segments(self) -> Searchable:
        if self._snapshot is None:
            raise InputError("The index is closed; open it again.")
        return self._snapshot


def _padded(found: Rankings, k: int, form: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and rows in k columns; what is not found is 0.0 and -1."""
    scores, rows = _narrow(found.scores, form), found.sequences
    missing = int(k) - scores.shape[1]
    if not missing:
        return scores, rows
    wider = ((0, 0), (0, missing))
    return np.pad(scores, wider), np.pad(rows, wider, constant_values=-1)


def _narrow(scores: NDArray[np.float64], form: str) -> NDArray[np.float32]:
    if form != "f32":
        return scores.astype(np.float32)
    with np.errstate(over="ignore"):  # a product may be beyond float32: infinite, still first
        return scores.astype(np.float32)
