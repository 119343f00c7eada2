"""Compressed segments: a layout with fewer dense terms, whose lists are kept as gaps and impacts.

`lsr.index.compressing` makes one of a layout before it is written, `read_compressed` finds it in a file
again. A search reads the lists of its own terms alone, into arrays that each thread keeps, and goes on as
with any other layout (`CompressedLayout.arrays_for`); whatever else wants postings gets an ordinary layout
(`arrays`, `only`). `docs/index-format.md` says how it is written, `lsr.index.kernels.compressed` what a list
looks like.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.errors import DISTRIBUTION, IndexVersionError
from lsr.index.compiled import kernel
from lsr.index.format import Container, Section, corrupt
from lsr.index.layout import KERNEL_ARRAYS, PADDING, POSTINGS, Layout

CODEC = "gaps"
"""What the metadata of a compressed segment say."""
_KEPT_POSTINGS = 1 << 22
"""Room for so many postings is kept for the next query."""
DENSE = KERNEL_ARRAYS[6:]
"""The arrays that a compressed layout has as any other."""
_TABLES = ("term_gaps", "term_counts", "term_bytes", "term_words")
COMPRESSED = {**dict.fromkeys(_TABLES, "|u1"), "list_codes": "|u1"}
"""The types of the sections that a compressed segment has instead of others, without its impacts."""
NOT_COMPRESSED = frozenset((*KERNEL_ARRAYS[:6], "term_lexical_df"))
"""The sections that it lacks."""


@dataclass(frozen=True)
class CompressedLayout(Layout):
    """A layout whose lists are kept as gaps: `list_offsets`, `list_entries` and `sparse_postings` are empty.

    Attributes:
        list_starts: int64 [T + 1], where the codes of each list begin.
        list_codes: uint8.
        list_impacts: uint8, uint16 or float32, in the order of the sparse postings.
        table_bytes: What the tables of the terms take in a file.
        file: The file's name, for errors.
    """

    list_starts: NDArray[np.int64] = None  # type: ignore[assignment]
    list_codes: NDArray[np.uint8] = None  # type: ignore[assignment]
    list_impacts: NDArray[Any] = None  # type: ignore[assignment]
    table_bytes: int = 0
    file: str = ""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:  # type: ignore[override]
        """The arrays of the ordinary layout with all lists, made anew."""
        return self._read_lists(self.terms)

    @property
    def postings(self) -> int:
        """Number of postings."""
        return len(self.list_impacts) + len(self.dense_postings) - PADDING

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in a file."""
        flags = [array for array in (self.sparse_lexical, self.dense_lexical) if array is not None]
        kept = (self.list_codes, self.list_impacts, *self._dense_arrays, *flags)
        return self.table_bytes + sum(array.nbytes for array in kept)

    @cached_property
    def _dense_arrays(self) -> tuple[NDArray[Any], ...]:
        return tuple(getattr(self, name) for name in DENSE)

    def arrays_for(
        self, columns: NDArray[np.int32], starts: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[Any], ...]:
        """The kernels' arrays of an ordinary layout of some columns alone.

        Args:
            columns, starts: As for `Layout.arrays_for`.

        Returns:
            Arrays that hold until this thread asks for others of the same form.

        Raises:
            IndexCorruptError: A list does not hold the rows that it should.
        """
        if starts is not None and len(starts) != 2:
            columns = np.unique(columns[starts[0] : starts[-1]])
        elif starts is not None:
            columns = columns[starts[0] : starts[1]]
        return self._fill(columns, _room(self.form, len(columns)))

    def only(self, columns: NDArray[np.int32]) -> Layout:
        """An ordinary layout of some columns, int32 ascending; flags of words are theirs too."""
        arrays: dict[str, Any] = dict(zip(KERNEL_ARRAYS, self._read_lists(columns), strict=True))
        places = np.searchsorted(self.terms, arrays["terms"])
        flags = self.sparse_lexical
        if flags is not None:
            # Bit by bit, for the lists need not begin at a byte.
            spans = [np.arange(self.list_postings[place], self.list_postings[place + 1]) for place in places]
            at = np.concatenate([np.empty(0, np.int64), *spans])
            flags = np.packbits((flags[at >> 3] >> (at & 7).astype(np.uint8)) & 1, bitorder="little")
        return Layout(
            self.form,
            self.rows,
            self.bound_step,
            term_lexical_df=self.term_lexical_df[places],
            sparse_lexical=flags,
            dense_lexical=self.dense_lexical,
            **arrays,
        )

    def _read_lists(self, columns: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
        """The arrays of an ordinary layout of some columns, in memory of their own."""
        columns = np.ascontiguousarray(columns, np.int32)
        places = np.searchsorted(self.terms, columns)
        known = places[places < len(self.terms)]
        count = int((self.list_postings[known + 1] - self.list_postings[known]).sum())
        arrays = self._fill(columns, _Room(self.form, len(columns), count))
        made = len(arrays[0])
        offsets, postings = arrays[2][: made + 1], arrays[3][: made + 1]
        packed = arrays[5][: postings[-1] + PADDING].copy()
        packed[postings[-1] :] = 0
        return (arrays[0], arrays[1][:made], offsets, postings, arrays[4][: offsets[-1]], packed, *arrays[6:])

    def _fill(self, columns: NDArray[np.int32], room: _Room) -> tuple[NDArray[Any], ...]:
        from lsr.index.kernels.compressed import MORE_ROOM, read_lists

        run = kernel(read_lists, self.form)
        made = run(*self._lists, columns, *room.arrays)
        if made == MORE_ROOM:
            room.fit(int(room.needed[0]))
            made = run(*self._lists, columns, *room.arrays)
            room.kept = int(room.needed[0]) <= _KEPT_POSTINGS
        if made < 0:
            raise corrupt(self.file, "a list does not hold the rows that it should")
        found, *others, _ = room.arrays
        arrays = (found[:made], *others, *self._dense_arrays)
        if not room.kept:
            room.fit(0)
        return arrays

    @cached_property
    def _lists(self) -> tuple[Any, ...]:
        tables = (self.terms, self.term_dense, self.list_postings, self.list_starts)
        return (*tables, self.list_codes, self.list_impacts, self.rows, self.bound_step)


class _Room:
    """Arrays that lists are read into, as `kernels.compressed.read_lists` fills them."""

    arrays: tuple[NDArray[Any], ...]

    def __init__(self, form: str, terms: int, postings: int) -> None:
        self.needed: NDArray[np.int64] = np.zeros(1, np.int64)
        self.kept = True
        self._form = form
        self.terms = terms
        found, offsets = np.zeros((2, terms), np.int32), np.zeros((2, terms + 1), np.int64)
        self._tables: tuple[NDArray[Any], ...] = (found[0], found[1], offsets[0], offsets[1])
        self.fit(postings)

    def fit(self, postings: int) -> None:
        """Make room for so many postings, in arrays that no one else holds."""
        entries = np.zeros(postings, np.uint32)
        packed = np.zeros(postings + PADDING, POSTINGS[self._form])
        self.arrays = (*self._tables, entries, packed, self.needed)
        self.kept = True


_own = threading.local()


def _room(form: str, terms: int) -> _Room:
    """The calling thread's room for a form, with room for so many terms."""
    rooms: dict[str, _Room] | None = getattr(_own, "rooms", None)
    if rooms is None:
        rooms = _own.rooms = {}
    room = rooms.get(form)
    if room is None or room.terms < terms:
        room = rooms[form] = _Room(form, max(64, 2 * terms), 1 << 14)
    return room


def empty_lists(form: str) -> dict[str, NDArray[Any]]:
    """What a compressed layout has instead of lists."""
    return {
        "list_offsets": np.zeros(1, np.int64),
        "list_entries": np.empty(0, np.uint32),
        "sparse_postings": np.zeros(PADDING, POSTINGS[form]),
    }


def compressed_sections(layout: CompressedLayout) -> list[Section]:
    """The sections that hold a compressed layout."""
    found = term_tables(layout)
    found += [("list_codes", layout.list_codes), ("list_impacts", layout.list_impacts)]
    found += [(name, getattr(layout, name)) for name in DENSE]
    if layout.sparse_lexical is not None and layout.dense_lexical is not None:
        found += [("sparse_lexical", layout.sparse_lexical), ("dense_lexical", layout.dense_lexical)]
    return found


def term_tables(layout: CompressedLayout) -> list[Section]:
    """What is said about each term, in numbers of few bytes."""
    counts = np.diff(layout.list_postings)
    numbers = (
        np.diff(layout.terms.astype(np.int64), prepend=-1),
        counts,  # 0 says that the term is dense
        np.diff(layout.list_starts) - counts,
        layout.term_lexical_df.astype(np.int64),
    )
    return [(name, _written(one)) for name, one in zip(_TABLES, numbers, strict=True)]


def _written(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    from lsr.index.kernels.compressed import write_numbers

    codes = np.empty(9 * len(numbers), np.uint8)
    size = kernel(write_numbers, "all")(numbers, codes)
    return codes[:size].copy()


def check_codec(container: Container) -> bool:
    """Whether a segment is compressed.

    Raises:
        IndexVersionError: In a way that this version does not know.
    """
    codec = container.metadata.get("codec")
    if codec not in (None, CODEC):
        raise IndexVersionError(
            f"{container.name} is compressed in a way that this version cannot read ({str(codec)[:40]!r}): "
            f"install a newer {DISTRIBUTION}."
        )
    return codec is not None


def read_compressed(
    container: Container, sections: Mapping[str, NDArray[Any]], form: str, rows: int, bound_step: float
) -> CompressedLayout:
    """A compressed layout, with its tables checked, but not yet its terms and its dense side.

    Raises:
        IndexCorruptError: Its tables cannot be read, or are not those of its lists.
    """
    file = container.name
    term_count = int(np.count_nonzero(sections["term_gaps"] < 128))
    gaps, counts, longer, words = (_numbers(sections[name], term_count, file) for name in _TABLES)
    codes, impacts = sections["list_codes"], sections["list_impacts"]
    terms = np.cumsum(gaps) - 1  # fewer than 2**28 numbers below 2**35: no sum wraps around
    sizes = np.where(counts > 0, counts + longer, 0)
    postings, starts = np.zeros((2, term_count + 1), np.int64)
    np.cumsum(counts, out=postings[1:])
    np.cumsum(sizes, out=starts[1:])
    good = starts[-1] == len(codes) and postings[-1] == len(impacts)
    if not good or words.max(initial=0) >= 2**32 or terms.max(initial=0) >= 2**31:
        raise corrupt(file, "its lists are not as long as its tables say")
    if form == "u8" and bound_step != 1.0:
        raise corrupt(file, "the step of its bounds cannot be")
    dense = counts == 0
    return CompressedLayout(
        form,
        rows,
        bound_step,
        terms=terms.astype(np.int32),
        term_dense=np.where(dense, np.cumsum(dense) - 1, -1).astype(np.int32),
        term_lexical_df=words.astype(np.uint32),
        list_postings=postings,
        sparse_lexical=sections.get("sparse_lexical"),
        dense_lexical=sections.get("dense_lexical"),
        list_starts=starts,
        list_codes=codes,
        list_impacts=impacts,
        table_bytes=sum(len(sections[name]) for name in _TABLES),
        file=file,
        **empty_lists(form),
        **{name: sections[name] for name in DENSE},
    )


def _numbers(codes: NDArray[np.uint8], count: int, file: str) -> NDArray[np.int64]:
    from lsr.index.kernels.compressed import read_numbers

    numbers = np.zeros(count, np.int64)
    if kernel(read_numbers, "all")(codes, numbers) != count:
        raise corrupt(file, "the tables of its terms cannot be read")
    return numbers
