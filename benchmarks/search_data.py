"""The data that `search.py` measures on: documents, fresh queries, and what brute force finds for them.

`synthetic:N` is made by `sparse_data.py` and kept in the work folder; a folder holds `docs.npz` and `q_*.npz`
(CSR matrices of SciPy), as `real_vectors.py` writes them. The truth is the k best over the float weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse
from sparse_data import KINDS, generate

WARM = 32
"""Queries at the start of each kind that only warm up."""


@dataclass(frozen=True)
class Data:
    """A collection with its queries.

    Attributes:
        name: What tables call it.
        docs_file: Where the documents lie, for processes that build an index.
        docs: float32 CSR [n, columns].
        queries: Kind to float32 CSR; the first `WARM` rows only warm up.
    """

    name: str
    docs_file: Path
    docs: sparse.csr_matrix
    queries: dict[str, sparse.csr_matrix]

    def describe(self) -> dict:
        terms = {kind: round(rows.nnz / rows.shape[0], 1) for kind, rows in self.queries.items()}
        n = self.docs.shape[0]
        return {"documents": n, "terms": round(self.docs.nnz / n, 1), "query_terms": terms}


@dataclass(frozen=True)
class Truth:
    """What brute force over the float weights finds: ids [q, k], and the score of the k-th [q]."""

    ids: NDArray[np.int64]
    last: NDArray[np.float64]
    wanted: NDArray[np.int64]


def load_data(name: str, queries: int, seed: int, work: Path) -> Data:
    """`synthetic:N`, or a folder; `queries` are measured, beside those that warm up."""
    count = queries + WARM
    if name.startswith("synthetic:"):
        documents = int(name.partition(":")[2])
        return _load_synthetic(documents, count, seed, work / f"synthetic-{documents}")
    folder = Path(name)
    found = {kind: folder / f"q_{kind}.npz" for kind in KINDS}
    asked = {
        kind: _shuffled(sparse.load_npz(file), seed)[:count] for kind, file in found.items() if file.exists()
    }
    if not asked:
        raise SystemExit(
            f"{folder} holds no q_splade.npz and no q_idf.npz; real_vectors.py writes such folders."
        )
    return Data(folder.resolve().name, folder / "docs.npz", sparse.load_npz(folder / "docs.npz"), asked)


def _shuffled(rows: sparse.csr_matrix, seed: int) -> sparse.csr_matrix:
    return rows[np.random.default_rng(seed).permutation(rows.shape[0])]


def _load_synthetic(documents: int, count: int, seed: int, folder: Path) -> Data:
    folder.mkdir(parents=True, exist_ok=True)
    files = {kind: folder / f"q_{kind}-{count}-{seed}.npz" for kind in KINDS}
    docs_file = folder / "docs.npz"
    if not docs_file.exists() or not all(file.exists() for file in files.values()):
        made = generate(documents)
        if not docs_file.exists():
            sparse.save_npz(docs_file, made.documents, compressed=False)
        for number, (kind, file) in enumerate(files.items()):
            sparse.save_npz(file, made.queries(kind, count, seed + number))
    asked = {kind: sparse.load_npz(file) for kind, file in files.items()}
    return Data(f"synthetic-{documents}", docs_file, sparse.load_npz(docs_file), asked)


def rows_of(matrix: sparse.csr_matrix) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Columns and weights of each row."""
    places = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    return [(matrix.indices[a:z], matrix.data[a:z]) for a, z in places]


def find_truth(data: Data, kind: str, k: int, work: Path) -> Truth:
    """Brute force, kept in the work folder."""
    queries = data.queries[kind]
    print_on = f"{data.name}-{kind}-{k}-{_mark(queries)}"
    file = work / "truth" / f"{print_on}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        ids, scores = _brute_force(data.docs, queries, min(k, data.docs.shape[0]))
        np.savez(file, ids=ids, scores=scores)
    with np.load(file) as kept:
        ids, scores = kept["ids"], kept["scores"]
    wanted = (scores > 0).sum(axis=1)
    last = scores[np.arange(len(scores)), np.maximum(wanted, 1) - 1]
    return Truth(ids, last, wanted)


