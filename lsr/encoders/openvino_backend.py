"""Runs a converted masked language model on OpenVINO, on the CPU: bfloat16 where the processor has it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.onnx_backend import run_batches
from lsr.encoders.processor import usable_cores
from lsr.encoders.rows import Row
from lsr.errors import MissingExtraError

_TOKENS = 256
_BUCKET = 16
_PADDING = -1
_FIRST_USE = threading.Lock()


class OpenVinoBackend:
    """Token ids to sparse rows, one stream a core.

    OpenVINO prepares its kernels for each length it meets, so texts are padded to a few lengths. How far
    is up to the text's own length alone, and a row does not depend on its neighbours.

    Args:
        graph: A float32, masked model of `lsr.encoders.onnx_graph`.
        arithmetic: `"float32"`, or `"bfloat16"` for products in bfloat16 with sums in float32.
        threads: Runs at the same time; 0 for all cores.
        longest: Positions that the model has.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        arithmetic: Literal["float32", "bfloat16"] = "float32",
        threads: int = 0,
        longest: int = 512,
    ) -> None:
        try:
            from openvino import Core
        except ImportError:
            raise MissingExtraError("Encoding with OpenVINO", "openvino") from None
        self.name = "openvino" if arithmetic == "float32" else "openvino bf16"
        self.threads = threads or usable_cores()
        self._longest = longest
        core = Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if arithmetic == "float32" else "bf16",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.threads,
        }
        model = core.compile_model(core.read_model(graph), "CPU", settings)
        self._outputs = [model.output(name) for name in ("rows", "columns", "weights")]
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.threads):
            self._idle.put(model.create_infer_request())
        # The first arrays that pass through OpenVINO's binding set up its link to NumPy. Two threads that do
        # so at once wait for each other for ever: one holds a lock of C++, the other the interpreter's.
        with _FIRST_USE:
            self._run(np.zeros((1, 2), np.int64))

    def encode(self, rows: Sequence[Sequence[int]]) -> list[Row]:
        """See `lsr.encoders.neural.Backend.encode`."""
        padded = [[*row, *[_PADDING] * self._missing(len(row))] for row in rows]
        return run_batches(self._run, padded, tokens=_TOKENS, threads=self.threads)

    def _missing(self, length: int) -> int:
        return max(min(-length % _BUCKET, self._longest - length), 0)

    def _run(self, ids: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        mask = (ids != _PADDING).astype(np.int64)
        request = self._idle.get()
        try:
            request.infer({"input_ids": np.where(mask, ids, 0), "attention_mask": mask})
            # The request owns its outputs and writes over them in its next run.
            found = [np.array(request.get_tensor(output).data) for output in self._outputs]
        finally:
            self._idle.put(request)
        return found[0], found[1], found[2]
