"""Search of one commit: quantised queries in, ranked places out.

A search walks the segments of a snapshot with one set of the k best, so that segments need no merging
afterwards and each begins with the threshold that the ones before it reached, and hands each segment's
arrays to the kernel of `kernels.search` together with the bitmap of the rows that may be found. Scores are
whole numbers until the ranking is fixed, and are turned into weights at the end. Nothing here imports
SciPy, ONNX Runtime or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lsr.errors import QueryError
from lsr.index.calibration import DEFAULT_OVERLAP, Calibration, calibrate
from lsr.index.compiled import kernel
from lsr.index.format import corrupt
from lsr.index.layout import Layout, match
from lsr.index.quantise import QuantisedQuery
from lsr.index.scratch import Scratch, scratch

if TYPE_CHECKING:
    from lsr.index.store import Snapshot

Mode = Literal["exact", "approximate"]
Allowed = Sequence[NDArray[np.uint8] | None]
_SUMS: dict[str, type[np.generic]] = {"u8": np.uint32, "u16": np.uint64, "f32": np.float64}
_SCORES: dict[str, type[np.generic]] = {"u8": np.uint64, "u16": np.uint64, "f32": np.float64}
_FORMS = {np.dtype(np.uint8): "u8", np.dtype(np.uint16): "u16", np.dtype(np.float32): "f32"}
_BOUND_STEPS = 255
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
        mode: `"approximate"` may leave out documents.
        overlap: The share of the exact top k that an approximate search should find, above 0 and up to 1;
            None is 0.98. It is a mean, by what the index measured on itself when it was built.
        allowed: For each segment a bitmap over its rows, uint8 [ceil(n / 8)], bit `row & 7` of byte
            `row >> 3`, or None for all; deleted rows are left out besides.

    Raises:
        QueryError: k, mode or overlap cannot be used, or the query is quantised in another form.
        IndexCorruptError: The content of a segment does not fit together.
    """
    check_options(k, mode, overlap)
    form = check_form(snapshot, query)
    hits = Hits(form, min(int(k), sum(len(segment.document_sequence) for segment in snapshot.segments)))
    if hits.k and len(query):
        wanted = 1.0 if mode == "exact" else DEFAULT_OVERLAP if overlap is None else float(overlap)
        factors = None
        if wanted < 1.0:
            factors = [_factor(segment, len(query), k, wanted) for segment in snapshot.segments]
        search_segments(snapshot, query, hits, allowed, factors)
    scale = snapshot.settings.scale if form != "f32" else None
    return hits.rank(scale or 1.0, query.step)


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
    form = _FORMS[query.weights.dtype]
    if form != snapshot.settings.quantize:
        raise QueryError(
            f"A query in {form} meets an index in {snapshot.settings.quantize}; quantise it alike."
        )
    return form


def _factor(segment: Segment, terms: int, k: int, overlap: float) -> float:
    """By how much bounds may be taken too low for a share of the answers; 1.0 for all of them."""
    calibration = segment.calibration
    return 1.0 if overlap >= 1.0 or calibration is None else calibration.factor(terms, k, overlap)


def calibrate_segment(segment: Segment, quantize: str) -> Calibration | None:
    """Measure what an approximate search may leave out of a segment; see `calibration.calibrate`."""
    alone = _Alone(quantize, (segment,))

    def answer(query: QuantisedQuery, k: int, factor: float) -> NDArray[np.int64]:
        hits = Hits(quantize, min(k, len(segment.document_sequence)))
        search_segments(alone, query, hits, None, [factor])
        return hits.rank(1.0, 1.0).rows.astype(np.int64)

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


