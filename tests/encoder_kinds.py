"""Every kind of encoder that the package loads, each as a small one: for the suites that all of them pass.

The models of the default run are made without torch and loaded as if neither torch nor OpenVINO were
installed; those that need either to be made or run carry a mark, or are left out where it is missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import decoder_models
import numpy as np
import pytest
from plain_bert import write_plain
from sparse_models import write_bert, write_idf, write_router, write_symmetric

import lsr
from lsr.cache import cache_root

PROMPTS = {"query": "query ", "document": "study of the "}
STATED = {"max_document_weight": 6.0}

_TABLE = np.linspace(0, 3, 4 + len(decoder_models.WORDS), dtype=np.float32)


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        write: Makes its folder; None for a bundled name.
        precision: How it is loaded.
        hidden: Packages that are not there while it is loaded and used.
        backend: What its folder has to be run by; empty for the bundled ones.
        needs: A package without which it is left out.
        torch: Whether it is made or run by torch.
        exact: Whether a vector is the same to the last bit in every batch.
        empty_has_terms: Whether the empty text has weights.
        table: Whether its queries need no model.
    """

    write: Callable[[Path], Any] | None = None
    precision: str = "auto"
    hidden: tuple[str, ...] = ("openvino", "torch")
    backend: str = ""
    needs: str = ""
    torch: bool = False
    exact: bool = False
    empty_has_terms: bool = False
    table: bool = False


def _splade(path: Path) -> Path:
    return write_symmetric(path, make=write_plain, settings={"prompts": PROMPTS, "own": STATED})


def _silu(path: Path) -> Path:
    """A model that is not converted, so that torch runs it."""
    import json

    folder = write_symmetric(path, make=write_bert, settings={"prompts": PROMPTS})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "silu"}), encoding="utf-8")
    return folder


def _decoder(attention: str, **settings: Any) -> Callable[[Path], Any]:
    return lambda path: decoder_models.write_tiny(path, attention=attention, **settings)


_ONNX = {"backend": "onnx", "empty_has_terms": True}
_DECODER: dict[str, Any] = {"hidden": (), "backend": "torch", "torch": True}
_SPOKEN = {"document_prompt": "document : ", "query_prompt": "query : "}

KINDS: dict[str, Kind] = {
    "bm25": Kind(table=True),
    "lsr-en-1": Kind(table=True),
    "splade onnx": Kind(_splade, **_ONNX),
    "splade onnx int8": Kind(_splade, "fast", **{**_ONNX, "backend": "onnx int"}, exact=True),
    "splade openvino": Kind(
        _splade, hidden=("torch",), backend="openvino", needs="openvino", empty_has_terms=True
    ),
    "splade torch": Kind(_silu, hidden=(), backend="torch", torch=True, empty_has_terms=True),
    "sum of log1p_relu": Kind(
        lambda path: write_symmetric(path, make=write_plain, pool="sum", activation="log1p_relu"), **_ONNX
    ),
    "distilbert": Kind(lambda path: write_plain(path, family="distilbert"), **_ONNX),
    "router": Kind(
        lambda path: write_router(path, make=write_plain, settings={"max_active_dims": 40}),
        **_ONNX,
        table=True,
    ),
    "idf": Kind(lambda path: write_idf(path, make=write_plain, extra_columns=3), **_ONNX, table=True),
    "decoder echo": Kind(_decoder("echo", **_SPOKEN), **_DECODER),
    "decoder bidirectional": Kind(_decoder("bidirectional"), **_DECODER),
    "decoder causal": Kind(_decoder("causal", queries="table", query_table=_TABLE), **_DECODER, table=True),
}


@dataclass(frozen=True)
class Case:
    """A kind, loaded.

    Attributes:
        name: Of the kind.
        kind: The kind.
        source: What loads it: a bundled name, or its folder.
        encoder: The encoder.
    """

    name: str
    kind: Kind
    source: str | Path
    encoder: Any

    def load(self, source: str | Path | None = None) -> Any:
        """Its encoder anew, or that of a copy of its folder."""
        return lsr.load_encoder(source or self.source, device="cpu", precision=self.kind.precision)

    @property
    def is_folder(self) -> bool:
        return isinstance(self.source, Path)


def parameters() -> list[Any]:
    """The kinds as parameters of a fixture."""
    return [
        pytest.param(name, marks=[pytest.mark.torch] if kind.torch else []) for name, kind in KINDS.items()
    ]


@contextmanager
def hidden_packages(*names: str) -> Iterator[None]:
    """Folders are loaded as if packages were not installed."""
    real = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsr.encoders.processor.find_spec", lambda name: None if name in names else real(name))
        yield


def own_cache(folder: Path) -> str:
    """A cache for LSR_CACHE_DIR, so that converted graphs go away with the tests.

    Compiled kernels in it are the user's: to compile them takes longer than most tests.
    """
    kernels = cache_root() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    cache = folder / "cache"
    cache.mkdir()
    (cache / "kernels").symlink_to(kernels.resolve())
    return str(cache)


@contextmanager
def loaded(name: str, folder: Path) -> Iterator[Case]:
    """A kind, loaded; what it hides stays hidden, and its converted graphs go into `folder`."""
    kind = KINDS[name]
    if kind.needs:
        pytest.importorskip(kind.needs)
    with hidden_packages(*kind.hidden), pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSR_CACHE_DIR", own_cache(folder))
        source: str | Path = name
        if kind.write is not None:
            source = folder / "model"
            kind.write(source)
        case = Case(name, kind, source, None)
        yield Case(name, kind, source, case.load())
