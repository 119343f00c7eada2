"""Sparse vectors of real passages, in the form in which `search.py --data FOLDER` reads them.

The passages are a seeded sample of all corpora below a folder (BEIR layout), equal texts counted once; the
queries a seeded sample of all queries there are, without those whose text is a passage of the sample. An
inference-free encoder gives `q_idf.npz` (weighted by the document frequencies of the sample where the
encoder wants a corpus' own), one that reads its queries `q_splade.npz`. Chunks are kept as they come, so a
run that was interrupted goes on where it stopped.

    python benchmarks/real_vectors.py --data-dir DATA --encoder default --output real-default
    python benchmarks/real_vectors.py --data-dir DATA --encoder SPLADE_FOLDER --output real-splade

Progress goes to stderr, one line a chunk; `about.json` says what was encoded.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

CHUNK = 2000
KINDS = ("idf", "splade")


@dataclass(frozen=True)
class Sample:
    """What is encoded, and how many there were to choose from."""

    passages: list[str]
    queries: list[str]
    found: dict[str, int]


@dataclass(frozen=True)
class SampleStatistics:
    """Document frequencies of the sample: columns that are words of a text, not learned ones."""

    documents: int
    frequencies: np.ndarray

    def document_frequencies(self, columns: np.ndarray) -> np.ndarray:
        return self.frequencies[columns]


def draw_sample(folder: Path, args: argparse.Namespace) -> Sample:
    """Read every corpus and every query, and draw; the order of folders and lines is fixed."""
    passages, corpora = distinct(corpus_texts(folder), args.min_words)
    queries, _ = distinct(query_texts(folder), 2)
    rng = np.random.default_rng(args.seed)
    chosen = [passages[i] for i in rng.permutation(len(passages))[: args.passages]]
    known = set(chosen)
    asked = [queries[i] for i in rng.permutation(len(queries))]
    asked = [text for text in asked if text not in known][: args.queries]
    found = {"corpora": corpora, "passages": len(passages), "queries": len(queries)}
    return Sample(chosen, asked, found)


def distinct(groups: Iterable[Iterable[str]], words: int) -> tuple[list[str], int]:
    """Texts of at least so many words, each once, in the order of their first occurrence."""
    texts: dict[str, None] = {}
    count = 0
    for group in groups:
        count += 1
        texts.update((text, None) for text in group if len(text.split()) >= words)
    return list(texts), count


def corpus_texts(folder: Path) -> Iterator[Iterator[str]]:
    from lsr.data.beir import BeirFolder
    from lsr.data.sources import beir_corpus

    for path in sorted(folder.iterdir()):
        if path.is_dir() and beir_corpus(path) is not None:
            yield (document.text for document in BeirFolder(path).documents())


def query_texts(folder: Path) -> Iterator[Iterator[str]]:
    from lsr.data.beir import BeirFolder, find_queries

    for path in sorted(folder.iterdir()):
        if path.is_dir() and find_queries(path) is not None:
            yield iter(BeirFolder(path).queries().values())


def encode_passages(encoder, passages: list[str], args: argparse.Namespace) -> Iterator[Path]:
    """Encode what has no chunk yet; each chunk is its vectors and the frequencies of its own words."""
    started, done = time.time(), 0
    for start in range(0, len(passages), CHUNK):
        path = args.output / f"chunk-{start:07d}.npz"
        if not path.exists():
            texts = passages[start : start + CHUNK]
            batch = encoder.encode_batch(texts, max_length=args.max_length)
            write_chunk(path, batch)
            done += len(texts)
            rate = done / (time.time() - started)
            print(f"{start + len(texts):,} of {len(passages):,}, {rate:.0f} a second", file=sys.stderr)
        yield path


def write_chunk(path: Path, batch) -> None:
    words = batch.indices if batch.lexical is None else batch.indices[batch.lexical]
    own = np.bincount(words, minlength=batch.dimension)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file, indptr=batch.indptr, indices=batch.indices, values=batch.values, own=own.astype(np.int32)
        )
    part.replace(path)


def join_chunks(paths: list[Path]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """The vectors of all chunks, and in how many texts each column is a word."""
    rows, own = [], np.zeros(0, np.int64)
    for path in paths:
        with np.load(path) as chunk:
            shape = (len(chunk["indptr"]) - 1, len(chunk["own"]))
            rows.append(sparse.csr_matrix((chunk["values"], chunk["indices"], chunk["indptr"]), shape=shape))
            own = own + chunk["own"] if own.size else chunk["own"].astype(np.int64)
    return sparse.vstack(rows, format="csr"), own


def encode_queries(encoder, texts: list[str], statistics: SampleStatistics):
    """The queries' vectors, and their kind."""
    if encoder.query_side().weighs_by_corpus and encoder.default_query_weights == "corpus":
        weighed = [encoder.query_side().weigh(text, statistics) for text in texts]
        columns = np.concatenate([columns for columns, _ in weighed])
        weights = np.concatenate([weights for _, weights in weighed])
        indptr = np.cumsum([0, *(len(columns) for columns, _ in weighed)])
        return sparse.csr_matrix((weights, columns, indptr), shape=(len(texts), encoder.dimension)), "idf"
    vectors = sparse.csr_matrix(encoder.encode_queries(texts))
    kind = "splade" if type(encoder.query_side()).__name__ == "NeuralQueries" else "idf"
    return vectors, kind


def drop_unused(docs: sparse.csr_matrix, queries: sparse.csr_matrix):
    """Leave out columns that no document has: peers take 16-bit columns, and none of them scores."""
    used = np.flatnonzero(np.bincount(docs.indices, minlength=docs.shape[1]))
    place = np.full(docs.shape[1], -1, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    docs = sparse.csr_matrix((docs.data, place[docs.indices], docs.indptr), shape=(docs.shape[0], len(used)))
    queries = sparse.csr_matrix(sparse.csc_matrix(queries)[:, used])
    return docs, queries[np.diff(queries.indptr) > 0]


def write_folder(output: Path, docs, queries, kind: str, about: dict) -> None:
    docs, queries = drop_unused(docs, queries)
    for matrix, name in ((docs, "docs"), (queries, f"q_{kind}")):
        matrix.sort_indices()
        sparse.save_npz(output / f"{name}.npz", matrix.astype(np.float32), compressed=False)
    about |= {
        "documents": docs.shape[0],
        "columns_used": docs.shape[1],
        "terms_a_document": docs.nnz / docs.shape[0],
        "queries": queries.shape[0],
        "terms_a_query": queries.nnz / queries.shape[0],
        "query_kind": kind,
    }
    (output / "about.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    print(json.dumps(about, indent=2))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of BEIR folders")
    parser.add_argument("--encoder", default="default")
    parser.add_argument("--precision", default="auto", choices=("auto", "fast"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--min-words", type=int, default=20, help="words that a passage has at least")
    parser.add_argument("--max-length", type=int, default=128, help="word pieces that the model reads")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    args = read_arguments()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-args.threads :]))
    from lsr import load_encoder

    args.output.mkdir(parents=True, exist_ok=True)
    sample = draw_sample(args.data_dir, args)
    encoder = load_encoder(args.encoder, device="cpu", precision=args.precision)
    docs, own = join_chunks(list(encode_passages(encoder, sample.passages, args)))
    queries, kind = encode_queries(encoder, sample.queries, SampleStatistics(docs.shape[0], own))
    about = {"encoder": encoder.name, "max_length": args.max_length, "seed": args.seed, **sample.found}
    write_folder(args.output, docs, queries, kind, about)


if __name__ == "__main__":
    main()
