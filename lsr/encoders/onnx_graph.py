"""A masked language model and its whole sparse head as one ONNX graph, built without PyTorch.

Input: `input_ids` int64 [B, L], B texts of the same length, so that nothing is padded and nothing masked;
a masked graph has `attention_mask` int64 [B, L] beside it, and texts are padded on the right. Outputs, the
non-zero weights of all rows in order: `rows` int64 [m], `columns` int64 [m], `weights` float32 [m].

The head never holds [B, L, V]. The vocabulary is cut into parts that fit a processor's cache; each part is
multiplied, reduced over the tokens at once, and let go. Because log(1 + relu(x + bias)) never falls
as x grows, the maximum is taken of the bare products (Formal et al. 2021, *SPLADE v2*, eq. 6, regrouped):
bias and logarithms are worked out once a term instead of once a token and term. With int8 weights the
maximum is taken of the integer sums, for the same reason: one scale holds for all tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.onnx_weights import Layer, Linear, MaskedLM, Norm

if TYPE_CHECKING:
    from onnx import ModelProto

VERSION = 3
"""Part of the key under which a converted graph is cached."""

Arithmetic = Literal["float32", "int8", "int7"]

_OPSET = 17
_IR_VERSION = 9
_PART = 2048
_GROUPS = 8


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How the head pools.

    Attributes:
        pool: `"max"` or `"sum"` over the tokens.
        activation: `"relu"`: log(1 + relu(x)); `"log1p_relu"`: log(1 + log(1 + relu(x))).
        excluded: Columns that are not computed.
        masked: Whether the graph takes a mask.
    """

    pool: str = "max"
    activation: str = "relu"
    excluded: tuple[int, ...] = ()
    masked: bool = False


def build_graph(
    model: MaskedLM, options: HeadOptions | None = None, *, arithmetic: Arithmetic = "float32"
) -> ModelProto:
    """Build the graph.

    Args:
        model: The weights.
        options: How the head pools.
        arithmetic: `"float32"`; `"int8"` for weights of 8 bits a column and activations of 8 bits a text
            (then B must be 1: a text's step must not depend on its neighbours); `"int7"` for
            processors whose 8-bit products saturate in 16 bits (no VNNI).

    Returns:
        An `onnx.ModelProto` of opset 17.

    Raises:
        MissingExtraError: The package onnx is not installed.
    """
    options = options or HeadOptions()
    return _Builder(arithmetic, options.masked).build(model, options)


