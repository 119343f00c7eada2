"""Near-equal texts by MinHash: word shingles as 64-bit hashes, signatures, and a table to look them up in.

Two texts are as alike as their sets of word shingles, by Jaccard's index (what both hold over what either
holds). The share of equal entries in two MinHash signatures estimates it without comparing the sets
(Broder, *On the resemblance and containment of documents*, SEQUENCES 1997); signatures cut into bands make a
table that finds the likely pairs (Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, 3.4). The
pairs that it finds are compared exactly by whoever asks. All of it is NumPy over whole batches of texts; no
text is kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

PERMUTATIONS = 128
MISSED = 1e-3
"""The most that a table may miss of the pairs whose similarity is exactly the threshold."""

_SEED = 20210417
_BLOCK = 1 << 15  # shingles hashed at once: what fits a core's own cache
_NO_WORD = re.compile(r"\W+")
_WORD_BYTE = np.zeros(256, np.bool_)
_WORD_BYTE[[ord(c) for c in "abcdefghijklmnopqrstuvwxyz0123456789_"]] = True
_WORD_BYTE[128:] = True  # texts beyond ASCII come with blanks alone between their words


@dataclass(frozen=True, slots=True)
class Shingles:
    """The shingles of n texts.

    Attributes:
        hashes: uint64 [m], the shingles of all texts, one text after the other; repeats stay.
        indptr: int64 [n + 1], where each text begins.
        words: int64 [n], the words of each text.
    """

    hashes: U64
    indptr: I64
    words: I64

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, text: int) -> U64:
        """The set of one text's shingles: uint64, ascending, without repeats."""
        return np.unique(self.hashes[self.indptr[text] : self.indptr[text + 1]])

    def unique(self) -> Shingles:
        """The same without repeats, ascending within each text."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        order = np.lexsort((self.hashes, rows))
        hashes, rows = self.hashes[order], rows[order]
        first = np.ones(len(hashes), np.bool_)
        first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        counts = np.bincount(rows[first], minlength=len(self))
        return Shingles(hashes[first], _offsets(counts), self.words)


def shingle(texts: Sequence[str], *, length: int) -> Shingles:
    """The word shingles of texts, hashed.

    Words are runs of letters, digits and underscores, case folded, in Unicode's form NFKC. A text of fewer
    words than `length` has one shingle of all its words; a text without words has none.

    Args:
        texts: n texts.
        length: Words of a shingle.

    Example:
        >>> both = shingle(["The cat sat.", "the CAT sat"], length=2)
        >>> bool((both.row(0) == both.row(1)).all()), both.words.tolist()
        (True, [3, 3])
    """
    hashes, words = _hash_words(texts)
    starts = _offsets(words)
    counts = np.where(words >= length, words - length + 1, (words > 0).astype(np.int64))
    indptr = _offsets(counts)
    text = np.repeat(np.arange(len(texts)), counts)
    place = starts[text] + np.arange(indptr[-1]) - indptr[text]
    end = starts[text + 1]
    summed = np.zeros(len(place), np.uint64)
    factors = _odd_numbers(length, seed=_SEED + 1)
    for i in range(length):
        inside = place + i < end
        word = hashes[np.minimum(place + i, max(len(hashes) - 1, 0))]
        summed += np.where(inside, word * factors[i], np.uint64(i))
    return Shingles(_mix(summed), indptr, words)


def signatures(shingles: Shingles, *, permutations: int = PERMUTATIONS) -> U64:
    """MinHash signatures: uint64 [n, permutations]; a text without shingles has the largest number.

    The share of equal entries of two rows estimates Jaccard's index of the two sets, with a standard
    deviation of at most 1 / (2 * sqrt(permutations)).
    """
    signed = np.full((permutations, len(shingles)), np.iinfo(np.uint64).max, np.uint64)
    factors = _odd_numbers(permutations, seed=_SEED)
    filled = np.flatnonzero(np.diff(shingles.indptr))
    begins = shingles.indptr[filled]
    for first, last in _blocks(shingles.indptr[filled + 1]):
        start, end = begins[first], shingles.indptr[filled[last - 1] + 1]
        hashes = shingles.hashes[start:end]
        rows = filled[first:last]
        for i, factor in enumerate(factors):
            # An odd factor permutes the 64-bit numbers; mixing makes the permutations unrelated.
            signed[i, rows] = np.minimum.reduceat(
                _mix_little(hashes ^ factor, factor), begins[first:last] - start
            )
    return np.ascontiguousarray(signed.T)


def jaccard(one: U64, other: U64) -> float:
    """Jaccard's index of two sets (ascending, without repeats); 0.0 if both are empty."""
    if not len(one) or not len(other):
        return 0.0
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


@dataclass(frozen=True, slots=True)
class Bands:
    """How signatures are cut: two texts meet if all rows of at least one band are equal.

    Attributes:
        count: Bands.
        rows: Entries of the signature in each.
    """

    count: int
    rows: int

    def found(self, similarity: float) -> float:
        """The chance that two texts of this similarity meet."""
        return float(1.0 - (1.0 - similarity**self.rows) ** self.count)


