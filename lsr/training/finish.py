"""The end of a run: the model folder, its ONNX graphs with what they lose, the card, the log."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from lsr.encoders.loading import load_encoder
from lsr.encoders.neural import Backend, NeuralEncoder
from lsr.encoders.pretrained import quiet
from lsr.encoders.sparse_folder import is_sparse_folder, read_sparse_folder
from lsr.progress import say
from lsr.training.card_training import write_training_card
from lsr.training.collection import Collection, Dev
from lsr.training.dev import ndcg_of
from lsr.training.log_plot import write_plot
from lsr.training.monitor import read_log
from lsr.training.recipe_distil import DistilRecipe
from lsr.training.student_base import Student
from lsr.training.texts import TextSource
from lsr.training.trainer import StageReport

_MEASURED = 500
"""Documents that the exported graphs are compared on, beside those that dev queries need."""


def finish(
    student: Student,
    output: Path,
    work: Path,
    recipe: DistilRecipe,
    source: TextSource,
    collection: Collection,
    reports: Sequence[StageReport],
) -> dict[str, dict[str, float]]:
    """Write the model folder.

    Args:
        student: With the weights that are shipped.
        output: The folder to make.
        work: The folder of the run, with its log.
        recipe: What was asked for.
        source: What was read, and what was left out.
        collection: Of the last stage; its dev part measures the exports.
        reports: What each stage did.

    Returns:
        What the exports lose, by arithmetic; empty for models that are not exported.
    """
    student.to("cpu")
    student.eval()
    with quiet():
        student.save(output)
    exported = export_onnx(output, collection) or compare_projected(student, output, collection)
    rows = read_log(work / "log.csv")
    write_plot(rows, work / "log.svg")
    training = output / "training"
    training.mkdir()
    for name in ("log.csv", "log.svg", "recipe.json"):
        if (work / name).is_file():
            shutil.copyfile(work / name, training / name)
    write_training_card(output, recipe, source, collection, reports, exported)
    return exported


def export_onnx(output: Path, collection: Collection) -> dict[str, dict[str, float]]:
    """Write `onnx/document.onnx` in float32 and int8 where the architecture is converted, and measure both.

    Returns:
        By arithmetic: the largest difference of a weight to PyTorch's, over PyTorch's largest weight; and
        NDCG@10 on a part of the dev set for `torch` and each graph, where there is one.
    """
    if not is_sparse_folder(output):
        return {}
    from lsr.encoders.onnx_backend import OnnxBackend
    from lsr.encoders.onnx_convert import can_convert, graph_bytes
    from lsr.encoders.processor import has_8_bit_products
    from lsr.encoders.torch_backend import TorchBackend

    folder = read_sparse_folder(output)
    side = folder.document
    if not can_convert(side):
        return {}
    say("Exporting to ONNX")
    small: Any = "int8" if has_8_bit_products() else "int7"
    encoder: Any = load_encoder(output, device="cpu")
    backends: dict[str, Backend] = {"torch": TorchBackend(side, excluded=folder.excluded)}
    (output / "onnx").mkdir(exist_ok=True)
    graphs: tuple[tuple[Any, str], ...] = (("float32", "document.onnx"), (small, f"document_{small}.onnx"))
    for arithmetic, name in graphs:
        graph = graph_bytes(
            side, fingerprint=folder.fingerprint, excluded=folder.excluded, arithmetic=arithmetic
        )
        (output / "onnx" / name).write_bytes(graph)
        backends[arithmetic] = OnnxBackend(graph, arithmetic=arithmetic)
    return compare_backends(encoder, backends, collection)


def compare_projected(student: Student, output: Path, collection: Collection) -> dict[str, dict[str, float]]:
    """What a projected model loses by the int8 arithmetic of its folder: see `compare_backends`."""
    if student.kind != "projected":
        return {}
    dev, texts = _texts(collection)
    tokens = [student.tokenise([text]) for text in texts]
    with torch.no_grad():
        first = vstack([csr_array(student.documents(one).numpy()) for one in tokens]).tocsr()
    encoder = load_encoder(output)
    second = encoder.encode_documents(texts)
    largest = max(float(first.max()), 1e-9)
    found: dict[str, dict[str, float]] = {
        "torch": {},
        "int8": {"largest_difference": round(float(abs(first - second).max()) / largest, 6)},
    }
    if dev is not None:
        queries = encoder.encode_queries(dev.queries)
        found["torch"]["ndcg_at_10"] = round(ndcg_of(queries, first, dev), 5)
        found["int8"]["ndcg_at_10"] = round(ndcg_of(queries, second, dev), 5)
    return found


def compare_backends(
    encoder: NeuralEncoder, backends: Mapping[str, Backend], collection: Collection
) -> dict[str, dict[str, float]]:
    """Run an encoder of word pieces on each backend; the first is what the others are held against."""
    dev, texts = _texts(collection)
    queries = None if dev is None else encoder.encode_queries(dev.queries)
    found: dict[str, dict[str, float]] = {}
    first: Any = None
    for name, backend in backends.items():
        documents = with_backend(encoder, backend).encode_documents(texts)
        facts: dict[str, float] = {}
        if first is None:
            first = documents
        else:
            largest = max(float(first.max()), 1e-9) if first.nnz else 1.0
            facts["largest_difference"] = round(float(abs(first - documents).max()) / largest, 6)
        if dev is not None and queries is not None:
            facts["ndcg_at_10"] = round(ndcg_of(queries, documents, dev), 5)
        found[name] = facts
    return found


def with_backend(encoder: NeuralEncoder, backend: Backend) -> NeuralEncoder:
    """The same encoder with its documents on another backend."""
    documents = replace(encoder.documents, backend=backend)
    return NeuralEncoder(encoder.model, documents=documents, queries=encoder.queries)


def _texts(collection: Collection) -> tuple[Dev | None, list[str]]:
    """The small dev part, and the documents that exports are compared on."""
    dev = _small_dev(collection)
    numbers = dev.documents if dev is not None else np.arange(min(_MEASURED, len(collection.documents)))
    return dev, [collection.documents[i] for i in numbers]


def _small_dev(collection: Collection) -> Dev | None:
    """The dev part with no more documents than a comparison needs."""
    dev = collection.dev
    if dev is None:
        return None
    needed = np.unique(dev.positives[:, 1])[:_MEASURED]
    rest = np.setdiff1d(dev.documents, needed)[:_MEASURED]
    documents = np.sort(np.concatenate([needed, rest]))
    inside = np.isin(dev.positives[:, 1], documents)
    return Dev(dev.queries, dev.positives[inside], documents)
