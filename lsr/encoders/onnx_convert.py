"""A masked language model's folder as an ONNX graph, made once and kept in the user's cache.

The cache is keyed by what the graph is made of, so a changed model is converted again and a copied one is
not. Nothing is written into the model's own folder. A cache that cannot be written costs time at the next
start, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import astuple
from pathlib import Path
from typing import Any

from lsr.cache import cache_root, keep
from lsr.encoders.onnx_graph import VERSION, Arithmetic, HeadOptions, build_graph
from lsr.encoders.onnx_weights import is_supported, read_masked_lm
from lsr.encoders.sparse_folder import ModelSide

_LOG = logging.getLogger(__name__)
_LARGEST = 1_900_000_000
"""Bytes that a graph may have: protocol buffers end at 2 GiB."""


def can_convert(side: ModelSide) -> bool:
    """Whether a side's model is of a family that is converted, and fits one file."""
    weights = sum(file.stat().st_size for file in side.path.glob("*.safetensors"))
    return is_supported(side.config) and weights < _LARGEST


def graph_bytes(
    side: ModelSide,
    *,
    fingerprint: str,
    role: str = "document",
    excluded: tuple[int, ...] = (),
    arithmetic: Arithmetic = "float32",
    masked: bool = False,
) -> bytes:
    """The graph of a side, from the cache or converted now.

    Args:
        side: The model.
        fingerprint: Of the folder that it belongs to.
        role: Which of the folder's sides it is, where the two have models of their own.
        excluded: Columns that are not computed.
        arithmetic: See `onnx_graph.build_graph`.
        masked: Whether the graph takes a mask.

    Returns:
        A serialised ONNX model without external data.

    Raises:
        InputError: The folder is damaged.
        MissingExtraError: The package onnx is not installed.
    """
    options = HeadOptions(side.pool, side.activation, excluded, masked)
    file = _cache_file([fingerprint, role, arithmetic, *astuple(options)])
    try:
        stored = file.read_bytes()
        digest, data = stored[:32], stored[32:]
        if hashlib.sha256(data).digest() == digest:
            return data
    except OSError:
        pass
    _LOG.info("Converting %s to ONNX (%s), once.", side.path, arithmetic)
    graph = build_graph(read_masked_lm(side.path, side.config), options, arithmetic=arithmetic)
    data = bytes(graph.SerializeToString())
    _keep(file, data)
    return data


def _cache_file(facts: list[Any]) -> Path:
    key = hashlib.sha256(json.dumps([VERSION, *facts]).encode("utf-8")).hexdigest()[:32]
    return cache_root() / "onnx" / f"{key}.bin"


def _keep(file: Path, data: bytes) -> None:
    try:
        keep(file, hashlib.sha256(data).digest() + data)
    except OSError as error:
        _LOG.warning("The converted model could not be kept in %s (%s).", file.parent, error)
