"""The lexical teacher over Lucene's analysis: lengths and scores as Lucene has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from teacher_models import random_texts

from lsr.eval.lucene import java_environment
from lsr.training.teachers.lexical import LexicalTeacher
from lsr.training.teachers.lucene import stored_lengths


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))


def test_lengths_as_lucene_stores_them() -> None:
    """`intToByte4` of Lucene, step by step."""

    def stored(length: int) -> int:
        if length < 24:
            return length
        rest = length - 24
        shift = max(rest.bit_length() - 4, 0)
        return 24 + ((rest >> shift) << shift)

    lengths = [*range(200), 255, 256, 1023, 5000, 10**6]
    assert stored_lengths(np.array(lengths)).tolist() == [stored(length) for length in lengths]


@pytest.mark.slow
def test_scores_are_those_of_lucene(tmp_path: Path) -> None:
    """Against pyserini's own searcher, in processes of their own."""
    pytest.importorskip("pyserini")
    rng = np.random.default_rng(0)
    documents = [*random_texts(80, longest=90), ""]
    queries = ["vaccines and vaccines for the health of people", "climate change", *random_texts(5, seed=6)]
    rng.shuffle(documents)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = [json.dumps({"id": str(i), "contents": text}) for i, text in enumerate(documents)]
    (corpus / "documents.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "queries.json").write_text(json.dumps(queries), encoding="utf-8")
    script = (
        "import json, pathlib, sys; from pyserini.search.lucene import LuceneSearcher as S; "
        "s = S('index'); s.set_bm25(0.9, 0.4); q = json.loads(pathlib.Path('queries.json').read_text()); "
        "pathlib.Path('hits.json').write_text(json.dumps([[(h.docid, h.score) for h in s.search(t, 50)] "
        "for t in q]))"
    )
    index = "-m pyserini.index.lucene --collection JsonCollection --input corpus --index index"
    generator = "--generator DefaultLuceneDocumentGenerator --threads 1"
    for command in ([*index.split(), *generator.split()], ["-c", script]):
        done = [sys.executable, *command]
        subprocess.run(done, env=java_environment(), cwd=tmp_path, check=True, capture_output=True)
    teacher = LexicalTeacher("lucene")
    teacher.prepare(documents, queries)
    matrix = teacher.matrix(np.arange(len(queries)), np.arange(len(documents)))
    hits = json.loads((tmp_path / "hits.json").read_text(encoding="utf-8"))
    assert all(len(found) > 5 for found in hits)
    for row, found in zip(matrix, hits, strict=True):
        np.testing.assert_allclose([row[int(id)] for id, _ in found], [s for _, s in found], rtol=2e-4)
