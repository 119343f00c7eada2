"""Rows into the arrays of a block layout, a range of blocks at a time.

`fill_rows` lays out rows that lie in memory; `lsr.index.merging` adds them window by window. Terms are
counted first, which gives the sizes of all arrays and what is dense; then rows are added in their final
order. Threads take ranges of blocks: what each of them counts says where the next one writes, so the arrays
are the same for any number of threads and windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel
from lsr.index.layout import BLOCK, Layout, choose_dense, zero_arrays
from lsr.index.quantise import FORM_OF
from lsr.index.sharing import share

_FEWEST = 64 * BLOCK
"""Fewer rows are not shared by threads."""
_BOUND_STEPS = 255

_FILLED = (
    "list_entries",
    "sparse_postings",
    "sparse_lexical",
    "dense_maxima",
    "block_bits",
    "block_ranks",
    "block_pairs",
    "pair_starts",
    "block_postings",
    "dense_postings",
    "dense_lexical",
)
"""The arrays that the kernel writes, in its order."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows whose terms are numbered 0..T-1.

    Attributes:
        indptr: int64 [n + 1], where each row's entries begin and end.
        terms: int32 [P], the term of each entry.
        impacts: uint8, uint16 or float32 [P].
        lexical: uint8 [P], 1 where the term is a word of the text; empty where that is not known.
        order: int32 [m], the row that comes at each place.
    """

    indptr: NDArray[np.int64]
    terms: NDArray[np.int32]
    impacts: NDArray[Any]
    lexical: NDArray[np.uint8]
    order: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Counted:
    """What some rows hold of each term, in ranges of blocks.

    Attributes:
        ranges: The first and the last place of each of k ranges.
        postings: int64 [k, T].
        blocks: int64 [k, T], in how many blocks of the range the term occurs.
    """

    ranges: list[tuple[int, int]]
    postings: NDArray[np.int64]
    blocks: NDArray[np.int64]


def count_rows(rows: Rows, terms: int, threads: int) -> Counted:
    """Count each term's postings and blocks in a range of blocks for each thread.

    Raises:
        InputError: The offsets descend, or an entry, a row or a term lies outside its array.
    """
    from lsr.index.kernels.layout import count_blocks

    count, parts = kernel(count_blocks, "all"), _ranges(len(rows.order), threads)
    postings, blocks = np.zeros((2, len(parts), terms), np.int64)

    def work(part: int) -> int:
        first, last = parts[part]
        code: int = count(rows.indptr, rows.terms, rows.order[first:last], postings[part], blocks[part])
        return code

    if min(share(threads, work, range(len(parts)))) < 0:
        raise InputError("The vectors are not a valid CSR matrix: its offsets descend.")
    return Counted(parts, postings, blocks)


def _ranges(rows: int, threads: int) -> list[tuple[int, int]]:
    """Ranges of whole blocks, one for each thread."""
    parts = max(1, min(threads, rows // _FEWEST))
    blocks = (rows + BLOCK - 1) // BLOCK
    cuts = [blocks * part // parts * BLOCK for part in range(parts)]
    return list(zip(cuts, [*cuts[1:], rows], strict=True))


class Filling:
    """The arrays of a layout, while rows are added.

    Args:
        form: `"u8"`, `"u16"` or `"f32"`.
        terms: int32 [T], the columns that occur, ascending.
        postings, blocks: int64 [T], each term's in all rows that will be added.
        rows: How many will be added.
        largest: The largest impact.
        flags: Whether it is known which terms are words of the text.
        most: Dense terms that there may be; None takes the usual number.
    """

    def __init__(
        self,
        form: str,
        terms: NDArray[np.int32],
        postings: NDArray[np.int64],
        blocks: NDArray[np.int64],
        rows: int,
        *,
        largest: float,
        flags: bool = False,
        most: int | None = None,
    ) -> None:
        self._form, self._rows, self._flags = form, rows, flags
        self._terms, self._df = terms, postings.astype(np.uint32)
        self._step = _bound_step(largest, form)
        count = (rows + BLOCK - 1) // BLOCK
        self._dense = choose_dense(blocks, count, most)
        self._is_dense = self._dense >= 0
        self._offsets, self._listed = np.zeros((2, len(terms) + 1), np.int64)
        np.cumsum(np.where(self._is_dense, 0, blocks), out=self._offsets[1:])
        np.cumsum(np.where(self._is_dense, 0, postings), out=self._listed[1:])
        pairs, dense_postings = int(blocks[self._is_dense].sum()), int(postings[self._is_dense].sum())
        listed = int(self._listed[-1])
        sizes = {"dense": self.dense, "pairs": pairs, "dense_postings": dense_postings}
        self._made = zero_arrays(form, count, entries=int(self._offsets[-1]), listed=listed, **sizes)
        self._made["sparse_lexical"] = np.zeros(listed if flags else 0, np.uint8)
        self._made["dense_lexical"] = np.zeros(dense_postings if flags else 0, np.uint8)
        self._entry, self._posting = self._offsets[:-1] - 1, self._listed[:-1].copy()
        self._block = self._pairs = self._postings = 0

    @property
    def dense(self) -> int:
        """How many terms are dense."""
        return int(np.count_nonzero(self._is_dense))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._made.values())

    def add(self, rows: Rows, counted: Counted, threads: int) -> bool:
        """Add the next rows: whole blocks, but for the last.

        Returns:
            False if a block has more postings of dense terms than can be counted, so that there must be
            fewer dense terms; that can only be where a row names a column twice.
        """
        from lsr.index.kernels.layout import fill_layout

        fill = kernel(fill_layout, self._form)
        arrays = [self._made[name] for name in _FILLED]

        def work(part: int) -> int:
            first, last = counted.ranges[part]
            before = counted.blocks[:part].sum(axis=0), counted.postings[:part].sum(axis=0)
            code: int = fill(
                rows.indptr,
                rows.terms,
                rows.impacts,
                rows.lexical,
                rows.order[first:last],
                self._block + first // BLOCK,
                self._step,
                self._dense,
                self._entry + before[0],
                self._posting + before[1],
                self._pairs + int(before[0][self._is_dense].sum()),
                self._postings + int(before[1][self._is_dense].sum()),
                *arrays,
            )
            return code

        codes = share(threads, work, range(len(counted.ranges)))
        blocks, postings = counted.blocks.sum(axis=0), counted.postings.sum(axis=0)
        self._entry += blocks
        self._posting += postings
        self._pairs += int(blocks[self._is_dense].sum())
        self._postings += int(postings[self._is_dense].sum())
        self._block += (len(rows.order) + BLOCK - 1) // BLOCK
        return min(codes) == 0

    def layout(self, words: NDArray[np.int64] | None = None) -> Layout:
        """The layout of all rows that were added.

        Args:
            words: int64 [T], rows in whose text each term occurs; None where all count.
        """
        made = dict(self._made)
        for name in ("sparse_lexical", "dense_lexical"):
            made[name] = np.packbits(made[name], bitorder="little") if self._flags else None
        return Layout(
            self._form,
            self._rows,
            self._step,
            self._terms,
            term_lexical_df=self._df if words is None else words.astype(np.uint32),
            term_dense=self._dense,
            list_offsets=self._offsets,
            list_postings=self._listed,
            **made,
        )


def fill_rows(rows: Rows, terms: NDArray[np.int32], words: NDArray[np.int64] | None, threads: int) -> Layout:
    """Lay out rows that lie in memory.

    Args:
        rows: All rows of the segment.
        terms: int32 [T], the columns that occur.
        words: int64 [T], rows in whose text each term occurs; None where that is not known.
        threads: How many share the work.

    Raises:
        InputError: The arrays do not fit together.
    """
    counted = count_rows(rows, len(terms), threads)
    postings, blocks = counted.postings.sum(axis=0), counted.blocks.sum(axis=0)
    largest = float(rows.impacts.max()) if len(rows.impacts) else 0.0
    form, flags = FORM_OF[rows.impacts.dtype.name], words is not None
    most: int | None = None
    while True:
        filling = Filling(
            form, terms, postings, blocks, len(rows.order), largest=largest, flags=flags, most=most
        )
        if filling.add(rows, counted, threads):
            return filling.layout(words)
        most = filling.dense // 2


def _bound_step(largest: float, form: str) -> float:
    """What a step of a bound is worth, so that the largest impact has at most 255."""
    if form != "f32":
        return {"u8": 1.0, "u16": 257.0}[form]
    return largest / _BOUND_STEPS or 1.0
