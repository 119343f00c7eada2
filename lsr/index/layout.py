"""The block layout of a segment: made from rows, and read back as plain postings.

The segment writer and `VectorIndex` lay rows out here, in the order that `lsr.index.order` chose; the
arrays go to a file as they are, come back mapped, and are what the kernels search.
`lsr.index.kernels.blocks` says what lies where, `docs/index-format.md` how it is written. Only terms that
occur take room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel
from lsr.index.order import order_rows
from lsr.index.quantise import IMPACT_TYPES
from lsr.index.sharing import usable_processors
from lsr.index.terms import number_terms

POSTINGS: dict[str, type[np.generic]] = {"u8": np.uint16, "u16": np.uint32, "f32": np.uint64}
"""The dtype of a packed posting: the row within its block and the impact."""

BLOCK = 32
"""Rows of a block (`kernels.blocks.BLOCK`, which only a search needs to import)."""
PADDING = 4
"""Zeros behind the postings (`kernels.blocks.PADDING`)."""
MOST_ROWS = BLOCK << 16
"""Rows that one segment may have: blocks are numbered in 16 bits."""

LEAST_BLOCKS = 4
"""Rows of no more blocks than these lie as they came."""

_MOST_DENSE = 2047
"""Dense terms of a segment: a block's postings of so many can be counted in 16 bits."""
_DENSE_SHARE = 16
"""A term is dense if it occurs in at least one of so many blocks: there a byte a block is about as much
room as a list, and far quicker to add."""

KERNEL_ARRAYS = (
    "terms",
    "term_dense",
    "list_offsets",
    "list_postings",
    "list_entries",
    "sparse_postings",
    "dense_maxima",
    "block_bits",
    "block_ranks",
    "block_pairs",
    "pair_starts",
    "block_postings",
    "dense_postings",
)
"""The arrays of a layout in the order in which the kernels take them."""


@dataclass(frozen=True)
class Layout:
    """The postings of n rows in blocks, with T terms, D dense terms, b blocks of W words.

    Attributes:
        form: `"u8"`, `"u16"` or `"f32"`.
        rows: n.
        bound_step: What one step of a bound is worth in impacts.
        terms: int32 [T], ascending: the columns that occur.
        term_dense: int32 [T], each term's dense number, or -1.
        term_lexical_df: uint32 [T], rows in whose text the term occurs (all, where that is unknown).
        list_offsets, list_postings: int64 [T + 1], where the entries and the postings of sparse terms begin.
        list_entries: uint32 [entries]: block, bound and count.
        sparse_postings: uint16, uint32 or uint64 [postings + PADDING].
        dense_maxima: uint8 [D * b], term after term.
        block_bits, block_ranks: uint64, uint16 [b * W].
        block_pairs, block_postings: int64 [b + 1].
        pair_starts: uint16 [pairs + b].
        dense_postings: like `sparse_postings`.
        sparse_lexical, dense_lexical: uint8, a bit for each posting: is it a word of the text; or None.
    """

    form: str
    rows: int
    bound_step: float
    terms: NDArray[np.int32]
    term_dense: NDArray[np.int32]
    term_lexical_df: NDArray[np.uint32]
    list_offsets: NDArray[np.int64]
    list_postings: NDArray[np.int64]
    list_entries: NDArray[np.uint32]
    sparse_postings: NDArray[Any]
    dense_maxima: NDArray[np.uint8]
    block_bits: NDArray[np.uint64]
    block_ranks: NDArray[np.uint16]
    block_pairs: NDArray[np.int64]
    pair_starts: NDArray[np.uint16]
    block_postings: NDArray[np.int64]
    dense_postings: NDArray[Any]
    sparse_lexical: NDArray[np.uint8] | None = None
    dense_lexical: NDArray[np.uint8] | None = None

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that every kernel takes, in its order."""
        return tuple(getattr(self, name) for name in KERNEL_ARRAYS)

    def arrays_for(
        self, columns: NDArray[np.int32], starts: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[Any], ...]:
        """The arrays that a search takes: at least all that is of its columns.

        Args:
            columns: int32, of each query ascending.
            starts: int64 [q + 1], where each query's columns begin and end; None for one query.
        """
        return self.arrays

    def only(self, columns: NDArray[np.int32]) -> Layout:
        """A layout that holds at least all that is of some columns, int32 ascending."""
        return self

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.block_pairs) - 1

    @property
    def postings(self) -> int:
        """Number of postings."""
        return len(self.sparse_postings) + len(self.dense_postings) - 2 * PADDING

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        flags = [array for array in (self.sparse_lexical, self.dense_lexical) if array is not None]
        return sum(array.nbytes for array in (*self.arrays, self.term_lexical_df, *flags))

    def is_lexical(self, places: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which postings are words of the text.

        Args:
            places: int64 [m], places among the sparse postings, or -1 - places among the dense ones.

        Returns:
            bool [m], or None where that is not known.
        """
        if self.sparse_lexical is None or self.dense_lexical is None:
            return None
        found = np.zeros(len(places), np.bool_)
        dense = places < 0
        for chosen, bits, own in (
            (~dense, self.sparse_lexical, places),
            (dense, self.dense_lexical, -1 - places),
        ):
            at = own[chosen]
            found[chosen] = (bits[at >> 3] >> (at & 7).astype(np.uint8)) & 1 != 0
        return found


