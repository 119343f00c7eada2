"""Writes small indexes in the format of this version, for later versions to read.

    python tests/compat/make_fixture.py

Run once for each new format version; what is there is never written again.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import index_samples as samples

from lsr.index.format import FORMAT_VERSION
from lsr.index.store import Store

SCALES = {"u8": 0.01, "u16": 0.0001, "f32": None}
FIRST = [f"doc-{i}" for i in range(20)]


def make(folder: Path) -> None:
    for quantize, scale in SCALES.items():
        settings = samples.settings(quantize=quantize, scale=scale)
        with Store.create(folder / f"{quantize}.lsr", settings, query_side=b"the query side") as store:
            samples.add(store, *FIRST)
            samples.add(store, "a", "b")
            samples.remove(store, "doc-3")


if __name__ == "__main__":
    make(Path(__file__).parent / "data" / f"v{FORMAT_VERSION}")
