"""NDCG@10 on the dev part: held-out queries of the training sets, searched in a sample of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lsr.eval.measures import ndcg_at
from lsr.training.collection import Collection, Dev
from lsr.training.step import GradCache, Role

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def measure_dev(cache: GradCache, collection: Collection, *, keep: int | None = None) -> float:
    """NDCG@10 of a student as it stands.

    Args:
        cache: The student with its batch size and arithmetic; all processes take part.
        collection: Its dev part is measured.
        keep: Heaviest terms kept of a document; None for all.

    Returns:
        The mean over dev queries; nan if there is no dev part.
    """
    dev = collection.dev
    if dev is None or not len(dev.queries):
        return float("nan")
    student = cache.student
    training = bool(getattr(student, "training", False))
    if isinstance(student, torch.nn.Module):
        student.eval()
    try:
        documents = sparse_vectors(cache, [collection.documents[i] for i in dev.documents], "document", keep)
        queries = sparse_vectors(cache, dev.queries, "query")
    finally:
        if isinstance(student, torch.nn.Module):
            student.train(training)
    return ndcg_of(queries, documents, dev)


def sparse_vectors(cache: GradCache, texts: Sequence[str], role: Role, keep: int | None = None) -> csr_array:
    """Vectors of many texts, float32 [n, V]; each process encodes its share."""
    from scipy.sparse import csr_array, vstack

    own = cache.processes.own(len(texts))
    parts = [csr_array((0, cache.student.dimension), dtype=np.float32)]
    for start in range(own.start, own.stop, cache.micro_batch):
        stop = min(start + cache.micro_batch, own.stop)
        with torch.no_grad():
            vectors = cache.encode(role, texts[start:stop], 0, start)
            if keep is not None and keep < vectors.shape[1]:
                least = vectors.topk(keep, dim=1).values[:, -1:]
                vectors = torch.where(vectors >= least, vectors, torch.zeros_like(vectors))
        parts.append(csr_array(vectors.cpu().numpy()))
    return csr_array(vstack(list(cache.processes.gather_objects(vstack(parts)))))


def ndcg_of(queries: csr_array, documents: csr_array, dev: Dev) -> float:
    """NDCG@10 of inner products, equal ones in the order of documents.

    Args:
        queries: [d, V].
        documents: [n, V], one for each of `dev.documents`.
        dev: The judgements.
    """
    wanted: list[dict[str, int]] = [{} for _ in dev.queries]
    for query, document in dev.positives:
        wanted[query][str(document)] = 1
    values = []
    transposed = documents.T.tocsc()
    for row, judgements in enumerate(wanted):
        scores = np.asarray((queries[[row]] @ transposed).todense()).ravel()
        values.append(ndcg_at([str(d) for d in best(scores, dev.documents)], judgements))
    return float(np.mean(values))


def best(scores: NDArray[np.float32], numbers: NDArray[np.int64], k: int = 10) -> NDArray[np.int64]:
    """The numbers of the k largest scores above 0.

    Example:
        >>> best(np.array([0.0, 2.0, 1.0], np.float32), np.array([7, 8, 9])).tolist()
        [8, 9]
    """
    order = np.argsort(-scores, kind="stable")[:k]
    return numbers[order[scores[order] > 0]]