@dataclass(frozen=True, slots=True)
class Postings:
    """The rows of each term of a layout.

    Attributes:
        offsets: int64 [T + 1]: where each term's postings begin and end.
        rows: uint32 [P], ascending within a term.
        impacts: uint8, uint16 or float32 [P].
        places: int64 [P], places among the sparse postings, or -1 - places among the dense ones.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.uint32]
    impacts: NDArray[Any]
    places: NDArray[np.int64]


def lay_out(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    impacts: NDArray[Any],
    *,
    lexical: NDArray[np.bool_] | None = None,
    order: NDArray[np.int32] | None = None,
    threads: int | None = None,
) -> Layout:
    """Lay rows out in blocks.

    Args:
        indptr: int64 [n + 1], from 0 to P, not descending.
        indices: int32 [P], columns, at least 0, ascending within a row.
        impacts: uint8, uint16 or float32 [P].
        lexical: bool [P], True where the term is a word of the text; None where that is not known, and
            every occurrence counts.
        order: int32 [n], the row that comes at each place; None keeps them as they are.
        threads: As for `arrange`.

    Raises:
        InputError: The arrays do not fit together.
    """
    indptr, impacts = _check(indptr, indices, impacts)
    terms, local = number_terms(indices)
    if order is None:
        order = np.arange(len(indptr) - 1, dtype=np.int32)
    return _fill(indptr, terms, local, impacts, lexical, order, threads)


def arrange(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    impacts: NDArray[Any],
    *,
    lexical: NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> tuple[Layout, NDArray[np.int32]]:
    """Lay rows out with alike ones side by side.

    Args:
        indptr, indices, impacts, lexical: As for `lay_out`.
        threads: How many threads share the work; None takes the processors that this process may use. The
            outcome does not depend on it.

    Returns:
        The layout, and the row that comes at each place, int32 [n].

    Raises:
        InputError: The arrays do not fit together.
    """
    indptr, impacts = _check(indptr, indices, impacts)
    terms, local = number_terms(indices)
    order = np.arange(len(indptr) - 1, dtype=np.int32)
    if len(order) > LEAST_BLOCKS * BLOCK:
        order = order_rows(
            indptr, local, impacts, len(terms), block=BLOCK, threads=threads or usable_processors()
        )
    return _fill(indptr, terms, local, impacts, lexical, order, threads), order


def _check(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], impacts: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The arrays as the kernels take them; InputError unless they fit together."""
    if len(indices) != len(impacts) or len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices):
        raise InputError("The vectors are not a valid CSR matrix: its offsets do not fit its values.")
    rows = len(indptr) - 1
    if rows > MOST_ROWS:
        raise InputError(f"{rows:,} rows are more than the {MOST_ROWS:,} of a segment; add them in parts.")
    return np.ascontiguousarray(indptr, np.int64), np.ascontiguousarray(impacts)


def _fill(
    indptr: NDArray[np.int64],
    terms: NDArray[np.int32],
    local: NDArray[np.int32],
    impacts: NDArray[Any],
    lexical: NDArray[np.bool_] | None,
    order: NDArray[np.int32],
    threads: int | None,
) -> Layout:
    from lsr.index.filling import Rows, fill_rows

    flags = np.empty(0, np.uint8) if lexical is None else lexical.view(np.uint8)
    words = None if lexical is None else np.bincount(local[lexical], minlength=len(terms))
    rows = Rows(indptr, local, impacts, flags, order)
    return fill_rows(rows, terms, words, threads or usable_processors())