def choose_bands(threshold: float, *, permutations: int = PERMUTATIONS) -> Bands:
    """The bands with the most rows (the fewest pairs to compare) that miss at most `MISSED` at the threshold.

    Example:
        >>> choose_bands(0.8)
        Bands(count=25, rows=5)
    """
    fitting = [Bands(permutations // rows, rows) for rows in range(1, permutations + 1)]
    return max(
        (bands for bands in fitting if 1.0 - bands.found(threshold) <= MISSED),
        key=lambda bands: bands.rows,
        default=Bands(permutations, 1),
    )


def band_keys(signed: U64, bands: Bands) -> U64:
    """One hash a band and text: uint64 [bands, n], from signatures uint64 [n, permutations]."""
    cut = signed[:, : bands.count * bands.rows].reshape(len(signed), bands.count, bands.rows)
    factors = _odd_numbers(bands.rows, seed=_SEED + 3)
    keys = np.zeros((bands.count, len(signed)), np.uint64)
    for i in range(bands.rows):
        keys += _mix(cut[:, :, i].T * factors[i])
    return keys


class SignatureTable:
    """Texts by the bands of their signatures, to look others up in.

    Args:
        keys: uint64 [bands, n], as `band_keys` makes them.
    """

    def __init__(self, keys: U64) -> None:
        self._size = keys.shape[1]
        self._order = np.argsort(keys, axis=1, kind="stable").astype(np.int32)
        self._keys = np.take_along_axis(keys, self._order, axis=1)

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return int(self._keys.nbytes + self._order.nbytes)

    def pairs(self, keys: U64) -> tuple[I64, I64]:
        """The likely pairs, each once: int64 [m] texts of `keys`, ascending, and int64 [m] of the table."""
        codes = [np.zeros(0, np.int64)]
        for known, order, wanted in zip(self._keys, self._order, keys, strict=True):
            asking, at = expand(known, wanted)
            codes.append(asking * self._size + order[at])
        found = np.unique(np.concatenate(codes))
        return found // max(self._size, 1), found % max(self._size, 1)


def expand(keys: U64, wanted: U64) -> tuple[I64, I64]:
    """Where each of `wanted` stands in ascending `keys`, which may repeat: positions in both, int64 [m]."""
    low = np.searchsorted(keys, wanted, side="left")
    high = np.searchsorted(keys, wanted, side="right")
    counts = high - low
    asking = np.repeat(np.arange(len(wanted)), counts)
    within = np.arange(len(asking)) - np.repeat(_offsets(counts)[:-1], counts)
    return asking, low[asking] + within


def _hash_words(texts: Sequence[str]) -> tuple[U64, I64]:
    """The hashes of all words, text after text, and how many words each text has."""
    folded = [_fold(text) for text in texts]
    ends = np.cumsum(np.array([len(data) + 1 for data in folded], np.int64))
    data = np.frombuffer(b"\n".join([*folded, b""]), np.uint8)
    inside = _WORD_BYTE[data]
    before = np.zeros(len(inside), np.bool_)
    before[1:] = inside[:-1]
    begins = np.flatnonzero(inside & ~before)
    if not len(begins):
        return np.zeros(1, np.uint64), np.zeros(len(texts), np.int64)
    words = np.diff(np.searchsorted(begins, ends), prepend=0)
    letters = data[inside]
    firsts = np.cumsum(inside)[begins] - 1  # where each word begins among the letters
    lengths = np.diff(firsts, append=len(letters))
    place = np.arange(len(letters)) - np.repeat(firsts, lengths)
    weights = _odd_numbers(64, seed=_SEED + 2)[place & 63] * (place >> 6 << 1 | 1).astype(np.uint64)
    summed = np.add.reduceat((letters.astype(np.uint64) + np.uint64(1)) * weights, firsts)
    return _mix(summed + lengths.astype(np.uint64)), words


def _fold(text: str) -> bytes:
    if text.isascii():
        return text.lower().encode("ascii")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _NO_WORD.sub(" ", folded).encode("utf-8", "surrogatepass")


def _blocks(ends: I64) -> list[tuple[int, int]]:
    """Cuts rows into runs of about `_BLOCK` shingles, at least one row each: from and to."""
    runs = []
    first = 0
    while first < len(ends):
        begin = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, begin + _BLOCK, side="right")), first + 1)
        runs.append((first, last))
        first = last
    return runs


def _offsets(counts: I64) -> I64:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _odd_numbers(count: int, *, seed: int) -> U64:
    drawn = np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)
    return drawn | np.uint64(1)


def _mix(values: U64) -> U64:
    """A permutation of the 64-bit numbers under which neighbours have nothing in common (splitmix64's)."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _mix_little(values: U64, factor: np.uint64) -> U64:
    """A permutation that is cheap, for numbers that are mixed already."""
    mixed = values * factor
    mixed ^= mixed >> np.uint64(32)
    mixed *= factor
    return mixed