@dataclass(slots=True)
class _Builder:
    arithmetic: Arithmetic
    masked: bool
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    _quantised: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    _away: str = ""

    # Pieces of a graph

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.add_many(kind, inputs, 1, **attributes)[0]

    def add_many(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def constant(self, value: NDArray[Any], name: str = "") -> str:
        from onnx import numpy_helper

        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def number(self, value: float) -> str:
        name = f"number_{value!r}"
        return name if name in self.constants else self.constant(np.array(value, np.float32), name)

    def integers(self, *values: int) -> str:
        name = "integers_" + "_".join(map(str, values))
        return name if name in self.constants else self.constant(np.array(values, np.int64), name)

    def linear(self, x: str, layer: Linear) -> str:
        bias = self.constant(layer.bias)
        return self.add("Add", [self.product(x, layer.weight), bias])

    def product(self, x: str, weight: NDArray[np.float32]) -> str:
        if self.arithmetic == "float32":
            return self.add("MatMul", [x, self.constant(weight)])
        sums, scale = self.integer_product(x, weight)
        return self.add("Mul", [self.add("Cast", [sums], to=1), scale])

    def integer_product(self, x: str, weight: NDArray[np.float32]) -> tuple[str, str]:
        """Int32 sums, and the float32 [outputs] that one step of each is worth."""
        values, step, zero = self.quantised(x)
        integers, steps = quantise_columns(weight, bits=8 if self.arithmetic == "int8" else 7)
        sums = self.add("MatMulInteger", [values, self.constant(integers), zero])
        return sums, self.add("Mul", [step, self.constant(steps)])

    def quantised(self, x: str) -> tuple[str, str, str]:
        if x not in self._quantised:
            values, step, zero = self.add_many("DynamicQuantizeLinear", [x], 3)
            self._quantised[x] = (values, step, zero)
        return self._quantised[x]

    def norm(self, x: str, norm: Norm, epsilon: float) -> str:
        inputs = [x, self.constant(norm.weight), self.constant(norm.bias)]
        return self.add("LayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def activation(self, x: str, kind: str) -> str:
        if kind == "relu":
            return self.add("Relu", [x])
        if kind == "gelu":
            inner = self.add("Erf", [self.add("Div", [x, self.number(float(np.sqrt(2)))])])
        else:
            cube = self.add("Mul", [self.add("Mul", [self.add("Mul", [x, x]), x]), self.number(0.044715)])
            scaled = self.add("Mul", [self.add("Add", [x, cube]), self.number(float(np.sqrt(2 / np.pi)))])
            inner = self.add("Tanh", [scaled])
        gate = self.add("Add", [inner, self.number(1.0)])
        return self.add("Mul", [self.add("Mul", [x, gate]), self.number(0.5)])

    # The model

    def build(self, model: MaskedLM, options: HeadOptions) -> ModelProto:
        hidden = self.embeddings(model)
        for layer in model.layers:
            hidden = self.layer(hidden, layer, model)
        hidden = self.activation(self.linear(hidden, model.transform), model.activation)
        hidden = self.norm(hidden, model.transform_norm, model.epsilon)
        self.head(hidden, model.decoder, options)
        return self.finish()

    def length(self, *, axis: int) -> str:
        return self.add("Gather", [self.add("Shape", ["input_ids"]), self.integers(axis)])

    def embeddings(self, model: MaskedLM) -> str:
        words = self.add("Gather", [self.constant(model.words), "input_ids"])
        bounds = [self.integers(0), self.length(axis=1), self.integers(0)]
        rows = self.add("Slice", [self.constant(model.positions), *bounds])
        return self.norm(self.add("Add", [words, rows]), model.embedding_norm, model.epsilon)

    def layer(self, hidden: str, layer: Layer, model: MaskedLM) -> str:
        context = self.attention(self.linear(hidden, layer.qkv), model.heads)
        attended = self.add("Add", [self.linear(context, layer.attention_output), hidden])
        hidden = self.norm(attended, layer.attention_norm, model.epsilon)
        inner = self.activation(self.linear(hidden, layer.inner), model.activation)
        whole = self.add("Add", [self.linear(inner, layer.outer), hidden])
        return self.norm(whole, layer.output_norm, model.epsilon)

    def attention(self, qkv: str, heads: int) -> str:
        parts = self.add_many("Split", [qkv], 3, axis=-1)
        shape = self.integers(0, 0, heads, -1)
        query, key, value = (
            self.add("Transpose", [self.add("Reshape", [part, shape])], perm=perm)
            for part, perm in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
        )
        scores = self.add("MatMul", [query, key])
        if self.masked:
            scores = self.add("Add", [scores, self.away()])
        shares = self.add("Softmax", [scores], axis=-1)
        context = self.add("MatMul", [shares, value])
        together = self.add("Transpose", [context], perm=[0, 2, 1, 3])
        return self.add("Reshape", [together, self.integers(0, 0, -1)])

    def away(self) -> str:
        """-1e9 where a text is padded: float32 [B, 1, 1, L]."""
        if not self._away:
            mask = self.add("Cast", [self.add("Unsqueeze", ["attention_mask", self.integers(1, 2)])], to=1)
            absent = self.add("Sub", [self.number(1.0), mask])
            self._away = self.add("Mul", [absent, self.number(-1e9)])
        return self._away

    # The head

    def head(self, hidden: str, decoder: Linear, options: HeadOptions) -> None:
        size = decoder.weight.shape[1]
        kept = np.setdiff1d(np.arange(size), np.array(options.excluded, np.int64))
        weight, bias = decoder.weight[:, kept], decoder.bias[kept]
        pooled = self.pool_max(hidden, weight, bias, options) if options.pool == "max" else ""
        pooled = pooled or self.pool_sum(hidden, weight, bias, options)
        self.outputs(pooled, kept if len(kept) < size else None)

    def pool_max(
        self, hidden: str, weight: NDArray[np.float32], bias: NDArray[np.float32], options: HeadOptions
    ) -> str:
        if self.masked:
            # A padded position repeats its text's first token, which changes no maximum.
            mask = self.add("Cast", [self.add("Unsqueeze", ["attention_mask", self.integers(2)])], to=9)
            first = self.add("Slice", [hidden, self.integers(0), self.integers(1), self.integers(1)])
            hidden = self.add("Where", [mask, hidden, first])
        hidden = self.grouped(hidden, weight.shape[0])
        parts, steps = [], []
        for start in range(0, weight.shape[1], _PART):
            part = weight[:, start : start + _PART]
            if self.arithmetic == "float32":
                products = self.add("MatMul", [hidden, self.constant(part)])
            else:
                products, step = self.integer_product(hidden, part)
                steps.append(step)
            parts.append(self.add("ReduceMax", [products], axes=[1], keepdims=0))
        shape = self.integers(-1, _GROUPS, weight.shape[1])
        groups = self.add("Reshape", [self.add("Concat", parts, axis=-1), shape])
        largest = self.add("Max", self.add_many("Split", [groups], _GROUPS, axis=1))
        largest = self.add("Squeeze", [largest, self.integers(1)])
        if steps:
            scale = self.add("Concat", steps, axis=-1)
            largest = self.add("Mul", [self.add("Cast", [largest], to=1), scale])
        return self.logarithm(self.add("Add", [largest, self.constant(bias)]), options)

    def grouped(self, hidden: str, width: int) -> str:
        """[B, L, H] as [B * groups, ceil(L / groups), H], the last token repeated to fill up.

        A maximum over the middle axis is vectorised where the first one is longer than 1; over the tokens
        of a single text it costs more than the product before it.
        """
        length = self.length(axis=1)
        each = self.add(
            "Div", [self.add("Add", [length, self.integers(_GROUPS - 1)]), self.integers(_GROUPS)]
        )
        filled = self.add("Squeeze", [self.add("Mul", [each, self.integers(_GROUPS)])])
        zero, one = self.constant(np.array(0, np.int64)), self.constant(np.array(1, np.int64))
        last = self.add("Sub", [length, self.integers(1)])
        places = self.add("Min", [self.add("Range", [zero, filled, one]), last])
        shape = self.add("Concat", [self.integers(-1), each, self.integers(width)], axis=0)
        return self.add("Reshape", [self.add("Gather", [hidden, places], axis=1), shape])

    def pool_sum(
        self, hidden: str, weight: NDArray[np.float32], bias: NDArray[np.float32], options: HeadOptions
    ) -> str:
        parts = []
        for start in range(0, weight.shape[1], _PART):
            part = Linear(weight[:, start : start + _PART], bias[start : start + _PART])
            weights = self.logarithm(self.linear(hidden, part), options)
            if self.masked:
                mask = self.add("Unsqueeze", ["attention_mask", self.integers(2)])
                weights = self.add("Mul", [weights, self.add("Cast", [mask], to=1)])
            parts.append(self.add("ReduceSum", [weights, self.integers(1)], keepdims=0))
        return self.add("Concat", parts, axis=-1)

    def logarithm(self, x: str, options: HeadOptions) -> str:
        x = self.add("Relu", [x])
        for _ in range(2 if options.activation == "log1p_relu" else 1):
            x = self.add("Log", [self.add("Add", [x, self.number(1.0)])])
        return x

    def outputs(self, dense: str, kept: NDArray[np.int64] | None) -> None:
        found = self.add("NonZero", [dense])
        rows, columns = self.add_many("Split", [found], 2, axis=0)
        places = self.add("Transpose", [found], perm=[1, 0])
        self.name(self.add("GatherND", [dense, places]), "weights")
        self.name(self.add("Squeeze", [rows, self.integers(0)]), "rows")
        columns = self.add("Squeeze", [columns, self.integers(0)])
        if kept is not None:
            columns = self.add("Gather", [self.constant(kept.astype(np.int64)), columns])
        self.name(columns, "columns")

    def name(self, value: str, name: str) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def finish(self) -> ModelProto:
        from onnx import TensorProto, helper

        def info(name: str, kind: int, shape: list[str]) -> Any:
            return helper.make_tensor_value_info(name, kind, shape)

        graph = helper.make_graph(
            self.nodes,
            "lsr",
            [
                info(name, TensorProto.INT64, ["batch", "length"])
                for name in ("input_ids", "attention_mask")[: 1 + self.masked]
            ],
            [
                info("rows", TensorProto.INT64, ["found"]),
                info("columns", TensorProto.INT64, ["found"]),
                info("weights", TensorProto.FLOAT, ["found"]),
            ],
            list(self.constants.values()),
        )
        opset = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="lsr")


def quantise_columns(
    weight: NDArray[np.float32], *, bits: int = 8
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric integers, one step a column.

    Args:
        weight: float32 [inputs, outputs].
        bits: Of the largest integer, the sign included.

    Returns:
        int8 [inputs, outputs] and float32 [outputs], integer times step being the weight.
    """
    largest = np.maximum(np.abs(weight).max(axis=0), np.float32(1e-12))
    steps = (largest / np.float32(2 ** (bits - 1) - 1)).astype(np.float32)
    return np.rint(weight / steps).astype(np.int8), steps
