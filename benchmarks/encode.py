"""Documents a second of one SPLADE model on every backend of lsr, beside sentence-transformers.

The peer is `sentence_transformers.SparseEncoder` in float32 on PyTorch, the batch size its best of three.
All systems encode the same real texts (pages of the demo corpus, or `--corpus`, joined until each has
`--tokens` words), on the same number of threads, each cut at that many tokens. Rounds go through the
systems in turn; a figure is the median of its rounds, and a ratio the median of the ratios within the
rounds. With `--quality`, NDCG@10 of each system on BEIR folders: exact float products of its own document and
query vectors. Peak memory is of a process of its own that loads one system and encodes.

    python benchmarks/encode.py MODEL_FOLDER --tokens 128 --tokens 256 --threads 1
    python benchmarks/encode.py MODEL_FOLDER --quality scifact --quality nfcorpus   # found through LSR_DATA

A table goes to stderr, JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SYSTEMS = ("sentence-transformers", "torch", "onnx", "onnx int8", "openvino", "openvino bf16", "torch cuda")


class Peer:
    """sentence-transformers' SparseEncoder."""

    def __init__(self, model: str, threads: int, device: str = "cpu") -> None:
        import torch
        import transformers
        from sentence_transformers import SparseEncoder

        torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.model = SparseEncoder(model, device=device)
        self.batch = 8

    def choose_batch(self, texts: Sequence[str], tokens: int) -> None:
        seconds = {}
        for self.batch in (8, 16, 32):
            seconds[self.batch] = timed(self.documents, texts, tokens)
        self.batch = min(seconds, key=lambda batch: seconds[batch])

    def documents(self, texts: Sequence[str], tokens: int | None = None):
        limit = self.model.max_seq_length
        self.model.max_seq_length = tokens or limit
        found = self.model.encode_document(list(texts), batch_size=self.batch, show_progress_bar=False)
        self.model.max_seq_length = limit
        return to_csr(found)

    def queries(self, texts: Sequence[str]):
        return to_csr(self.model.encode_query(list(texts), batch_size=self.batch, show_progress_bar=False))


class Ours:
    """One backend of lsr."""

    def __init__(self, model: str, threads: int, system: str) -> None:
        from lsr.encoders.neural import NeuralEncoder, NeuralModel, TextSide
        from lsr.encoders.sparse_folder import ModelSide, read_sparse_folder
        from lsr.encoders.table_queries import table_queries_of

        folder = read_sparse_folder(Path(model))
        backend = make_backend(folder, system, threads)
        documents = TextSide(folder.document.tokeniser(), backend, folder.document_prompt)
        symmetric = isinstance(folder.query, ModelSide)
        queries = (
            TextSide(documents.tokeniser, backend, folder.query_prompt)
            if symmetric
            else table_queries_of(folder)
        )
        facts = NeuralModel(folder.name, model, folder.fingerprint, folder.document.dimension)
        self.encoder = NeuralEncoder(facts, documents=documents, queries=queries)

    def documents(self, texts: Sequence[str], tokens: int | None = None):
        return self.encoder.encode_batch(texts, max_length=tokens).to_csr()

    def queries(self, texts: Sequence[str]):
        return self.encoder.encode_queries(texts)


def make_backend(folder, system: str, threads: int):
    from lsr.encoders.onnx_convert import graph_bytes

    side = folder.document
    if system.startswith("torch"):
        import torch

        from lsr.encoders.torch_backend import TorchBackend

        torch.set_num_threads(threads)
        return TorchBackend(side, device="cuda" if system.endswith("cuda") else "cpu")
    arithmetic = "int8" if system.endswith("int8") else "float32"
    masked = system.startswith("openvino")
    graph = graph_bytes(side, fingerprint=folder.fingerprint, arithmetic=arithmetic, masked=masked)
    if system.startswith("onnx"):
        from lsr.encoders.onnx_backend import OnnxBackend

        return OnnxBackend(graph, arithmetic=arithmetic, threads=threads)
    from lsr.encoders.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(
        graph, arithmetic="bfloat16" if system.endswith("bf16") else "float32", threads=threads
    )


def load(system: str, model: str, threads: int):
    if system == "sentence-transformers":
        return Peer(model, threads)
    return Ours(model, threads, system)


def to_csr(found):
    from scipy.sparse import csr_array

    found = found.coalesce().cpu()
    rows, columns = found.indices().numpy()
    return csr_array((found.values().float().numpy(), (rows, columns)), shape=tuple(found.shape))


def timed(encode: Callable[..., object], texts: Sequence[str], tokens: int) -> float:
    started = time.perf_counter()
    encode(texts, tokens)
    return time.perf_counter() - started


def make_texts(corpus: str | None, tokens: int, count: int) -> list[str]:
    """Real pages, joined in order until each text has more than `tokens` words."""
    from lsr.data.beir import BeirFolder
    from lsr.data.demo_corpus import demo_folder

    folder = BeirFolder(Path(corpus)) if corpus else demo_folder()
    pages = [document.text for document in folder.documents()]
    texts, place = [], 0
    while len(texts) < count:
        words: list[str] = []
        while len(words) < tokens:
            words += pages[place % len(pages)].split()
            place += 1
        texts.append(" ".join(words))
    return texts


