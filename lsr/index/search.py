"""Search of one commit: quantised queries in, ranked places out.

What a search may ask of segments, which options it takes, and what it finds. The work is that of
`lsr.index.batch_search`: a search walks the segments of a snapshot with one set of the k best, so that
segments need no merging afterwards and each begins with the threshold that the ones before it reached.
Scores are whole numbers until the ranking is fixed, and are turned into weights at the end. Nothing here
imports SciPy, ONNX Runtime or torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lsr.errors import QueryError
from lsr.index.calibration import Calibration, calibrate
from lsr.index.layout import Layout, match
from lsr.index.quantise import FORM_OF, QuantisedQuery
from lsr.index.query_batch import pack_queries
from lsr.index.rankings import Ranking

if TYPE_CHECKING:
    from lsr.index.store import Snapshot

Mode = Literal["exact", "approximate"]
Allowed = Sequence[NDArray[np.uint8] | None]
_ALL_ROWS: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)


class Segment(Protocol):
    """What a search reads of a segment; see `docs/index-format.md`."""

    @property
    def name(self) -> str:
        """The file's name, for messages."""

    @property
    def layout(self) -> Layout:
        """Its postings in blocks."""

    @property
    def calibration(self) -> Calibration | None:
        """What an approximate search may leave out; None: nothing."""

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
        mode: `"approximate"` may leave out documents.
        overlap: The share of the exact top k that an approximate search should find, above 0 and up to 1;
            None is 0.98. It is a mean, by what the index measured on itself when it was built.
        allowed: For each segment a bitmap over its rows, uint8 [ceil(n / 8)], bit `row & 7` of byte
            `row >> 3`, or None for all; deleted rows are left out besides.

    Raises:
        QueryError: k, mode or overlap cannot be used, or the query is quantised in another form.
        IndexCorruptError: The content of a segment does not fit together.
    """
    from lsr.index.batch_search import rank_batch

    batch = pack_queries((query,), check_form(snapshot, query))
    return rank_batch(snapshot, batch, k, mode=mode, overlap=overlap, allowed=allowed).ranking(0)


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
    from lsr.index.batch_search import rank_batch

    for query in queries:
        check_form(snapshot, query)
    batch = pack_queries(queries, snapshot.settings.quantize)
    return list(rank_batch(snapshot, batch, k, threads, mode=mode, overlap=overlap, allowed=allowed))


RowTerms = tuple[NDArray[np.int32], NDArray[Any], NDArray[Any], NDArray[np.bool_] | None]
"""Columns, a query's weights, a row's impacts, and which of them are words of its text."""


def explain_row(snapshot: Snapshot, query: QuantisedQuery, segment: int, row: int) -> RowTerms:
    """The terms that a query shares with one row, from the row's postings.

    Returns:
        Columns int32 [m] ascending; the query's quantised weights [m]; the row's impacts [m]; and which of
        the terms are words of the text, bool [m], or None where that is not known. The products of
        weights and impacts sum to the row's score in steps.
    """
    found = snapshot.segments[segment]
    ours, impacts, words = match(found.layout, row, query.columns, file=found.name)
    return query.columns[ours], query.weights[ours], impacts, words


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
    form = FORM_OF[query.weights.dtype.name]
    if form != snapshot.settings.quantize:
        raise QueryError(
            f"A query in {form} meets an index in {snapshot.settings.quantize}; quantise it alike."
        )
    return form


def calibrate_segment(segment: Segment, quantize: str) -> Calibration | None:
    """Measure what an approximate search may leave out of a segment; see `calibration.calibrate`."""
    from lsr.index.batch_search import search_batch

    alone = _Alone(quantize, (segment,))
    most = len(segment.document_sequence)

    def answer(query: QuantisedQuery, k: int, factor: float) -> NDArray[np.int64]:
        batch = pack_queries((query,), quantize)
        factors = (np.array((factor,)),)
        found = search_batch(alone, batch, min(k, most), allowed=(_ALL_ROWS,), factors=factors)
        return found.ranking(0).rows.astype(np.int64)

    return calibrate(segment.layout, answer)


@dataclass(frozen=True, slots=True)
class _Alone:
    """A snapshot of one segment, of which nothing is deleted."""

    quantize: str
    segments: tuple[Segment, ...]

    @property
    def settings(self) -> Scale:
        return self

    @property
    def scale(self) -> float | None:
        return None

    def allowed(self, segment: int, /) -> NDArray[np.uint8] | None:
        return None


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
