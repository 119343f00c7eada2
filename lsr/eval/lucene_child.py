"""The process in which Java runs: indexes a corpus with Lucene, asks every query, writes down what it found.

`lsr.eval.lucene` starts it (`python -m lsr.eval.lucene_child FOLDER`) with the environment that pyserini
needs. `FOLDER/wish.json` says what to do, `FOLDER/corpus` holds the documents, and `FOLDER/answer.json` is
the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from lsr.eval.efficiency import is_busy, one_core, read_peak


def main(folder: Path) -> None:
    """Does what `wish.json` asks for."""
    wish = json.loads((folder / "wish.json").read_text(encoding="utf-8"))
    started = time.perf_counter()
    _build(folder / "corpus", folder / "index")
    seconds = time.perf_counter() - started
    answer = {"build_seconds": seconds, **_search(folder / "index", wish)}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _build(corpus: Path, index: Path) -> None:
    """Indexes without positions, vectors or stored documents: BM25 needs none of them."""
    command = [sys.executable, "-P", "-m", "pyserini.index.lucene", "--collection", "JsonCollection"]
    command += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", str(os.cpu_count() or 1)]
    command += ["--input", str(corpus), "--index", str(index)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _search(folder: Path, wish: dict[str, Any]) -> dict[str, Any]:
    searcher = import_module("pyserini.search.lucene").LuceneSearcher(str(folder))
    searcher.set_bm25(wish["k1"], wish["b"])
    queries: dict[str, str] = wish["queries"]
    rankings = {
        id: [(hit.docid, float(hit.score)) for hit in _ask(searcher, text, wish["hits"])]
        for id, text in queries.items()
    }
    reader = import_module("pyserini.index.lucene").LuceneIndexReader(str(folder))
    timed = list(queries.values())[: wish["timed_queries"]]
    rows, busy = _time(lambda text: _ask(searcher, text, wish["timed_hits"]), timed, wish)
    return {
        "rankings": rankings,
        "milliseconds": rows,
        "busy": busy,
        "documents": searcher.num_docs,
        "index_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "peak_mb": read_peak(),
        **_terms(reader, queries.values(), searcher.num_docs),
    }


def _ask(searcher: Any, text: str, k: int) -> Iterable[Any]:
    """The hits of a query; Lucene refuses an empty one."""
    hits: Iterable[Any] = searcher.search(text, k) if text.strip() else []
    return hits


def _time(
    ask: Callable[[str], object], queries: list[str], wish: dict[str, Any]
) -> tuple[list[list[float]], bool]:
    """Milliseconds of each query in each repeat, once Java has compiled what is hot."""
    rows = []
    with one_core() if wish["pinned"] else contextlib.nullcontext():
        for query in queries[:200]:
            ask(query)
        busy = is_busy() if wish["pinned"] else False
        for _ in range(wish["repeats"]):
            rows.append(list(_milliseconds(ask, queries)))
    return rows, busy


def _milliseconds(ask: Callable[[str], object], queries: list[str]) -> Iterator[float]:
    for query in queries:
        started = time.perf_counter()
        ask(query)
        yield (time.perf_counter() - started) * 1e3


def _terms(reader: Any, queries: Iterable[str], documents: int) -> dict[str, float]:
    """Distinct terms of queries and documents, and the multiplications expected of a pair."""
    frequencies = {term.term: int(term.df) for term in reader.terms()}
    asked = [set(reader.analyze(text)) if text.strip() else set() for text in queries]
    met = sum(frequencies.get(term, 0) for terms in asked for term in terms)
    return {
        "query_terms": sum(len(terms) for terms in asked) / max(len(asked), 1),
        "document_terms": sum(frequencies.values()) / max(documents, 1),
        "flops": met / max(len(asked) * documents, 1),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