def measure_speed(args: argparse.Namespace, systems: list[str]) -> list[dict]:
    loaded = {system: load(system, args.model, args.threads) for system in systems}
    results = []
    for tokens in args.tokens:
        texts = make_texts(args.corpus, tokens, args.documents)
        seconds: dict[str, list[float]] = {system: [] for system in systems}
        for system in systems:
            loaded[system].documents(texts[:8], tokens)
            if isinstance(loaded[system], Peer):
                loaded[system].choose_batch(texts, tokens)
        for _ in range(args.rounds):
            for system in systems:
                seconds[system].append(timed(loaded[system].documents, texts, tokens))
        for system in systems:
            rates = [len(texts) / s for s in seconds[system]]
            ratios = [p / s for p, s in zip(seconds[systems[0]], seconds[system], strict=True)]
            results.append(
                {
                    "system": system,
                    "tokens": tokens,
                    "documents_per_second": statistics.median(rates),
                    "spread": [min(rates), max(rates)],
                    "ratio": statistics.median(ratios),
                    "hours_per_million": 1e6 / statistics.median(rates) / 3600,
                }
            )
            if isinstance(loaded[system], Peer):
                results[-1]["batch_size"] = loaded[system].batch
    return results


def measure_memory(args: argparse.Namespace, system: str) -> float:
    """Peak resident MB of a process that loads one system and encodes."""
    command = [sys.executable, __file__, args.model, "--peak", system, "--threads", str(args.threads)]
    command += ["--tokens", str(max(args.tokens)), "--documents", str(args.documents)]
    command += ["--corpus", args.corpus] if args.corpus else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(args: argparse.Namespace) -> None:
    texts = make_texts(args.corpus, max(args.tokens), args.documents)
    load(args.peak, args.model, args.threads).documents(texts, max(args.tokens))
    # Not getrusage: its largest set counts the parent's from before the process had a program of its own.
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            print(int(line.split()[1]) / 1024)


def measure_quality(args: argparse.Namespace, systems: list[str]) -> list[dict]:
    from lsr.eval.datasets import load_datasets
    from lsr.eval.measures import ndcg_at

    results = []
    for system in systems:
        encoder = load(system, args.model, os.cpu_count() or 1)
        for dataset in load_datasets(args.quality):
            documents = list(dataset.documents())
            vectors = encoder.documents([document.text for document in documents])
            queries = encoder.queries(list(dataset.queries.values()))
            scores = (queries @ vectors.T).tocsr()
            ids = np.array([document.id for document in documents])
            found = []
            for row, query in enumerate(dataset.queries):
                part = slice(scores.indptr[row], scores.indptr[row + 1])
                order = np.lexsort((scores.indices[part], -scores.data[part]))[:11]
                ranking = [str(ids[i]) for i in scores.indices[part][order] if ids[i] != query][:10]
                found.append(ndcg_at(ranking, dataset.qrels[query]))
            results.append(
                {
                    "system": system,
                    "dataset": dataset.name,
                    "ndcg_at_10": statistics.fmean(found),
                    "document_terms": vectors.nnz / vectors.shape[0],
                    "query_terms": queries.nnz / queries.shape[0],
                }
            )
            print(json.dumps(results[-1]), file=sys.stderr)
    return results


def available() -> list[str]:
    found = ["onnx", "onnx int8"]
    if find_spec("openvino"):
        found += ["openvino", "openvino bf16"]
    if find_spec("torch") and find_spec("sentence_transformers"):
        import torch

        found = ["sentence-transformers", "torch", *found]
        found += ["torch cuda"] if torch.cuda.is_available() else []
    return found


def table(results: list[dict]) -> str:
    lines = [f"{'system':22} {'tokens':>6} {'docs/s':>8} {'ratio':>6} {'h/million':>9}"]
    for row in results:
        lines.append(
            f"{row['system']:22} {row['tokens']:6d} {row['documents_per_second']:8.1f} "
            f"{row['ratio']:6.2f} {row['hours_per_million']:9.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a folder of a BERT-type SPLADE model")
    parser.add_argument("--tokens", type=int, action="append")
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS)
    parser.add_argument("--corpus", help="a BEIR folder instead of the demo corpus")
    parser.add_argument("--quality", action="append", help="a BEIR folder, or a name found through LSR_DATA")
    parser.add_argument("--peak", choices=SYSTEMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.tokens = args.tokens or [128, 256]
    if args.peak:
        return print_peak(args)
    systems = args.systems or available()
    report = {
        "model": Path(args.model).name,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": args.threads,
        "versions": {name: version(name) for name in ("onnxruntime", "torch", "sentence-transformers")},
    }
    if args.quality:
        report["quality"] = measure_quality(args, systems)
    else:
        report["speed"] = measure_speed(args, systems)
        print(table(report["speed"]), file=sys.stderr)
        report["peak_mb"] = {system: round(measure_memory(args, system)) for system in systems}
    print(json.dumps(report, indent=1))
    return None


if __name__ == "__main__":
    main()
