"""The block layout of a segment, as the kernels see it, and how one posting is packed.

A segment's rows are cut into blocks of `BLOCK` consecutive rows. A term is *dense* if its postings lie in
many blocks and *sparse* otherwise:

- Dense terms are numbered 0..D-1. `dense_maxima` holds a byte for each (dense term, block), term after
  term: a bound on the term's impacts in the block, 0 where it has none. Their postings lie block after
  block: a bit set of the dense terms that the block holds (`block_bits`, W words of 64 bits), how many of
  its terms come before each word (`block_ranks`), where each of its terms' postings begin (`pair_starts`,
  counted from the block's first posting, and one more that ends the last), and the postings
  (`dense_postings`).
- Sparse terms have lists: for each block that holds the term an entry of 32 bits, its number above, then a
  bound, then how many postings (`list_entries`), and the postings (`sparse_postings`), term after term.

A posting is one unsigned number: the row within its block above, the impact below (8 bits of 16, 16 of 32, or
the bits of a float32 of 64). Bounds are whole numbers up to 255 in steps that the segment states; a term's
bound times the step is at least each of its impacts in the block. The posting arrays end with `PADDING`
zeros, because the scoring loops read a few postings ahead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK_BITS = 5
BLOCK = 1 << BLOCK_BITS
"""Rows of a block."""
MOST_BLOCKS = 1 << 16
"""Blocks of a segment: their numbers are kept in 16 bits."""
PADDING = 4
"""Zeros behind the postings."""

POSTING = {"u8": types.uint16, "u16": types.uint32, "f32": types.uint64}
"""The type of a packed posting for each form of impacts."""
TOTAL = {"u8": types.uint32, "u16": types.uint64, "f32": types.float64}
"""The type of query weights and of a row's sum."""
SCORE = {"u8": types.uint64, "u16": types.uint64, "f32": types.float64}
"""The type of the heap's scores."""
IMPACT = {"u8": types.uint8, "u16": types.uint16, "f32": types.float32}


def given(dtype: types.Type, dimensions: int = 1) -> types.Type:
    """The type of an array that a kernel only reads."""
    return types.Array(dtype, dimensions, "C", readonly=True)


def kept(dtype: types.Type, dimensions: int = 1) -> types.Type:
    """The type of an array that a kernel writes."""
    return types.Array(dtype, dimensions, "C")


def segment_types(form: str) -> list[types.Type]:
    """The types of a segment's arrays in the order in which every kernel takes them."""
    return [
        given(types.int32),  # terms
        given(types.int32),  # term_dense
        given(types.int64),  # list_offsets
        given(types.int64),  # list_postings
        given(types.uint32),  # list_entries
        given(POSTING[form]),  # sparse_postings
        given(types.uint8),  # dense_maxima
        given(types.uint64),  # block_bits
        given(types.uint16),  # block_ranks
        given(types.int64),  # block_pairs
        given(types.uint16),  # pair_starts
        given(types.int64),  # block_postings
        given(POSTING[form]),  # dense_postings
    ]


def posting_row(posting: Any) -> Any:
    """The row within its block that a packed posting belongs to; below `BLOCK` whatever was read."""
    bits = {2: 8, 4: 16, 8: 32}[posting.dtype.itemsize]
    return int(posting >> posting.dtype.type(bits)) & (BLOCK - 1)


@overload(posting_row, inline="always")
def _posting_row(posting: Any) -> Any:
    bits = {types.uint16: 8, types.uint32: 16, types.uint64: 32}[posting]
    shift, mask = np.uint64(bits), np.uint64(BLOCK - 1)

    def read(posting: Any) -> Any:
        return np.intp((np.uint64(posting) >> shift) & mask)

    return read


def posting_impact(posting: Any) -> Any:
    """The impact of a packed posting, in the type in which it is multiplied."""
    if posting.dtype.itemsize == 2:
        return np.uint32(posting & np.uint16(255))
    if posting.dtype.itemsize == 4:
        return np.uint64(posting & np.uint32(65_535))
    return np.float64(np.uint32(posting & np.uint64(0xFFFFFFFF)).view(np.float32))