def zero_arrays(
    form: str, blocks: int, *, dense: int, pairs: int, dense_postings: int, entries: int, listed: int
) -> dict[str, Any]:
    """The arrays of a layout that hold postings, zeros of the lengths that were counted.

    Args:
        form: `"u8"`, `"u16"` or `"f32"`.
        blocks: How many blocks there are.
        dense, pairs, dense_postings: Dense terms, the blocks that hold them, and their postings.
        entries, listed: Entries and postings of all lists.
    """
    words, posting = (dense + 63) // 64, POSTINGS[form]
    return {
        "list_entries": np.zeros(entries, np.uint32),
        "sparse_postings": np.zeros(listed + PADDING, posting),
        "dense_maxima": np.zeros(dense * blocks, np.uint8),
        "block_bits": np.zeros(blocks * words, np.uint64),
        "block_ranks": np.zeros(blocks * words, np.uint16),
        "block_pairs": np.zeros(blocks + 1, np.int64),
        "pair_starts": np.zeros(pairs + blocks, np.uint16),
        "block_postings": np.zeros(blocks + 1, np.int64),
        "dense_postings": np.zeros(dense_postings + PADDING, posting),
    }


def choose_dense(blocks_of: NDArray[np.int64], blocks: int, most: int | None = None) -> NDArray[np.int32]:
    """Each term's dense number, ascending with the terms, or -1.

    Args:
        blocks_of: int64 [T], in how many blocks each term occurs.
        blocks: How many there are.
        most: Dense terms that there may be; None takes the most that a block can count.
    """
    most = _MOST_DENSE if most is None else min(most, _MOST_DENSE)
    chosen = np.flatnonzero(blocks_of * _DENSE_SHARE >= blocks)
    if len(chosen) > most:
        widest = np.argsort(-blocks_of[chosen], kind="stable")[:most]
        chosen = np.sort(chosen[widest])
    dense = np.full(len(blocks_of), -1, np.int32)
    dense[chosen] = np.arange(len(chosen), dtype=np.int32)
    return dense


def expand(layout: Layout, *, file: str = "") -> Postings:
    """The postings of a layout, term after term.

    Args:
        layout: A segment's layout.
        file: The file's name, for the error.

    Raises:
        IndexCorruptError: Its arrays do not fit together.
    """
    from lsr.index.format import corrupt
    from lsr.index.kernels.expand import expand_postings

    offsets = np.zeros(len(layout.terms) + 1, np.int64)
    rows = np.empty(layout.postings, np.uint32)
    impacts = np.empty(layout.postings, IMPACT_TYPES[layout.form])
    places = np.empty(layout.postings, np.int64)
    run = kernel(expand_postings, layout.form)
    made = run(*layout.arrays, layout.rows, offsets, rows, impacts, places)
    if made != layout.postings:
        raise corrupt(file, "its postings do not fit together")
    return Postings(offsets, rows, impacts, places)


def match(
    layout: Layout, row: int, columns: NDArray[np.int32], *, file: str = ""
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.bool_] | None]:
    """What one row holds of some columns.

    Args:
        layout: A segment's layout.
        row: One of its rows.
        columns: int32 [m], ascending.
        file: The file's name, for the error.

    Returns:
        Places of the columns that it holds, int64 ascending; their impacts; which are words of the text,
        bool, or None where that is not known.

    Raises:
        IndexCorruptError: The arrays do not fit together.
    """
    from lsr.index.format import corrupt
    from lsr.index.kernels.expand import match_row

    held, places = np.empty((2, len(columns)), np.int64)
    impacts = np.empty(len(columns), IMPACT_TYPES[layout.form])
    layout = layout.only(columns)
    run = kernel(match_row, layout.form)
    made = run(*layout.arrays, layout.rows, row, columns, held, impacts, places)
    if made < 0:
        raise corrupt(file, "its postings do not fit together")
    return held[:made], impacts[:made], layout.is_lexical(places[:made])


def joined_rows(
    lengths: Sequence[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Offsets, int64 [n + 1], of rows whose lengths come in parts."""
    counts = np.concatenate([np.empty(0, np.int64), *lengths])
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
