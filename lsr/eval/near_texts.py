"""Texts of an evaluation, kept so that training texts can be held against them: near-equal, or inside.

`NearTexts` finds texts that are near-equal (MinHash proposes, Jaccard's index over the shingles decides);
`SharedShingles` counts what texts have in common, which tells whether a short one stands inside a long one.
Both take batches of texts as shingles (`lsr.eval.minhash`) and keep hashes, never text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lsr.eval.minhash import (
    I64,
    Bands,
    Shingles,
    SignatureTable,
    band_keys,
    choose_bands,
    expand,
    jaccard,
    signatures,
)

_LARGEST_EXPANSION = 4_000_000
"""Shared shingles that are looked at in one go: some 100 MB."""

Found = tuple[int, int, float]
"""Number of the asking text in its batch, number of the kept text, similarity."""


class NearTexts:
    """Finds near-equal texts.

    Args:
        parts: The texts to keep, in batches.
        threshold: The least similarity that counts.

    Example:
        >>> from lsr.eval.minhash import shingle
        >>> kept = NearTexts([shingle(["the cat sat on the mat", "dogs bark"], length=1)], threshold=0.8)
        >>> list(kept.find(shingle(["a cat", "On the mat the cat sat!"], length=1)))
        [(1, 0, 1.0)]
    """

    def __init__(self, parts: Sequence[Shingles], *, threshold: float) -> None:
        self._threshold = threshold
        self.bands: Bands = choose_bands(threshold)
        self._texts = join(parts)
        # A text without words has no shingles; it is near to nothing and stays out of the table.
        self._rows = np.flatnonzero(np.diff(self._texts.indptr))
        keys = [np.zeros((self.bands.count, 0), np.uint64), *map(self._keys, parts)]
        self._table = SignatureTable(np.concatenate(keys, axis=1)[:, self._rows])

    @property
    def nbytes(self) -> int:
        """Memory of the hashes and the table."""
        return self._table.nbytes + self._texts.hashes.nbytes + self._texts.indptr.nbytes

    def find(self, asking: Shingles) -> Iterator[Found]:
        """The kept texts that are near to the asking ones."""
        filled = np.flatnonzero(np.diff(asking.indptr))
        rows, places = self._table.pairs(self._keys(asking)[:, filled])
        before = -1
        for row, place in zip(filled[rows].tolist(), self._rows[places].tolist(), strict=True):
            if row != before:
                own, before = asking.row(row), row
            similarity = jaccard(own, self._kept(place))
            if similarity >= self._threshold:
                yield row, place, similarity

    def _keys(self, shingles: Shingles) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
        return band_keys(signatures(shingles), self.bands)

    def _kept(self, place: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
        return self._texts.hashes[self._texts.indptr[place] : self._texts.indptr[place + 1]]


class SharedShingles:
    """Counts the distinct shingles that asking texts share with kept ones.

    Args:
        parts: The texts to keep, in batches.

    Example:
        >>> from lsr.eval.minhash import shingle
        >>> kept = SharedShingles([shingle(["how do vaccines work"], length=2)])
        >>> asked = shingle(["we ask how do vaccines work, and why", "cats"], length=2)
        >>> [array.tolist() for array in kept.count(asked)]
        [[0], [0], [3]]
    """

    def __init__(self, parts: Sequence[Shingles]) -> None:
        texts = join(parts)
        self.sizes: I64 = np.diff(texts.indptr)
        rows = np.repeat(np.arange(len(texts), dtype=np.int32), self.sizes)
        order = np.argsort(texts.hashes, kind="stable")
        self._rows = rows[order]
        self._hashes = texts.hashes[order]

    @property
    def nbytes(self) -> int:
        """Memory of the hashes and the numbers of their texts."""
        return self._rows.nbytes + self._hashes.nbytes + self.sizes.nbytes

    def count(self, asking: Shingles) -> tuple[I64, I64, I64]:
        """Shared shingles: int64 [m] asking texts, int64 [m] kept texts, int64 [m] how many both hold.

        Pairs that share none are absent.
        """
        if not len(self._hashes):
            return (np.zeros(0, np.int64),) * 3
        place = np.searchsorted(self._hashes, asking.hashes)
        last = len(self._hashes) - 1
        known = np.flatnonzero(self._hashes[np.minimum(place, last)] == asking.hashes)
        texts = np.searchsorted(asking.indptr, known, side="right") - 1
        each = np.unique(np.stack([texts, place[known]]), axis=1)  # a shingle counts once a text
        found = [np.zeros((3, 0), np.int64)]
        for part in self._slices(each):
            found.append(self._tally(part[0], self._hashes[part[1]]))
        texts, rows, counts = np.concatenate(found, axis=1)
        return texts, rows, counts

    def _slices(self, each: I64) -> Iterator[I64]:
        """Cuts the shared shingles between texts, so that what they expand to fits in memory."""
        hashes = self._hashes[each[1]]
        lengths = np.searchsorted(self._hashes, hashes, side="right") - each[1]
        total = np.cumsum(lengths)
        first = 0
        while first < len(total):
            limit = (int(total[first - 1]) if first else 0) + _LARGEST_EXPANSION
            last = int(np.searchsorted(total, limit, side="right"))
            if last < len(total):  # not within a text, unless the text alone is too much
                begin = int(np.searchsorted(each[0], each[0][last]))
                last = begin if begin > first else int(np.searchsorted(each[0], each[0][first], side="right"))
            yield each[:, first:last]
            first = last

    def _tally(self, texts: I64, hashes: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> I64:
        asking, at = expand(self._hashes, hashes)
        codes = texts[asking] * len(self.sizes) + self._rows[at]
        pairs, counts = np.unique(codes, return_counts=True)
        return np.stack([pairs // len(self.sizes), pairs % len(self.sizes), counts])


def join(parts: Sequence[Shingles]) -> Shingles:
    """Batches as one, each text's shingles ascending and without repeats."""
    texts = [part.unique() for part in parts]
    sizes = [np.diff(text.indptr) for text in texts]
    counts = np.concatenate([np.zeros(1, np.int64), *sizes])
    return Shingles(
        np.concatenate([np.zeros(0, np.uint64), *(text.hashes for text in texts)]),
        np.cumsum(counts),
        np.concatenate([np.zeros(0, np.int64), *(text.words for text in texts)]),
    )
