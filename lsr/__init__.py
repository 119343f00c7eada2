"""`lsr`: learned sparse retrieval, from text to explained hits.

The public names load on first use, so that `import lsr` costs nothing: neither Numba nor torch nor
SciPy is imported before something needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.api import Index
    from lsr.encoders.loading import load_encoder
    from lsr.errors import LsrError
    from lsr.index.vector_index import VectorIndex
    from lsr.types import AddReport, Explanation, Hit, Span

__version__ = "0.1.0"

__all__ = ["AddReport", "Explanation", "Hit", "Index", "LsrError", "Span", "VectorIndex", "load_encoder"]

_HOMES = {
    "AddReport": "lsr.types",
    "Explanation": "lsr.types",
    "Hit": "lsr.types",
    "Index": "lsr.api",
    "LsrError": "lsr.errors",
    "Span": "lsr.types",
    "VectorIndex": "lsr.index.vector_index",
    "load_encoder": "lsr.encoders.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lsr' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