@overload(posting_impact, inline="always")
def _posting_impact(posting: Any) -> Any:
    def read_u8(posting: Any) -> Any:
        return np.uint32(posting) & np.uint32(255)

    def read_u16(posting: Any) -> Any:
        return np.uint64(posting) & np.uint64(65_535)

    def read_f32(posting: Any) -> Any:
        return np.float64(np.uint32(posting & np.uint64(0xFFFFFFFF)).view(np.float32))

    return {types.uint16: read_u8, types.uint32: read_u16, types.uint64: read_f32}[posting]


def unpack_impact(posting: Any) -> Any:
    """The impact of a packed posting, in the type in which it was given."""
    if posting.dtype.itemsize == 2:
        return np.uint8(posting & np.uint16(255))
    if posting.dtype.itemsize == 4:
        return np.uint16(posting & np.uint32(65_535))
    return np.uint32(posting & np.uint64(0xFFFFFFFF)).view(np.float32)


@overload(unpack_impact, inline="always")
def _unpack_impact(posting: Any) -> Any:
    def unpack_u8(posting: Any) -> Any:
        return np.uint8(posting & np.uint16(255))

    def unpack_u16(posting: Any) -> Any:
        return np.uint16(posting & np.uint32(65_535))

    def unpack_f32(posting: Any) -> Any:
        return np.uint32(posting & np.uint64(0xFFFFFFFF)).view(np.float32)

    return {types.uint16: unpack_u8, types.uint32: unpack_u16, types.uint64: unpack_f32}[posting]


def pack_posting(row: Any, impact: Any) -> Any:
    """A posting from the row within its block and its impact."""
    if impact.dtype == np.uint8:
        return np.uint16(row << 8 | int(impact))
    if impact.dtype == np.uint16:
        return np.uint32(row << 16 | int(impact))
    return np.uint64(row << 32 | int(impact.view(np.uint32)))


@overload(pack_posting, inline="always")
def _pack_posting(row: Any, impact: Any) -> Any:
    def pack_u8(row: Any, impact: Any) -> Any:
        return np.uint16((np.uint16(row) << np.uint16(8)) | np.uint16(impact))

    def pack_u16(row: Any, impact: Any) -> Any:
        return np.uint32((np.uint32(row) << np.uint32(16)) | np.uint32(impact))

    def pack_f32(row: Any, impact: Any) -> Any:
        return (np.uint64(row) << np.uint64(32)) | np.uint64(np.float32(impact).view(np.uint32))

    return {types.uint8: pack_u8, types.uint16: pack_u16, types.float32: pack_f32}[impact]


def count_ones(word: Any) -> Any:
    """How many bits of a uint64 are set."""
    return int(word).bit_count()


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@overload(count_ones, inline="always")
def _count_ones(word: Any) -> Any:
    def count(word: Any) -> Any:
        return np.intp(_popcount(np.uint64(word)))

    return count


def prefetch(array: Any, place: Any) -> None:
    """Ask for the cache line of an array's element, wherever the place lies; changes nothing."""


@intrinsic
def _prefetch(typing_context: Any, array: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer2(
            context,
            builder,
            view.data,
            cgutils.unpack_tuple(builder, view.shape),
            cgutils.unpack_tuple(builder, view.strides),
            kind.layout,
            [arguments[1]],
            wraparound=False,
            boundscheck=False,
        )
        byte = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
        )
        options = [ir.Constant(number, value) for value in (0, 3, 1)]  # to read, keep it close, data
        builder.call(function, [builder.bitcast(pointer, byte), *options])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@overload(prefetch, inline="always")
def _prefetch_element(array: Any, place: Any) -> Any:
    def ask(array: Any, place: Any) -> None:
        _prefetch(array, place)

    return ask


def bound_of(impact: Any, bound_step: float) -> Any:
    """The bound of an impact in steps of so much, at least 1; of a uint8 for a step of 1."""
    steps = int(impact) if impact.dtype == np.uint8 else np.ceil(np.float64(impact) / bound_step)
    return np.uint32(min(255, max(1, steps)))


@overload(bound_of, inline="always")
def _bound_of(impact: Any, bound_step: Any) -> Any:
    def whole(impact: Any, bound_step: Any) -> Any:
        return np.uint32(impact) if impact > 0 else np.uint32(1)

    def divided(impact: Any, bound_step: Any) -> Any:
        return np.uint32(min(255.0, max(1.0, np.ceil(np.float64(impact) / bound_step))))

    return whole if impact == types.uint8 else divided
