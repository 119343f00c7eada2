"""The baselines by name: what `--baseline` takes."""

from __future__ import annotations

from lsr.errors import InputError
from lsr.eval.bm25 import Bm25System
from lsr.eval.dense import DenseSystem
from lsr.eval.lucene import LuceneSystem
from lsr.eval.systems import System


def make_baseline(kind: str) -> System:
    """The baseline of a name: `bm25`, `lucene-bm25`, `dense` or `dense:FOLDER`.

    Raises:
        InputError: No such baseline.
        MissingExtraError: What it is made of is not installed.
    """
    if kind == "bm25":
        return Bm25System()
    if kind == "dense" or kind.startswith("dense:"):
        return DenseSystem(kind.partition(":")[2] or None)
    if kind == "lucene-bm25":
        return LuceneSystem()
    raise InputError(f"There is no baseline {kind!r}: choose bm25, lucene-bm25, dense or dense:FOLDER.")
