"""Exact search of one commit: quantised queries in, ranked places out.

A search walks the segments of a snapshot with one heap of the k best, so that segments need no merging
afterwards, and hands each segment's arrays to the kernel of `kernels.accumulate` together with the bitmap of
the rows that may be found. Scores are whole numbers until the ranking is fixed, and are turned into weights
at the end. Nothing here imports SciPy, ONNX Runtime or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lsr.errors import QueryError
from lsr.index.compiled import kernel
from lsr.index.format import corrupt
from lsr.index.quantise import QuantisedQuery

if TYPE_CHECKING:
    from lsr.index.store import Snapshot

Mode = Literal["exact", "approximate"]
Allowed = Sequence[NDArray[np.uint8] | None]

WINDOW = 1 << 15
"""Rows whose sums are kept at a time: 128 KiB of uint32, within the second-level cache."""

_SUMS: dict[str, type[np.generic]] = {"u8": np.uint32, "u16": np.uint64, "f32": np.float64}
_SCORES: dict[str, type[np.generic]] = {"u8": np.uint64, "u16": np.uint64, "f32": np.float64}
_FORMS = {"uint8": "u8", "uint16": "u16", "float32": "f32"}
_ALL_ROWS: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)


class Segment(Protocol):
    """What a search reads of a segment; see `docs/index-format.md` and `kernels.accumulate`."""

    @property
    def name(self) -> str:
        """The file's name, for messages."""

    @property
    def terms(self) -> NDArray[np.int32]:
        """int32 [T], ascending."""

    @property
    def term_offsets(self) -> NDArray[np.int64]:
        """int64 [T + 1]."""

    @property
    def posting_rows(self) -> NDArray[np.uint32]:
        """uint32 [P]."""

    @property
    def posting_impacts(self) -> NDArray[Any]:
        """uint8, uint16 or float32 [P]."""

    @property
    def row_document(self) -> NDArray[np.int32]:
        """int32 [n]."""

    @property
    def document_sequence(self) -> NDArray[np.int64]:
        """int64 [d]."""


class Scale(Protocol):
    """What a search needs to know about the impacts."""

    @property
    def quantize(self) -> str:
        """Their form."""

    @property
    def scale(self) -> float | None:
        """What one step is worth; None for f32, and before the first document."""


class Searchable(Protocol):
    """Segments of one moment: a `store.Snapshot`, or vectors in memory."""

    @property
    def settings(self) -> Scale:
        """The form and the scale of all segments."""

    @property
    def segments(self) -> Sequence[Segment]:
        """In the order of their commits."""

    def allowed(self, segment: int, /) -> NDArray[np.uint8] | None:
        """The bitmap of a segment's living rows; None if all live."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best documents of one query, by score descending, then by sequence number ascending.

    Attributes:
        scores: float64 [m], above 0: the sum of the products, times both steps.
        segments: int32 [m], the place of the segment in the snapshot.
        rows: int32 [m], the row of the segment that gave the score.
        documents: int32 [m], the document of the segment that the row belongs to.
        sequences: int64 [m], the document's sequence number.
    """

    scores: NDArray[np.float64]
    segments: NDArray[np.int32]
    rows: NDArray[np.int32]
    documents: NDArray[np.int32]
    sequences: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def search(
    snapshot: Searchable,
    query: QuantisedQuery,
    k: int,
    *,
    mode: Mode = "exact",
    overlap: float | None = None,
    allowed: Allowed | None = None,
) -> Ranking:
    """The k best documents of a snapshot: what brute force over the stored impacts gives.

    Args:
        snapshot: The commit to search.
        query: The query, quantised in the form of the index.
        k: How many documents, at least 1.
        mode: `"approximate"` may leave out documents; at present it finds the same as `"exact"`.
        overlap: The share of the exact top k that an approximate search should find, above 0 and up to 1.
        allowed: For each segment a bitmap over its rows, uint8 [ceil(n / 8)], bit `row & 7` of byte
            `row >> 3`, or None for all; deleted rows are left out besides.

    Raises:
        QueryError: k, mode or overlap cannot be used, or the query is quantised in another form.
        IndexCorruptError: The content of a segment does not fit together.
    """
    check_options(k, mode, overlap)
    form = check_form(snapshot, query)
    capacity = min(int(k), sum(len(segment.document_sequence) for segment in snapshot.segments))
    scores = np.empty(capacity + 1, dtype=_SCORES[form])
    sequences = np.empty(capacity + 1, dtype=np.int64)
    places = np.empty((capacity + 1, 3), dtype=np.int32)
    filled = 0
    if capacity and len(query):
        filled = _search_segments(snapshot, query, form, allowed, (scores, sequences, places))
    scale = snapshot.settings.scale if form != "f32" else None
    return _rank(scores[:filled], sequences[:filled], places[:filled], scale or 1.0, query.step)


def search_many(
    snapshot: Searchable,
    queries: Sequence[QuantisedQuery],
    k: int,
    threads: int = 1,
    *,
    mode: Mode = "exact",
    overlap: float | None = None,
    allowed: Allowed | None = None,
) -> list[Ranking]:
    """The rankings of many queries, in their order; each is what `search` gives.

    Args:
        snapshot, k, mode, overlap, allowed: As for `search`.
        queries: The quantised queries.
        threads: How many threads share the queries; the kernels run beside each other.
    """
    check_options(k, mode, overlap)

    def answer(query: QuantisedQuery) -> Ranking:
        return search(snapshot, query, k, mode=mode, overlap=overlap, allowed=allowed)

    if threads < 1:
        raise QueryError(f"threads={threads} cannot be used; give a whole number of at least 1.")
    if threads == 1 or len(queries) < 2:
        return [answer(query) for query in queries]
    with ThreadPoolExecutor(min(threads, len(queries))) as pool:
        return list(pool.map(answer, queries))


