"""From a SparseEncoder folder to an encoder on the fastest backend that is installed.

On the CPU: OpenVINO if it is there, else ONNX Runtime (always there), else PyTorch for model families that
are not converted. `precision="fast"` takes bfloat16 where processor and backend have it, else int8.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from lsr.encoders.neural import Backend, NeuralEncoder, NeuralModel, TextSide
from lsr.encoders.processor import cuda_devices, has_8_bit_products, has_bfloat16
from lsr.encoders.rows import RowLimits
from lsr.encoders.sparse_folder import ModelSide, SparseFolder, TableSide
from lsr.encoders.table_queries import TableQueries, table_queries_of
from lsr.errors import MissingExtraError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fast"]


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
    document = _text_side(folder, folder.document, folder.document_prompt, device, precision)
    queries: TextSide | TableQueries
    if isinstance(folder.query, TableSide):
        queries = table_queries_of(folder)
    elif folder.query == folder.document:
        queries = TextSide(document.tokeniser, document.backend, folder.query_prompt)
    else:
        queries = _text_side(folder, folder.query, folder.query_prompt, device, precision)
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
    folder: SparseFolder, side: ModelSide, prompt: str, device: Device, precision: Precision
) -> TextSide:
    return TextSide(side.tokeniser(), choose_backend(folder, side, device, precision), prompt)


def choose_backend(
    folder: SparseFolder, side: ModelSide, device: Device = "auto", precision: Precision = "auto"
) -> Backend:
    """The fastest backend that is installed for a side; see the module's first paragraph."""
    from lsr.encoders.onnx_convert import can_convert

    on_gpu = device == "cuda" or (device == "auto" and cuda_devices() > 0 and find_spec("torch") is not None)
    if not on_gpu and can_convert(side):
        return _converted(folder, side, precision)
    if find_spec("torch") is None or find_spec("transformers") is None:
        what = "Encoding on a GPU" if on_gpu else f"A model of the type {side.config.get('model_type')!r}"
        raise MissingExtraError(what, "torch")
    from lsr.encoders.torch_backend import TorchBackend

    return TorchBackend(
        side, device="cuda" if on_gpu else "cpu", precision=precision, excluded=folder.excluded
    )


def _converted(folder: SparseFolder, side: ModelSide, precision: Precision) -> Backend:
    from lsr.encoders.onnx_backend import OnnxBackend
    from lsr.encoders.onnx_convert import graph_bytes
    from lsr.encoders.onnx_graph import Arithmetic

    openvino = find_spec("openvino") is not None
    if openvino and (precision == "auto" or has_bfloat16()):
        from lsr.encoders.openvino_backend import OpenVinoBackend

        graph = graph_bytes(side, fingerprint=folder.fingerprint, excluded=folder.excluded, masked=True)
        return OpenVinoBackend(
            graph,
            arithmetic="float32" if precision == "auto" else "bfloat16",
            longest=int(side.config["max_position_embeddings"]),
        )
    arithmetic: Arithmetic = "float32"
    if precision == "fast":
        arithmetic = "int8" if has_8_bit_products() else "int7"
    graph = graph_bytes(side, fingerprint=folder.fingerprint, excluded=folder.excluded, arithmetic=arithmetic)
    return OnnxBackend(graph, arithmetic=arithmetic)
