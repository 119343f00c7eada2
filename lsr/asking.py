"""From what a caller asks to what the engine takes, and from its ranking back to hits and explanations.

A query comes in as text, as term weights or as a one-row CSR; the query side of the index names its
columns. `lsr.api.Index` calls this with one snapshot at a time, so that a search, its texts and its
explanation all see the same commit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.protocol import QuerySide
from lsr.errors import DocumentNotFoundError, InputError, QueryError, UnsupportedError
from lsr.index.quantise import QuantisedQuery, quantise_query
from lsr.index.query_batch import QueryBatch, pack_queries, quantise_queries
from lsr.types import Explanation, Hit, Kind, TermContribution

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lsr.index.rankings import Ranking, Rankings
    from lsr.index.search import RowTerms
    from lsr.index.store import Settings, Snapshot

    Query: TypeAlias = str | Mapping[str, float] | csr_array

MODES = ("exact", "approximate")


@dataclass(frozen=True, slots=True)
class Matched:
    """The terms that a query and one row have in common.

    Attributes:
        columns: int32 [m], the order of `explanation.terms`.
        explanation: The score taken apart.
    """

    columns: NDArray[np.int32]
    explanation: Explanation


def read_query(query: Query, side: QuerySide, settings: Settings, snapshot: Snapshot) -> QuantisedQuery:
    """Any kind of query as the engine takes it.

    Raises:
        QueryError: The query is of no known kind, of another dimension, or holds weights that cannot be used.
    """
    if isinstance(query, str):
        columns, weights = side.weigh(_check_text(query), _statistics(settings, snapshot))
        return quantise_query(columns, weights, settings.quantize)
    return _read_vector(query, side, settings)


def read_queries(
    queries: Sequence[Query], side: QuerySide, settings: Settings, snapshot: Snapshot
) -> QueryBatch:
    """Many queries as the engine takes them, in their order; texts go to the query side together.

    Raises:
        QueryError: See `read_query`.
    """
    texts = [_check_text(query) for query in queries if isinstance(query, str)]
    weighed = side.weigh_many(texts, _statistics(settings, snapshot)) if texts else []
    if len(texts) == len(queries):
        return quantise_queries(weighed, settings.quantize)
    left = iter(weighed)
    read = [
        quantise_query(*next(left), settings.quantize)
        if isinstance(query, str)
        else _read_vector(query, side, settings)
        for query in queries
    ]
    return pack_queries(read, settings.quantize)


def _read_vector(query: Any, side: QuerySide, settings: Settings) -> QuantisedQuery:
    if isinstance(query, Mapping):
        columns, weights, heaviest = _weigh_terms(query, side)
        return quantise_query(columns, weights, settings.quantize, heaviest=heaviest)
    if hasattr(query, "tocsr"):
        return quantise_query(*_read_row(query, side.dimension), settings.quantize)
    raise QueryError(
        f"A query is a text, a dict of term weights or a one-row sparse matrix, not {type(query).__name__}."
    )


def _statistics(settings: Settings, snapshot: Snapshot) -> Snapshot | None:
    return snapshot if settings.query_weights == "corpus" else None


def _check_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise QueryError("The query holds a lone surrogate and is no valid Unicode text.") from None
    return text


def _weigh_terms(
    terms: Mapping[str, float], side: QuerySide
) -> tuple[NDArray[np.int32], NDArray[np.float64], float]:
    """Columns, weights, and the largest weight of a term without a column."""
    columns, weights, heaviest = [], [], 0.0
    for term, weight in terms.items():
        if not isinstance(term, str):
            raise QueryError(f"A query term is a string, not {term!r}.")
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.integer | np.floating):
            raise QueryError(f"The weight of {term!r} is a number, not {weight!r}.")
        value = float(weight)
        if not math.isfinite(value) or value < 0:
            raise QueryError(f"The weight of {term!r} is {value:g}; weights are finite and not below 0.")
        column = side.column(term)
        if column is not None:
            columns.append(column)
            weights.append(value)
        else:
            heaviest = max(heaviest, value)
    return np.array(columns, np.int32), np.array(weights, np.float64), heaviest


def _read_row(matrix: Any, dimension: int) -> tuple[NDArray[Any], NDArray[Any]]:
    shape = tuple(matrix.shape)
    if len(shape) == 2 and shape[0] != 1:
        raise QueryError(f"A query is one row; this matrix has {shape[0]:,} (search_many takes many).")
    if shape[-1] != dimension:
        raise QueryError(f"The query has {shape[-1]:,} columns, the index {dimension:,}.")
    row = matrix.tocsr()
    return np.asarray(row.indices), np.asarray(row.data)


def check_search(k: int, offset: int, filter: Any, mode: str, overlap: float | None, threads: int) -> None:
    """Raise InputError unless the options of a search can be used.

    Raises:
        UnsupportedError: There is a filter.
    """
    if filter is not None:
        raise UnsupportedError(
            "Filters are not there yet in this version; search without one and filter the hits."
        )
    for name, value, least in (("k", k, 1), ("offset", offset, 0), ("threads", threads, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name}={value!r} cannot be used; give a whole number from {least} on.")
    if mode not in MODES:
        raise InputError(f"mode={mode!r} is unknown; choose 'exact' or 'approximate'.")
    if overlap is not None and not (isinstance(overlap, int | float) and 0 < overlap <= 1):
        raise InputError(f"overlap={overlap!r} cannot be used; give a share above 0 and up to 1, as 0.98.")
    if overlap is not None and mode == "exact":
        raise InputError("overlap goes with mode='approximate'; an exact search finds all of the top k.")


def make_hits(snapshot: Snapshot, ranking: Ranking, *, offset: int = 0) -> list[Hit]:
    """The hits of a ranking from `offset` on, with their stored documents."""
    segments, documents = ranking.segments.tolist(), ranking.documents.tolist()
    hits = []
    for i, score in enumerate(ranking.scores.tolist()[offset:], offset):
        document = json.loads(snapshot.stored(segments[i], documents[i]))
        hits.append(Hit(document["id"], score, document))
    return hits


def make_pairs(snapshot: Snapshot, ranking: Ranking) -> list[tuple[str, float]]:
    """The ids and scores of a ranking, without reading a stored document."""
    return list(zip(snapshot.ids(ranking.segments, ranking.documents), ranking.scores.tolist(), strict=True))


def make_all_pairs(snapshot: Snapshot, rankings: Rankings) -> list[list[tuple[str, float]]]:
    """The ids and scores of many rankings; all ids are read at once where that is less work."""
    if int(rankings.lengths.sum()) < snapshot.documents:
        return [make_pairs(snapshot, ranking) for ranking in rankings]
    ids = [snapshot.ids_of(segment) for segment in range(len(snapshot.segments))]
    pairs = []
    for ranking in rankings:
        places = zip(
            ranking.segments.tolist(), ranking.documents.tolist(), ranking.scores.tolist(), strict=True
        )
        pairs.append([(ids[segment][document], score) for segment, document, score in places])
    return pairs


def match(snapshot: Snapshot, side: QuerySide, query: QuantisedQuery, id: str, scale: float) -> Matched:
    """The terms that a query and a document have in common, the heaviest contribution first.

    Args:
        snapshot: The commit that is asked.
        side: Names the columns.
        query: The quantised query.
        id: The document.
        scale: The value of one step of a stored impact.

    Raises:
        DocumentNotFoundError: The index holds no document of this id.
    """
    segment, document = locate(snapshot, id)
    row, (columns, weights, impacts, lexical) = _best_row(snapshot, query, segment, document)
    surfaces = snapshot.surfaces(segment, row)
    terms = []
    for i, column in enumerate(columns.tolist()):
        query_weight = float(weights[i]) * query.step
        document_weight = float(impacts[i]) * scale
        name = surfaces.get(column) or side.term(column)
        kind = _kind(lexical, i)
        terms.append(
            TermContribution(name, kind, query_weight, document_weight, query_weight * document_weight)
        )
    order = sorted(range(len(terms)), key=lambda i: (-terms[i].contribution, terms[i].term))
    # Summed as the engine sums: the integers first, the steps once, so that it is the hit's score exactly.
    total = np.dot(weights.astype(np.float64), impacts.astype(np.float64))
    explanation = Explanation(id, float(total) * scale * query.step, tuple(terms[i] for i in order))
    return Matched(columns[order], explanation)


def _best_row(snapshot: Snapshot, query: QuantisedQuery, segment: int, document: int) -> tuple[int, RowTerms]:
    """The row that gives a document its score, the first of equal ones, and what it shares with the query."""
    from lsr.index.search import explain_row

    found = []
    for row in snapshot.segments[segment].rows_of(document).tolist():
        shared = explain_row(snapshot, query, segment, row)
        found.append(
            (-float(np.dot(shared[1].astype(np.float64), shared[2].astype(np.float64))), row, shared)
        )
    _, row, shared = min(found, key=lambda one: one[:2])
    return row, shared


def _kind(lexical: NDArray[np.bool_] | None, position: int) -> Kind | None:
    if lexical is None:
        return None
    return "word" if lexical[position] else "learned"


def locate(snapshot: Snapshot, id: str) -> tuple[int, int]:
    """Segment and document of an id.

    Raises:
        DocumentNotFoundError: The index holds no document of this id.
    """
    segments, documents = snapshot.find([id])
    if segments[0] < 0:
        raise DocumentNotFoundError(f"The index holds no document {id!r}.")
    return int(segments[0]), int(documents[0])


def check_id(id: object) -> str:
    """A document id as it is stored: strings as they are, whole numbers as their digits."""
    if isinstance(id, str):
        return id
    if isinstance(id, int | np.integer) and not isinstance(id, bool):
        return str(int(id))
    raise InputError(f"A document id is a string, not {id!r}.")


def check_many(queries: Sequence[Query]) -> list[Query]:
    """A list of queries; a lone text is a mistake that would be asked letter by letter."""
    if isinstance(queries, str | Mapping):
        raise QueryError("search_many takes a list of queries; use search for one.")
    return list(queries)