def explain_row(
    snapshot: Snapshot, query: QuantisedQuery, segment: int, row: int
) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[Any], NDArray[np.bool_] | None]:
    """The terms that a query shares with one row, from the row's forward vector.

    Returns:
        Columns int32 [m] ascending; the query's quantised weights [m]; the row's impacts [m]; and which of
        the terms are words of the text, bool [m], or None where that is not known. The products of
        weights and impacts sum to the row's score in steps.
    """
    from lsr.index.kernels.match import match_columns

    columns, impacts, lexical = snapshot.vector(segment, row)
    places = np.empty((2, min(len(columns), len(query))), dtype=np.int64)
    shared = kernel(match_columns, "all")(query.columns, columns, places[0], places[1])
    ours, theirs = places[0, :shared], places[1, :shared]
    words = None if lexical is None else lexical[theirs]
    return query.columns[ours], query.weights[ours], impacts[theirs], words


def check_options(k: int, mode: str, overlap: float | None) -> None:
    """Raise QueryError unless the options of a search can be used."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise QueryError(f"k={k!r} cannot be used; give a whole number of at least 1.")
    if mode not in ("exact", "approximate"):
        raise QueryError(f'mode={mode!r} is unknown; choose "exact" or "approximate".')
    if overlap is not None and not (isinstance(overlap, int | float) and 0 < overlap <= 1):
        raise QueryError(f"overlap={overlap!r} cannot be used; give a share above 0 and up to 1, as 0.98.")


def check_form(snapshot: Searchable, query: QuantisedQuery) -> str:
    """The form of an index; raises QueryError unless a query is quantised in it."""
    form = _FORMS[query.weights.dtype.name]
    if form != snapshot.settings.quantize:
        raise QueryError(
            f"A query in {form} meets an index in {snapshot.settings.quantize}; quantise it alike."
        )
    return form


def _search_segments(
    snapshot: Searchable,
    query: QuantisedQuery,
    form: str,
    allowed: Allowed | None,
    heap: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int32]],
) -> int:
    from lsr.index.kernels.accumulate import search_segment

    run = kernel(search_segment, form)
    largest = max(len(segment.row_document) for segment in snapshot.segments)
    sums = np.empty(max(1, min(WINDOW, largest)), dtype=_SUMS[form])
    weights = query.weights.astype(_SUMS[form])
    cursors = np.empty((len(query), 3), dtype=np.int64)
    filled = 0
    for number, segment in enumerate(snapshot.segments):
        bitmap = allowed_rows(snapshot, number, allowed)
        filled = _search_one(
            run, segment, bitmap, (query.columns, weights), number, (sums, cursors), heap, filled
        )
    return filled


def _search_one(
    run: Callable[..., int],
    segment: Segment,
    bitmap: NDArray[np.uint8],
    query: tuple[NDArray[np.int32], NDArray[Any]],
    number: int,
    scratch: tuple[NDArray[Any], NDArray[np.int64]],
    heap: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int32]],
    filled: int,
) -> int:
    found = run(
        segment.terms,
        segment.term_offsets,
        segment.posting_rows,
        segment.posting_impacts,
        segment.row_document,
        segment.document_sequence,
        bitmap,
        *query,
        number,
        *scratch,
        *heap,
        filled,
    )
    if found < 0:
        raise corrupt(segment.name, _damage(found))
    return found


def _damage(code: int) -> str:
    from lsr.index.kernels import accumulate

    return {
        accumulate.BAD_OFFSETS: "a term's postings lie outside the file",
        accumulate.BAD_ROWS: "a term's postings name rows that are not there",
        accumulate.BAD_DOCUMENTS: "a row belongs to a document that is not there",
    }[code]


def allowed_rows(snapshot: Searchable, number: int, allowed: Allowed | None) -> NDArray[np.uint8]:
    """The bitmap that the kernel reads: of the length that the rows need, or empty for all rows."""
    living = snapshot.allowed(number)
    wanted = None if allowed is None else allowed[number]
    if living is None and wanted is None:
        return _ALL_ROWS
    size = (len(snapshot.segments[number].row_document) + 7) // 8
    for bitmap in (living, wanted):
        if bitmap is not None and bitmap.shape != (size,):
            raise QueryError(f"The bitmap of segment {number} has shape {bitmap.shape}, not {(size,)}.")
    both = living if wanted is None else wanted if living is None else living & wanted
    assert both is not None
    # An empty bitmap means "all" to the kernel; a segment without rows has none to find anyway.
    return np.ascontiguousarray(both, dtype=np.uint8)


def _rank(
    sums: NDArray[Any],
    sequences: NDArray[np.int64],
    places: NDArray[np.int32],
    scale: float,
    step: float,
) -> Ranking:
    totals = sums.astype(np.float64)  # exact: a sum stays below 2**53 (see quantise.MOST_QUERY_TERMS)
    order = np.lexsort((sequences, -totals))
    segments, rows, documents = np.ascontiguousarray(places[order].T)
    return Ranking(totals[order] * scale * step, segments, rows, documents, sequences[order])
