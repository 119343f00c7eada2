"""PISA and Seismic as contenders of `search.py`: `pip install pyterrier-pisa pyseismic-lsr`.

PISA's inverted files are written here with NumPy, since the package's indexer of dicts is slow; what it does
with them (compression, block maxima, search) is its own. It takes a query's weights as repeated terms,
weight × scale times each, which is part of its time: the contender `pisa floor` asks the same of an index of
one document that has every term. Seismic prunes, clusters and quantises by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from search_engines import Spent, now, since
from search_timing import Contender

PISA_ALGORITHMS = ("maxscore", "block_max_maxscore", "wand", "block_max_wand")
PISA_SCALE = 100
SEISMIC_CUTS = (2, 3, 4, 5, 8, 12, 20)
SEISMIC_HEAPS = (0.6, 0.7, 0.8, 0.9, 1.0)
PACKAGES = {"pisa": ("pyterrier_pisa", "pyterrier-pisa"), "seismic": ("seismic", "pyseismic-lsr")}


def check_installed(engines: list[str]) -> None:
    for engine in engines:
        module, package = PACKAGES.get(engine, ("lsr", ""))
        if find_spec(module) is None:
            raise SystemExit(
                f"{engine} is not installed: pip install {package}, or leave it out of --engines."
            )


def term_name(column: int) -> str:
    """Terms must be in the order of their numbers as strings too."""
    return f"{column:07d}"


def build_pisa(folder: Path, *, docs_file: str, order_file: str = "", floor: bool = False) -> Spent:
    """Write PISA's inverted files and let it compress them; reading the vectors is not timed.

    Args:
        folder: Where to.
        docs_file: The documents.
        order_file: A permutation of the rows (`.npy`): the first of it becomes PISA's first document.
        floor: One document that has every term once, instead.
    """
    docs = sparse.load_npz(docs_file)
    order = np.load(order_file) if order_file else np.arange(docs.shape[0])
    if floor:
        used = np.flatnonzero(np.bincount(docs.indices, minlength=docs.shape[1]))
        ones = np.full(len(used), 1 / PISA_SCALE, np.float32)
        docs = sparse.csr_matrix((ones, used, [0, len(used)]), shape=(1, docs.shape[1]))
        order = np.arange(1)
    started = now()
    _write_inverted(folder, docs[order].tocsc())
    _write_names(folder, docs, order)
    retriever(folder)  # compresses, and writes the block maxima
    for file in folder.iterdir():
        if file.name.startswith("inv."):
            file.unlink()
    return since(started)


def _write_inverted(folder: Path, inverted: sparse.csc_matrix) -> None:
    impacts = np.maximum(1, np.round(inverted.data * PISA_SCALE)).astype(np.uint32)
    rows = inverted.indices.astype(np.uint32)
    with (folder / "inv.docs").open("wb") as documents, (folder / "inv.freqs").open("wb") as frequencies:
        np.array([1, inverted.shape[0]], np.uint32).tofile(documents)
        for start, end in zip(inverted.indptr[:-1], inverted.indptr[1:], strict=True):
            if start < end:
                for values, file in ((rows, documents), (impacts, frequencies)):
                    np.array([end - start], np.uint32).tofile(file)
                    values[start:end].tofile(file)
    lengths = np.bincount(inverted.indices, weights=impacts, minlength=inverted.shape[0])
    np.concatenate([[inverted.shape[0]], lengths]).astype(np.uint32).tofile(folder / "inv.sizes")


def _write_names(folder: Path, docs: sparse.csr_matrix, order: NDArray[np.int64]) -> None:
    """Documents are called by their row in the data, so that reordered results need no translation."""
    from pyterrier_pisa import _pisathon

    used = np.flatnonzero(np.bincount(docs.indices, minlength=docs.shape[1]))
    names = {"terms": map(term_name, used), "documents": map(str, order.tolist())}
    for kind, lexicon in (("documents", "doclex"), ("terms", "termlex")):
        (folder / f"fwd.{kind}").write_text("".join(f"{name}\n" for name in names[kind]), encoding="utf-8")
        _pisathon.build_binlex(str(folder / f"fwd.{kind}"), str(folder / f"fwd.{lexicon}"))
    meta = {"type": "sparse_index", "format": "pisa", "package_hint": "pyterrier-pisa", "stemmer": "none"}
    (folder / "pt_meta.json").write_text(json.dumps(meta), encoding="utf-8")


def retriever(folder: Path) -> Any:
    from pyterrier_pisa import PisaIndex, PisaStemmer

    index = PisaIndex(str(folder), stemmer=PisaStemmer.none, stops="none", threads=1)
    return index.quantized(num_results=10, toks_scale=PISA_SCALE, query_algorithm="maxscore")


def pisa_contenders(
    folder: Path, name: str, algorithms: tuple[str, ...] = PISA_ALGORITHMS
) -> list[Contender]:
    return [_pisa_contender(retriever(folder), name, algorithm) for algorithm in algorithms]


def _pisa_contender(opened: Any, name: str, algorithm: str) -> Contender:
    from pyterrier_pisa import _pisathon

    buffers: dict[int, dict[str, NDArray]] = {}

    def prepare(query):
        counts = zip(query[0].tolist(), np.round(query[1] * PISA_SCALE).tolist(), strict=True)
        return (0, {term_name(column): float(count) for column, count in counts if count >= 1})

    def search(query, k):
        if k not in buffers:
            kinds = {"qidxs": np.int32, "docnos": object, "ranks": np.int32, "scores": np.float32}
            buffers[k] = {f"result_{key}": np.empty(k, kind) for key, kind in kinds.items()}
        return buffers[k]["result_docnos"], _pisathon.retrieve(
            opened._ctxt,
            algorithm,
            [query],
            k=k,
            threads=1,
            query_weighted=1,
            pretokenised=True,
            **buffers[k],
        )

    def rows(result):
        return np.array([int(name) for name in result[0][: result[1]]], np.int64)

    return Contender(name, algorithm, prepare, search, rows)


def _seismic_classes(columns: int) -> tuple[Any, Any]:
    """Its plain classes keep columns in 16 bits."""
    import seismic

    if columns <= 1 << 16:
        return seismic.SeismicDataset, seismic.SeismicIndex
    return seismic.SeismicDatasetLV, seismic.SeismicIndexLV


def build_seismic(folder: Path, *, docs_file: str, postings: int, threads: int) -> Spent:
    """Feed and build, without the kNN graph: at these sizes it never paid."""
    docs = sparse.load_npz(docs_file)
    dataset_class, index_class = _seismic_classes(docs.shape[1])
    started = now()
    dataset = dataset_class(dim=docs.shape[1])
    for start in range(0, docs.shape[0], 100_000):
        part = docs[start : start + 100_000]
        ids = [str(row) for row in range(start, start + part.shape[0])]
        dataset.add_documents_by_id(
            ids, part.indices.astype(np.int64), part.data, part.indptr.astype(np.int64)
        )
    index = index_class.build_from_dataset(
        dataset, n_postings=postings, centroid_fraction=0.1, summary_energy=0.4, num_threads=threads
    )
    spent = since(started)
    index.save(str(folder / "index"))
    return spent


def open_seismic(folder: Path, columns: int) -> Any:
    return _seismic_classes(columns)[1].load(str(folder / "index.index.seismic"))


def seismic_contenders(index: Any, postings: int, kind: str) -> Iterator[Contender]:
    """The grid of `query_cut` and `heap_factor`; an IDF query has few terms."""
    for cut in SEISMIC_CUTS:
        for heap in SEISMIC_HEAPS:
            if kind == "splade" or cut <= 12:
                yield _seismic_contender(index, postings, cut, heap)


def _seismic_contender(index: Any, postings: int, cut: int, heap: float) -> Contender:
    import seismic

    string = seismic.get_seismic_string()

    def prepare(query):
        names = np.array([str(column) for column in query[0].tolist()], dtype=string)
        return names, np.ascontiguousarray(query[1], np.float32)

    def search(query, k):
        return index.search("0", query[0], query[1], k, cut, heap, 0, True)

    def rows(result):
        return np.array([int(hit[2]) for hit in result], np.int64)

    return Contender(
        "seismic", f"n_postings={postings} query_cut={cut} heap_factor={heap}", prepare, search, rows
    )