def _mark(queries: sparse.csr_matrix) -> str:
    """A short mark of the content, so that a kept truth is never that of other queries."""
    return f"{queries.shape[0]}-{int(queries.indices.sum()):x}-{int(1e6 * float(queries.data.sum())):x}"


def _brute_force(docs, queries, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    inverted = docs.tocsc()
    ids, scores = [], []
    for columns, weights in rows_of(queries):
        sums = _add_up(inverted.indptr, inverted.indices, inverted.data, columns, weights, docs.shape[0])
        best = np.argpartition(-sums, k - 1)[:k]
        best = best[np.lexsort((best, -sums[best]))]
        ids.append(best)
        scores.append(sums[best])
    return np.array(ids, np.int64), np.array(scores)


@njit(cache=True)
def _add_up(indptr, rows, values, columns, weights, documents):
    sums = np.zeros(documents)
    for j in range(columns.size):
        for p in range(indptr[columns[j]], indptr[columns[j] + 1]):
            sums[rows[p]] += float(weights[j]) * float(values[p])
    return sums


def mean_overlap(
    data: Data, kind: str, first: int, found: Sequence[NDArray[np.int64]], truth: Truth
) -> float:
    """The mean share of the true top k that was found, for queries `first` and on.

    A row counts if its float score is that of the k-th or above: of equal ones any will do.
    """
    queries, docs = data.queries[kind], data.docs
    shares = []
    dense = np.zeros(docs.shape[1], np.float64)
    for number, rows in enumerate(found, first):
        if not truth.wanted[number]:
            continue
        part = slice(queries.indptr[number], queries.indptr[number + 1])
        dense[queries.indices[part]] = queries.data[part]
        limit = truth.last[number] * (1 - 1e-6)
        good = _count_good(docs.indptr, docs.indices, docs.data, dense, np.unique(rows[rows >= 0]), limit)
        shares.append(min(good, truth.wanted[number]) / truth.wanted[number])
        dense[queries.indices[part]] = 0
    return float(np.mean(shares))


@njit(cache=True)
def _count_good(indptr, columns, values, query, rows, limit):
    good = 0
    for row in rows:
        score = 0.0
        for p in range(indptr[row], indptr[row + 1]):
            score += query[columns[p]] * float(values[p])
        good += score >= limit and score > 0
    return good


def stream_rows(docs_file: Path, rows: int) -> Iterator[sparse.csr_matrix]:
    """The documents of a file in batches, none of it in memory but a batch and the row offsets.

    `numpy.load` reads an array of an archive whole, so the arrays, which lie there uncompressed, are read
    in place.
    """
    places = _places_of_arrays(docs_file)
    indptr = np.fromfile(docs_file, places["indptr"][0], places["indptr"][2], offset=places["indptr"][1])
    shape = np.fromfile(docs_file, places["shape"][0], places["shape"][2], offset=places["shape"][1])
    for start in range(0, len(indptr) - 1, rows):
        part = indptr[start : start + rows + 1]
        read = {}
        for name in ("indices", "data"):
            kind, place, _ = places[name]
            offset = place + int(part[0]) * kind.itemsize
            read[name] = np.fromfile(docs_file, kind, int(part[-1] - part[0]), offset=offset)
        size = (len(part) - 1, int(shape[1]))
        yield sparse.csr_matrix((read["data"], read["indices"], part - part[0]), shape=size)


def _places_of_arrays(file: Path) -> dict[str, tuple[np.dtype, int, int]]:
    """Type, offset in the file, and length of each array of an uncompressed `.npz`."""
    import zipfile

    found = {}
    with zipfile.ZipFile(file) as archive, file.open("rb") as raw:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise SystemExit(f"{file} is compressed; save it with compressed=False to stream it.")
            raw.seek(entry.header_offset + 26)
            name, extra = np.frombuffer(raw.read(4), "<u2")
            raw.seek(int(name) + int(extra), 1)
            version = np.lib.format.read_magic(raw)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, kind = read(raw)
            found[entry.filename.removesuffix(".npy")] = (
                kind,
                raw.tell(),
                int(np.prod(shape, dtype=np.int64)),
            )
    return found


def read_json(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
