"""Writes small indexes in the format of this version, and what they answer, for later versions to read.

    python tests/compat/make_fixture.py

Run once for each new format version; what is there is never written again. The answers (`answers.json`) are
checked before they are written: rankings against exact arithmetic over the stored impacts, impacts against
the weights that went in.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from shutil import copytree
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import index_answers
import index_samples as samples
import numpy as np

from lsr.index.format import FORMAT_VERSION
from lsr.index.store import Store

SCALES = {"u8": 0.01, "u16": 0.0001, "f32": None}
FIRST = [f"doc-{i}" for i in range(20)]
WORDS = ["word-31", "word-41", "word-47"]
"""Documents with a word in an open column."""

INDEXES = {"u8": ("u8", FIRST), "u16": ("u16", FIRST), "f32": ("f32", FIRST), "words": ("u8", FIRST + WORDS)}
"""Name to quantisation and first commit; `a` and `b` come with a second one, and `doc-3` goes."""


def make(folder: Path, name: str) -> None:
    quantize, first = INDEXES[name]
    settings = samples.settings(quantize=quantize, scale=SCALES[quantize])
    with Store.create(folder / f"{name}.lsr", settings, query_side=b"the query side") as store:
        samples.add(store, *first)
        samples.add(store, "a", "b")
        samples.remove(store, "doc-3")


def write_answers(folder: Path) -> None:
    """`answers.json` for the indexes of one format."""
    answers = {path.stem: _answers(path) for path in sorted(folder.glob("*.lsr"))}
    parts = [f"{json.dumps(name)}: {_on_lines(value)}" for name, value in answers.items()]
    (folder / "answers.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _on_lines(answers: dict[str, Any]) -> str:
    """A document a line and a query a line, so that a change of one shows as one."""
    parts = []
    for key, value in answers.items():
        if key in ("documents", "queries"):
            lines = ",\n".join("   " + json.dumps(item, ensure_ascii=False) for item in value)
            parts.append(f"  {json.dumps(key)}: [\n{lines}\n  ]")
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n }"


def _answers(path: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place, Store.open(copytree(path, Path(place, "i.lsr"))) as store:
        documents = index_answers.holdings(store)
        living = [id for id in [*INDEXES[path.stem][1], "a", "b"] if id != "doc-3"]
        assert [document["id"] for document in documents] == living
        _check_documents(documents, SCALES[store.settings.quantize])
        queries = []
        for query in index_answers.QUERIES:
            ranking = index_answers.rank(store, query)
            _check_ranking(ranking, index_answers.rank_by_hand(store, query), store.settings.quantize)
            queries.append({**query, "ranking": ranking})
        return {
            "quantize": store.settings.quantize,
            "scale": store.settings.scale,
            "documents": documents,
            "document_frequencies": index_answers.frequencies(store),
            "queries": queries,
        }


def _check_documents(documents: list[dict[str, Any]], scale: float | None) -> None:
    for document in documents:
        went_in = samples.vectors([document["id"]])
        assert document["stored"] == samples.document(document["id"])
        assert document["columns"] == went_in.indices.tolist()
        if scale is None:
            assert document["impacts"] == went_in.values.tolist()
        else:
            steps = np.rint(went_in.values.astype(np.float64) / scale)
            assert document["impacts"] == steps.tolist()


def _check_ranking(found: list[Any], exact: list[Any], quantize: str) -> None:
    assert [id for id, _ in found] == [id for id, _ in exact]
    tolerance = 1e-6 if quantize == "f32" else 1e-14
    np.testing.assert_allclose([score for _, score in found], [score for _, score in exact], tolerance)


if __name__ == "__main__":
    data = Path(__file__).parent / "data"
    current = data / f"v{FORMAT_VERSION}"
    for name in INDEXES:
        if not (current / f"{name}.lsr").exists():
            make(current, name)
    for version in sorted(data.glob("v*")):
        if not (version / "answers.json").exists():
            write_answers(version)
