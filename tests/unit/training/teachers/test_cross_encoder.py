"""The cross-encoder as a teacher, with a tiny random model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from teacher_models import random_texts, write_cross_encoder

from lsr.errors import InputError, InputFileError, UnsupportedError

pytestmark = pytest.mark.torch

DOCUMENTS, QUERIES = random_texts(20), random_texts(6, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))


def open_teacher(folder: Path):
    from lsr.training.teachers.cross_encoder import CrossEncoderTeacher

    teacher = CrossEncoderTeacher(str(folder), device="cpu", max_length=48)
    teacher.prepare(DOCUMENTS, QUERIES)
    return teacher


def plain_logit(folder: Path, query: str, document: str) -> float:
    """As transformers alone computes it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)(query, document, return_tensors="pt")
    with torch.inference_mode():
        return float(model(**batch).logits[0, 0])


def test_scores_are_the_models_logits(folder: Path) -> None:
    teacher = open_teacher(folder)
    candidates = np.array([[3, -1, 7], [0, 0, 19]])
    scores = teacher.score(np.array([2, 5]), candidates)
    assert scores.dtype == np.float32 and np.isnan(scores[0, 1])
    for row, query in enumerate((2, 5)):
        for column, document in enumerate(candidates[row]):
            if document >= 0:
                expected = plain_logit(folder, QUERIES[query], DOCUMENTS[document])
                np.testing.assert_allclose(scores[row, column], expected, atol=1e-4)
    with pytest.raises(UnsupportedError, match="finds none"):
        teacher.top(np.array([0]), 3)


def test_a_pair_is_scored_once_and_a_killed_run_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsr.training.teachers import cross_encoder

    monkeypatch.setattr(cross_encoder, "_SHARD", 10)
    predicted: list[tuple[int, int]] = []
    predict = cross_encoder.CrossEncoderTeacher._predict

    def counting(self, queries, documents):
        if len(predicted) == 20:
            raise KeyboardInterrupt
        predicted.extend(zip(queries.tolist(), documents.tolist(), strict=True))
        return predict(self, queries, documents)

    monkeypatch.setattr(cross_encoder.CrossEncoderTeacher, "_predict", counting)
    numbers, everything = np.arange(2), np.tile(np.arange(20), (2, 1))
    with pytest.raises(KeyboardInterrupt):
        open_teacher(folder).score(numbers, everything)
    assert predicted == [(0, d) for d in range(20)]
    predicted.clear()
    teacher = open_teacher(folder)
    scores = teacher.score(np.array([0, 1, 1]), np.tile(np.arange(10), (3, 1)))
    assert predicted == [(1, d) for d in range(10)]
    np.testing.assert_array_equal(scores[1], scores[2])
    predicted.clear()
    np.testing.assert_array_equal(
        open_teacher(folder).matrix(np.array([1, 0]), np.arange(10)), scores[[1, 0]]
    )
    assert not predicted
    np.testing.assert_allclose(scores[0, 4], plain_logit(folder, QUERIES[0], DOCUMENTS[4]), atol=1e-4)


def test_wrong_models_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no cross-encoder"):
        open_teacher(tmp_path / "nothing")
    with pytest.raises(InputError, match="num_labels"):
        open_teacher(write_cross_encoder(tmp_path / "three", labels=3))
