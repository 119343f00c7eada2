"""Texts through a model's side: prompts, words, limits, pruning, chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import bert_vocabulary, write_bert_tokenizer

from lsr.encoders.neural import NeuralEncoder, NeuralModel, TextSide
from lsr.encoders.rows import RowLimits
from lsr.encoders.tokens import Tokeniser
from lsr.errors import InputError

NAMES = bert_vocabulary()
SIZE = len(NAMES)
ALL = {"[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"}


class Full:
    """A backend that weighs every column of every row by its id, and keeps what it was given."""

    name = "full"

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.calls = 0

    def encode(self, rows: Sequence[Sequence[int]]):
        self.calls += 1
        self.seen += [list(row) for row in rows]
        return [(np.arange(SIZE, dtype=np.int32), np.arange(1, SIZE + 1, dtype=np.float32)) for _ in rows]


def make(path: Path, *, prompt: str = "", limit: int = 64, side: str = "", **model: Any):
    write_bert_tokenizer(path)
    if side:
        file = path / "tokenizer_config.json"
        text = file.read_text(encoding="utf-8").replace("{", f'{{"truncation_side": "{side}",', 1)
        file.write_text(text, encoding="utf-8")
    backend = Full()
    texts = TextSide(Tokeniser(path, limit), backend, prompt, longest=64)
    facts = NeuralModel("m", str(path), "f", SIZE, **model)
    return NeuralEncoder(facts, documents=texts, queries=texts), backend


def words_of(encoder: NeuralEncoder, text: str, **options: Any) -> set[str]:
    batch = encoder.encode_batch([text], **options)
    assert batch.lexical is not None and batch.lexical.dtype == bool
    return {encoder.term(column) for column in batch.indices[batch.lexical]}


@pytest.mark.parametrize(
    ("prompt", "text", "words"),
    [
        ("", "the heart of the city", {"the", "heart", "of", "city"}),
        ("", "", set()),
        ("", "[MASK] heart [SEP]", {"heart"}),
        ("", "\U0001f600 heart", {"heart"}),
        ("study of the ", "heart", {"heart"}),
        ("study of the ", "the heart", {"the", "heart"}),
        ("study of the ", "study of the study", {"study", "of", "the"}),
        ("study of the study ", "study", {"study"}),
        ("study of the ", "", set()),
        ("[MASK] the ", "heart", {"heart"}),
    ],
)
def test_words_are_the_texts_own(tmp_path: Path, prompt: str, text: str, words: set[str]) -> None:
    encoder, backend = make(tmp_path, prompt=prompt)
    assert words_of(encoder, text) == words
    read = [NAMES[id] for id in backend.seen[-1]]
    assert read[0] == "[CLS]" and read[-1] == "[SEP]"
    assert read[1 : 1 + len(prompt.split())] == prompt.split()


def test_a_prompt_that_was_cut_takes_no_word_away(tmp_path: Path) -> None:
    left, backend = make(tmp_path / "left", prompt="study of the ", limit=5, side="left")
    assert words_of(left, "heart of city") == {"heart", "of", "city"}
    assert [NAMES[id] for id in backend.seen[-1]] == ["[CLS]", "heart", "of", "city", "[SEP]"]
    assert words_of(left, "of city") == {"of", "city"}  # and the prompt's last word before it
    right, _ = make(tmp_path / "right", prompt="study of the ", limit=5)
    assert words_of(right, "the heart") == set()


def test_limits_are_of_documents_and_of_queries(tmp_path: Path) -> None:
    encoder, _ = make(tmp_path, limits=RowLimits(5, 0.99), query_limits=RowLimits(7))
    assert encoder.encode_documents(["a", "b"]).indptr.tolist() == [0, min(5, SIZE // 100 + 1), 4]
    assert encoder.encode_queries(["a"]).indices.tolist() == list(range(SIZE - 7, SIZE))


def test_many_texts_go_in_chunks_and_come_back_in_order(tmp_path: Path) -> None:
    encoder, backend = make(tmp_path)
    texts = [NAMES[5 + i % 60] for i in range(600)]
    batch = encoder.encode_batch(texts)
    assert len(batch) == 600 and backend.calls == 3 and batch.cut is not None
    assert [NAMES[row[1]] for row in backend.seen] == texts and not batch.cut.any()
    assert len(batch.lexical) == len(batch.values)
    nothing = encoder.encode_batch([])
    assert len(nothing) == 0 and nothing.lexical.dtype == bool and nothing.cut.dtype == np.int32


def test_a_limit_is_within_what_the_model_reads(tmp_path: Path) -> None:
    encoder, backend = make(tmp_path, limit=32)
    assert encoder.encode_batch(["the heart"] * 2, max_length=3).cut.tolist() == [1, 1]
    assert encoder.encode_batch(["a " * 80], max_length=64).cut.tolist() == [18]
    assert max(map(len, backend.seen)) == 64
    for wrong in (0, 2, 65, 10_000):
        with pytest.raises(InputError, match=f"max_length={wrong} "):
            encoder.encode_batch(["a"], max_length=wrong)


def test_columns_have_names_up_to_the_last(tmp_path: Path) -> None:
    write_bert_tokenizer(tmp_path)
    texts = TextSide(Tokeniser(tmp_path, 64), Full())
    encoder = NeuralEncoder(NeuralModel("m", "p", "f", SIZE + 2), documents=texts, queries=texts)
    assert encoder.vocabulary == [*NAMES, f"[id:{SIZE}]", f"[id:{SIZE + 1}]"]
    assert encoder.term(SIZE + 1) == f"[id:{SIZE + 1}]"
    assert encoder.query_side().column(f"[id:{SIZE}]") == SIZE
    for outside in (-1, SIZE + 2):
        with pytest.raises(IndexError):
            encoder.term(outside)
