"""A layout that was just made, on its way into a compressed segment; see `lsr.index.compressed`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel
from lsr.index.compressed import DENSE, CompressedLayout, empty_lists, term_tables
from lsr.index.layout import PADDING, Layout, zero_arrays
from lsr.index.quantise import IMPACT_TYPES

DENSE_SHARE = 3
"""A term stays dense if it occurs in at least one of so many blocks. A dense term takes about 3 bytes a
posting, and more the rarer it is, a list 2.2 or 2.3, but all of a list has to be read for a query."""


def compress(layout: Layout) -> CompressedLayout:
    """The compressed form of a layout that was just made.

    Raises:
        InputError: A row names a column twice.
    """
    from lsr.index.kernels import compressed as kernels

    sparser = _demote(layout)
    starts = np.zeros(len(layout.terms) + 1, np.int64)
    lists = (sparser.list_offsets, sparser.list_postings, sparser.list_entries, sparser.sparse_postings)
    code = kernel(kernels.code_lists, layout.form)
    size = code(*lists, starts, np.empty(0, np.uint8), np.empty(0, IMPACT_TYPES[layout.form]))
    codes = np.zeros(max(0, size), np.uint8)
    impacts = np.zeros(len(sparser.sparse_postings) - PADDING, IMPACT_TYPES[layout.form])
    if size < 0 or code(*lists, starts, codes, impacts) != size:
        raise InputError("The vectors cannot be compressed: a row names a column twice.")
    kept = {field.name: getattr(sparser, field.name) for field in fields(Layout)}
    kept |= empty_lists(layout.form)
    made = CompressedLayout(**kept, list_starts=starts, list_codes=codes, list_impacts=impacts)
    return replace(made, table_bytes=sum(len(table) for _, table in term_tables(made)))


def _demote(layout: Layout) -> Layout:
    """The same postings with lists for all terms but those that occur in many blocks."""
    from lsr.index.kernels import demotion as kernels

    blocks = layout.blocks
    dense = np.flatnonzero(layout.term_dense >= 0)
    blocks_of, counts = np.zeros((2, len(dense)), np.int64)
    tables = (layout.block_bits, layout.block_pairs, layout.pair_starts)
    if kernel(kernels.count_dense, "all")(blocks, *tables, blocks_of, counts) < 0:
        raise InputError("The vectors cannot be compressed: their layout does not fit together.")
    stays = blocks_of * DENSE_SHARE >= blocks
    numbers = np.where(stays, np.cumsum(stays) - 1, -1)
    term_dense = layout.term_dense.copy()
    term_dense[dense] = numbers
    lists, postings = np.diff(layout.list_offsets), np.diff(layout.list_postings)
    lists[dense], postings[dense] = np.where(stays, 0, blocks_of), np.where(stays, 0, counts)
    offsets, begins = np.zeros((2, len(layout.terms) + 1), np.int64)
    np.cumsum(lists, out=offsets[1:])
    np.cumsum(postings, out=begins[1:])
    made, flags = _sparser(layout, offsets, begins, stays, blocks_of, counts)
    kernel(kernels.demote_dense, layout.form)(
        blocks,
        layout.dense_maxima,
        *tables,
        layout.block_postings,
        layout.dense_postings,
        _unpacked(layout.dense_lexical, len(layout.dense_postings) - PADDING),
        numbers,
        offsets[dense],
        begins[dense],
        made["list_entries"],
        made["sparse_postings"],
        flags[0],
        *(made[name] for name in DENSE[1:]),
        flags[1],
    )
    known = layout.sparse_lexical is not None
    words = [np.packbits(one, bitorder="little") if known else None for one in flags]
    return replace(
        layout,
        term_dense=term_dense,
        list_offsets=offsets,
        list_postings=begins,
        sparse_lexical=words[0],
        dense_lexical=words[1],
        **made,
    )


def _sparser(
    layout: Layout,
    offsets: NDArray[np.int64],
    begins: NDArray[np.int64],
    stays: NDArray[np.bool_],
    blocks_of: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[dict[str, Any], tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The arrays of `_demote`, with the lists that were there already, and flags of words as a byte each."""
    blocks, known = layout.blocks, layout.sparse_lexical is not None
    dense, listed = int(counts[stays].sum()), int(begins[-1])
    sizes = {"dense": int(stays.sum()), "pairs": int(blocks_of[stays].sum()), "dense_postings": dense}
    made = zero_arrays(layout.form, blocks, entries=int(offsets[-1]), listed=listed, **sizes)
    made["dense_maxima"] = layout.dense_maxima.reshape(len(stays), blocks)[stays].reshape(-1)
    flags = np.zeros(listed if known else 0, np.uint8), np.zeros(dense if known else 0, np.uint8)
    _spread(layout.list_entries, layout.list_offsets, offsets, made["list_entries"])
    _spread(layout.sparse_postings, layout.list_postings, begins, made["sparse_postings"])
    if known:
        old = _unpacked(layout.sparse_lexical, len(layout.sparse_postings) - PADDING)
        _spread(old, layout.list_postings, begins, flags[0])
    return made, flags


def _spread(
    source: NDArray[Any], old: NDArray[np.int64], new: NDArray[np.int64], target: NDArray[Any]
) -> None:
    """Copy each term's stretch to where it lies now; runs of terms between two demoted ones go at once."""
    lengths = np.diff(old)
    moved = (new - old)[:-1]
    held = np.flatnonzero(lengths)
    if not len(held):
        return
    cuts = np.flatnonzero(np.diff(moved[held])) + 1
    for part in np.split(held, cuts):
        first, last = int(part[0]), int(part[-1])
        target[new[first] : new[first] + old[last + 1] - old[first]] = source[old[first] : old[last + 1]]


def _unpacked(flags: NDArray[np.uint8] | None, count: int) -> NDArray[np.uint8]:
    return np.empty(0, np.uint8) if flags is None else np.unpackbits(flags, count=count, bitorder="little")
