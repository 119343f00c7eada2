"""A real, tiny encoder: the lexical one over a handful of stems, and one that learned to add terms to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lsr.encoders.folder import write_folder
from lsr.encoders.lexical import LexicalEncoder
from lsr.types import SparseBatch

STEMS = ["car", "engin", "immun", "medicin", "system", "vaccin", "vehicl", "wheel"]
ADDED = {"car": "vehicl", "vaccin": "medicin"}
LEARNED_WEIGHT = 0.625


def write_lexical_model(path: Path, name: str = "tiny", *, k1: float = 1.2) -> Path:
    """A model folder of the lexical kind."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "stems.txt").write_text("\n".join(STEMS), encoding="utf-8")
    np.save(path / "shares.npy", np.full(len(STEMS), 0.01, np.float32))
    settings = {
        "kind": "lexical",
        "name": name,
        "max_document_weight": k1 + 1,
        "query_weights": "corpus",
        "lexical": {"k1": k1, "b": 0.5, "average_length": 20.0, "piece_weight": 0.3},
        "queries": {"open_share": 0.001, "prior_documents": 10.0, "documents": 1000},
    }
    write_folder(path, settings, ["stems.txt", "shares.npy"])
    return path


class AddingEncoder(LexicalEncoder):
    """The lexical encoder, and for each word in `ADDED` a term that the text need not hold."""

    def encode_batch(self, texts: Sequence[str], *, max_length: int | None = None) -> SparseBatch:
        plain = super().encode_batch(texts)
        columns = self.queries.stem_columns
        rows = []
        for row in range(len(plain)):
            part = slice(plain.indptr[row], plain.indptr[row + 1])
            found = {
                int(c): (float(v), True) for c, v in zip(plain.indices[part], plain.values[part], strict=True)
            }
            for stem, other in ADDED.items():
                if columns[stem] in found:
                    found.setdefault(columns[other], (LEARNED_WEIGHT, False))
            rows.append(sorted(found.items()))
        flat = [entry for row in rows for entry in row]
        return SparseBatch(
            indptr=np.cumsum([0, *map(len, rows)]).astype(np.int64),
            indices=np.array([column for column, _ in flat], np.int32),
            values=np.array([value for _, (value, _) in flat], np.float32),
            dimension=plain.dimension,
            lexical=np.array([lexical for _, (_, lexical) in flat], bool),
            surfaces=plain.surfaces,
            cut=np.array([max(len(text) - 1000, 0) for text in texts], np.int32),
        )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lexical_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def encoder(model_folder: Path) -> AddingEncoder:
    from lsr.encoders.folder import read_folder

    return AddingEncoder(read_folder(model_folder))


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    return write_lexical_model(tmp_path / "other", "other", k1=0.9)
