"""From a SparseEncoder folder to an encoder on the fastest backend that is installed.

On the CPU: OpenVINO if it is there, else ONNX Runtime (always there), else PyTorch for model families that
are not converted. `precision="fast"` takes bfloat16 where processor and backend have it, else int8.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from lsr.encoders.neural import Backend, NeuralEncoder, NeuralModel, TextSide
from lsr.encoders.processor import cuda_devices, has_8_bit_products, has_bfloat16, is_installed
from lsr.encoders.rows import RowLimits
from lsr.encoders.sparse_folder import ModelSide, SparseFolder, TableSide
from lsr.encoders.table_queries import TableQueries, table_queries_of
from lsr.encoders.tokens import NO_LIMIT
from lsr.errors import MissingExtraError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fast"]
Role = Literal["document", "query"]


def load_sparse_encoder(
    folder: SparseFolder, *, device: Device = "auto", precision: Precision = "auto"
) -> NeuralEncoder:
    """The encoder of a folder.

    Args:
        folder: As `read_sparse_folder` gives it.
        device: `"auto"` takes a GPU if there is one and PyTorch is installed.
        precision: `"auto"` computes in float32 on the CPU.

    Raises:
        MissingExtraError: A backend that this model or device needs is not installed.
        InputError: A damaged folder, or no such device.
    """
    document = _text_side(folder, "document", folder.document, device, precision)
    queries: TextSide | TableQueries
    if isinstance(folder.query, TableSide):
        queries = table_queries_of(folder)
    elif folder.query == folder.document:
        queries = replace(document, prompt=folder.query_prompt)
    else:
        queries = _text_side(folder, "query", folder.query, device, precision)
    model = NeuralModel(
        name=folder.name,
        path=str(folder.path.resolve()),
        fingerprint=folder.fingerprint,
        dimension=folder.document.dimension,
        max_document_weight=folder.max_document_weight,
        limits=RowLimits(folder.max_active_dims, folder.pruning_ratio),
        query_limits=RowLimits(folder.max_active_dims),
    )
    return NeuralEncoder(model, documents=document, queries=queries)


def _text_side(
    folder: SparseFolder, role: Role, side: ModelSide, device: Device, precision: Precision
) -> TextSide:
    prompt = folder.document_prompt if role == "document" else folder.query_prompt
    backend = choose_backend(folder, role, side, device=device, precision=precision)
    tokeniser = side.tokeniser()
    known = side.dimension if len(tokeniser.vocabulary) > side.dimension else None
    return TextSide(tokeniser, backend, prompt, side.longest, known)


def choose_backend(
    folder: SparseFolder,
    role: Role,
    side: ModelSide,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
) -> Backend:
    """The fastest backend that is installed for a side; see the module's first paragraph."""
    from lsr.encoders.onnx_convert import can_convert

    on_gpu = device == "cuda" or (device == "auto" and _has_gpu())
    if not on_gpu and can_convert(side):
        return _converted(folder, role, side, precision)
    if not is_installed("torch", "transformers"):
        what = "Encoding on a GPU" if on_gpu else f"A model of the type {side.config.get('model_type')!r}"
        raise MissingExtraError(what, "torch")
    from lsr.encoders.torch_backend import TorchBackend

    return TorchBackend(
        side, device="cuda" if on_gpu else "cpu", precision=precision, excluded=folder.excluded
    )


def _has_gpu() -> bool:
    """Whether there is a GPU that PyTorch can use: a PyTorch built for the CPU can use none."""
    if cuda_devices() == 0 or not is_installed("torch", "transformers"):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _converted(folder: SparseFolder, role: Role, side: ModelSide, precision: Precision) -> Backend:
    from lsr.encoders.onnx_backend import OnnxBackend
    from lsr.encoders.onnx_convert import graph_bytes
    from lsr.encoders.onnx_graph import Arithmetic

    graph = partial(graph_bytes, side, fingerprint=folder.fingerprint, role=role, excluded=folder.excluded)
    openvino = is_installed("openvino")
    if openvino and (precision == "auto" or has_bfloat16()):
        from lsr.encoders.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(
            graph(masked=True),
            arithmetic="float32" if precision == "auto" else "bfloat16",
            longest=side.longest or NO_LIMIT,
        )
    arithmetic: Arithmetic = "float32"
    if precision == "fast":
        arithmetic = "int8" if has_8_bit_products() else "int7"
    return OnnxBackend(graph(arithmetic=arithmetic), arithmetic=arithmetic)
