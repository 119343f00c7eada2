"""`lsr train project` end to end: a small random dense model becomes a model that indexes and searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsr.encoders.loading import bundled_models

pytestmark = pytest.mark.torch

RECIPE = """
name: tiny
teacher: {teacher}
corpora: [notes]
queries: [notes]
titles: [notes]
vocabulary: 200
sample: 50
terms: 10
max_length: 32
companion: tiny-bm25
"""


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "teacher"
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bundled_models()["lsr-en-1"] / "tokenizer.json"),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_project(lsr, teacher: Path, tmp_path: Path) -> None:
    notes = tmp_path / "data" / "notes"
    notes.mkdir(parents=True)
    pages = [
        {"_id": f"n{i}", "title": f"Note {i}", "text": f"word{i} and word{i + 1} about ice"}
        for i in range(60)
    ]
    (notes / "corpus.jsonl").write_text("\n".join(map(json.dumps, pages)), encoding="utf-8")
    queries = [{"_id": f"q{i}", "text": f"what is word{i}"} for i in range(60)]
    (notes / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (tmp_path / "r.yaml").write_text(RECIPE.format(teacher=teacher), encoding="utf-8")
    model = tmp_path / "made" / "tiny"
    done = lsr("train", tmp_path / "r.yaml", "--data-dir", tmp_path / "data", "--output", model, "--json")
    assert done.code == 0, done.err
    assert done.json()["name"] == "tiny" and done.json()["stems"] > 60
    assert "notes" in (model / "README.md").read_text(encoding="utf-8")
    for encoder in (model, tmp_path / "made" / "tiny-bm25"):
        index = tmp_path / f"{encoder.name}.lsr"
        done = lsr("index", notes, "--index", index, "--encoder", encoder, "--json")
        assert done.code == 0 and done.json()["documents"] == 60, done.err
        assert lsr("search", index, "word7", "--json").json()[0]["id"] in ("n6", "n7")
    again = lsr("train", tmp_path / "r.yaml", "--data-dir", tmp_path / "data", "--output", model)
    assert again.code == 2 and "not empty" in again.last