class Hits:
    """The best documents so far, in the arrays of `kernels.topk`.

    Args:
        form: The form of the impacts.
        k: How many documents are wanted.
    """

    __slots__ = ("arrays", "filled", "form", "k")

    def __init__(self, form: str, k: int) -> None:
        from lsr.index.kernels.topk import room

        size = room(k)
        self.form, self.k, self.filled = form, k, 0
        self.arrays = (
            np.empty(size, _SCORES[form]),
            np.empty(size, np.int64),
            np.empty((size, 3), np.int32),
        )

    def rank(self, scale: float, step: float) -> Ranking:
        """Their ranking, with scores in weights of which `scale` and `step` are the steps."""
        from lsr.index.kernels.topk import rank_hits

        size = min(self.filled, self.k)
        totals, found = np.empty(size), np.empty((3, size), np.int32)
        kernel(rank_hits, self.form)(*self.arrays, self.filled, self.k, scale, step, totals, found)
        return Ranking(totals, found[0], found[1], found[2], self.arrays[1][:size])


def search_segments(
    snapshot: Searchable,
    query: QuantisedQuery,
    hits: Hits,
    allowed: Allowed | None,
    factors: Sequence[float] | None = None,
) -> None:
    """Add the best documents of all segments to the hits, bounds of each taken times its factor."""
    from lsr.index.kernels.search import search_segment

    run = kernel(search_segment, hits.form)
    weights = query.weights.astype(_SUMS[hits.form])
    own = scratch()
    for number, segment in enumerate(snapshot.segments):
        if not own.fits(len(query), segment.layout.blocks):
            own.fit(len(query), segment.layout.blocks, 0)
        bound_weights, value = bound_query(query, weights, segment.layout.bound_step)
        bitmap = allowed_rows(snapshot, number, allowed)
        if factors is not None:
            value *= factors[number]
        _search_one(run, segment, (bitmap, number, query.columns, weights, bound_weights, value), own, hits)


def _search_one(
    run: Callable[..., int], segment: Segment, asked: tuple[Any, ...], own: Scratch, hits: Hits
) -> None:
    from lsr.index.kernels.search import MORE_ROOM

    fixed = (*segment.layout.arrays_for(asked[2]), segment.row_document, segment.document_sequence, *asked)
    found = run(*fixed, *own.arrays(hits.form), *hits.arrays, hits.filled, hits.k, own.statistics)
    if found == MORE_ROOM:
        own.fit(0, 0, int(own.statistics[0]))
        found = run(*fixed, *own.arrays(hits.form), *hits.arrays, hits.filled, hits.k, own.statistics)
    if found < 0:
        own.flags[:] = 0
        raise corrupt(segment.name, _damage(found))
    hits.filled = found


def bound_query(
    query: QuantisedQuery, weights: NDArray[Any], bound_step: float
) -> tuple[NDArray[np.uint32], float]:
    """A query's weights as the bounds multiply with them, and what a unit of such a bound is worth.

    Args:
        query: The query.
        weights: Its weights as the scores multiply with them.
        bound_step: What a step of the segment's bounds is worth in impacts.

    Returns:
        uint32 [q], the weights rounded up to steps, so small that no bound passes 32 bits; and the value.
    """
    if weights.dtype == np.uint32:
        return weights, bound_step
    largest = float(weights.max())
    steps = min(_BOUND_STEPS, (2**32 - 1) // _BOUND_STEPS // len(weights))
    step = largest / steps or 1.0
    rounded = np.ceil(weights.astype(np.float64) / step).astype(np.uint32)
    # The quotients are rounded: a bound must not fall below a score for that.
    return np.minimum(rounded, steps), step * bound_step * (1 + 1e-9)


def _damage(code: int) -> str:
    from lsr.index.kernels import bounds, score
    from lsr.index.kernels import search as kernels

    return {
        bounds.BAD_OFFSETS: "a term's postings lie outside the file",
        score.BAD_POSTINGS: "a block's postings lie outside the file",
        kernels.BAD_ROWS: "a term's postings name rows that are not there",
        kernels.BAD_DOCUMENTS: "a row belongs to a document that is not there",
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
