"""The demo: the corpus that ships is indexed and searched for real, by a learned encoder and by BM25.

Both encoders run on the same engine, so that what differs is the terms and their weights alone. The
questions were written before any search (see `lsr/data/demo/ATTRIBUTION.md`); all of them are measured,
and three are picked to be looked at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsr.api import Index
from lsr.asking import Matched
from lsr.data.demo_corpus import demo_folder
from lsr.eval.measures import ndcg_at
from lsr.highlight import Highlighter, Snippet
from lsr.types import Hit

BASELINE = "bm25"
DEPTH = 10
SNIPPET = 150


@dataclass(frozen=True, slots=True)
class Found:
    """One hit of one question.

    Attributes:
        hit: The hit.
        relevant: Whether the page was judged to answer the question, before any search.
        matched: Its terms.
        snippet: The part of its text that shows them.
    """

    hit: Hit
    relevant: bool
    matched: Matched
    snippet: Snippet


@dataclass(frozen=True, slots=True)
class Shown:
    """A question that is shown.

    Attributes:
        question: Its text.
        why: Why it was picked.
        ndcg: NDCG@10 of each system, in their order.
        hits: The best hits of each system, in their order.
        first: For each system the rank of the first page that answers it, None if not among the first ten.
    """

    question: str
    why: str
    ndcg: tuple[float, ...]
    hits: tuple[tuple[Found, ...], ...]
    first: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class System:
    """One encoder on the engine.

    Attributes:
        name: The encoder's resolved name.
        ndcg_at_10: The mean over all questions.
        build_seconds: Loading, encoding and indexing.
        milliseconds: Median time of a question, text to hits.
        index_bytes: The size of its index.
    """

    name: str
    ndcg_at_10: float
    build_seconds: float
    milliseconds: float
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Demo:
    """Everything that the demo found.

    Attributes:
        documents: Pages in the corpus.
        questions: How many were asked.
        systems: The learned encoder, and the baseline.
        shown: The questions to be looked at.
        better: Questions on which the learned encoder's NDCG@10 is the higher one.
        worse: Those on which it is the lower one.
        seconds: All of it.
    """

    documents: int
    questions: int
    systems: tuple[System, ...]
    shown: tuple[Shown, ...]
    better: int
    worse: int
    seconds: float


def run_demo(folder: Path, *, encoder: str = "default", top: int = 3, overwrite: bool = False) -> Demo:
    """Builds two indexes in `folder` and asks all questions.

    Args:
        folder: Where the indexes go: the learned one and, beside it, the baseline's.
        encoder: The learned encoder.
        top: How many hits of the questions that are shown.
        overwrite: Replace an index of an earlier demo.
    """
    started = time.perf_counter()
    corpus = demo_folder()
    documents = [document.fields for document in corpus.documents()]
    queries, qrels = corpus.queries(), corpus.qrels("test")
    indexes, systems, scores = [], [], []
    for name, path in ((encoder, folder / "demo.lsr"), (BASELINE, folder / "demo-bm25.lsr")):
        begun = time.perf_counter()
        index = Index.create(path, name, overwrite=overwrite)
        index.add(documents, progress=True)
        built = time.perf_counter() - begun
        ndcg, milliseconds = _ask(index, queries, qrels)
        size = sum(file.stat().st_size for file in path.iterdir())
        mean = sum(ndcg.values()) / len(ndcg)
        systems.append(System(str(index.settings.encoder_name), mean, built, milliseconds, size))
        indexes.append(index)
        scores.append(ndcg)
    shown = tuple(
        _show(indexes, queries[id], qrels[id], why, tuple(s[id] for s in scores), top)
        for id, why in _pick(scores[0], scores[1])
    )
    gains = [scores[0][id] - scores[1][id] for id in qrels]
    for index in indexes:
        index.close()
    return Demo(
        documents=len(documents),
        questions=len(qrels),
        systems=tuple(systems),
        shown=shown,
        better=sum(gain > 1e-9 for gain in gains),
        worse=sum(gain < -1e-9 for gain in gains),
        seconds=time.perf_counter() - started,
    )


def _ask(
    index: Index, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, float], float]:
    """NDCG@10 of every judged question, and the median milliseconds of one."""
    index.search("warm up", DEPTH)
    ndcg, times = {}, []
    for id, judged in qrels.items():
        begun = time.perf_counter()
        hits = index.search(queries[id], DEPTH)
        times.append(time.perf_counter() - begun)
        ndcg[id] = ndcg_at([hit.id for hit in hits], judged)
    return ndcg, sorted(times)[len(times) // 2] * 1000


def _pick(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[tuple[str, str]]:
    """The two questions that gain most, and one that loses most, so that nobody is shown victories alone."""
    order = sorted(ours, key=lambda id: (theirs[id] - ours[id], id))
    picked = [(id, "the learned terms help most here") for id in order[:2]]
    last = order[-1]
    if ours[last] < theirs[last] - 1e-9:
        picked.append((last, "and BM25 is better here"))
    else:
        picked.append((order[len(order) // 2], "an ordinary one"))
    return picked


def _show(
    indexes: Sequence[Index],
    question: str,
    judged: Mapping[str, int],
    why: str,
    ndcg: tuple[float, ...],
    top: int,
) -> Shown:
    found, first = [], []
    for index in indexes:
        highlighter = Highlighter(index.query_side)
        hits = index.search(question, DEPTH)
        first.append(next((rank for rank, hit in enumerate(hits, 1) if judged.get(hit.id, 0) > 0), None))
        rows = []
        for hit in hits[:top]:
            matched = index.matched(question, hit.id)
            snippet = highlighter.snippet(str(hit.document["text"]), matched, SNIPPET)
            rows.append(Found(hit, judged.get(hit.id, 0) > 0, matched, snippet))
        found.append(tuple(rows))
    return Shown(question, why, ndcg, tuple(found), tuple(first))
