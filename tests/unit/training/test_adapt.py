"""`lsr train adapt`: the bundled model and a word-piece model fitted to a corpus of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lsr
from lsr.cli import cli
from lsr.encoders.folder import read_folder
from lsr.encoders.lexical import read_queries
from lsr.encoders.loading import bundled_models
from lsr.training.adapt_rows import read_short_texts, widen
from lsr.training.recipe_distil import AdaptRecipe

sys.path.insert(0, str(Path(__file__).parent))
from tiny_runs import write_notes

WORDS = "frobnicator quuxalizer blorptastic"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes of which a third speak of what no model knows: a frobnicator is about ice and snow."""
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))
    folder = write_notes(tmp_path / "data" / "notes")
    pages = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    for i, page in enumerate(pages):
        if i % 3 == 0:
            page["title"] = f"The frobnicator melts snow and ice, part {i}"
            page["text"] = f"A frobnicator clears frozen roads in winter number {i}. {page['text']}"
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, pages)), encoding="utf-8")
    return tmp_path


def run(data: Path, *more: str) -> dict:
    arguments = ["train", "adapt", "--data-dir", str(data / "data"), "--set", "corpus=notes", *more, "--json"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_rows_are_fitted_again_and_new_words_expand(data: Path) -> None:
    changes = ("name=mine", "vocabulary=100", "ridge=2")
    report = run(data, "--output", str(data / "new"), *(p for c in changes for p in ("--set", c)))
    facts = report["facts"]
    assert facts["r_squared"] > facts["r_squared_before"]
    assert facts["stems_added"] >= 1 and facts["dev_after"] > 0
    old, new = lsr.load_encoder("lsr-en-1"), lsr.load_encoder(data / "new")
    assert new.name == "mine" and new.fingerprint != old.fingerprint
    (column,) = new.query_side().columns_of("frobnicator")
    assert new.term(column) == "frobnic" and column < len(new.query_side().stems)
    texts = ["Snow and ice cover frozen roads in winter.", "Money moves to the bank of the city."]
    near, far = (new.body.embed(texts).vectors - new.mean) @ new.rows
    assert (near > near[column]).mean() < 0.01 < (far > far[column]).mean()  # of 30,000 rows
    card = (data / "new" / "README.md").read_text(encoding="utf-8")
    assert "lsr-en-1" in card and "| notes | corpus |" in card and "known-item" in card
    with lsr.Index.create(data / "index", encoder=new) as index:
        index.add([{"id": "1", "text": "Roads under snow."}, {"id": "2", "text": "One frobnicator."}])
        assert [hit.id for hit in index.search("frobnicators")][:1] == ["2"]


def test_a_strong_ridge_leaves_the_old_rows(data: Path) -> None:
    """With no new stem and a ridge beyond all evidence, the rows keep their directions."""
    run(data, "--output", str(data / "same"), "--set", "ridge=1e9")
    old, new = (lsr.load_encoder(name) for name in ("lsr-en-1", data / "same"))
    rows = [encoder.rows[:, ::97].astype(np.float64) for encoder in (old, new)]
    cosines = (rows[0] * rows[1]).sum(0) / np.sqrt((rows[0] ** 2).sum(0) * (rows[1] ** 2).sum(0))
    assert cosines.min() > 0.99


def test_the_table_counts_both_corpora() -> None:
    folder = read_folder(bundled_models()["lsr-en-1"])
    before = read_queries(folder)
    after, forms = widen(
        AdaptRecipe("a", least=2, vocabulary=9), before, ["frobnicators run"] * 5 + ["a quux"]
    )
    assert forms == ["frobnicators"] and after.stems[-1] == "frobnic"
    total = before.documents + 6
    column = before.stem_columns["run"]
    assert after.documents == total
    assert after.shares[column] == pytest.approx(
        (before.shares[column] * before.documents + 5) / total, rel=1e-4
    )
    assert after.shares[len(before.stems)] == pytest.approx(
        (before.open_share * before.documents + 5) / total, rel=1e-4
    )
    assert len(after.shares) == len(before.shares) + 1
    assert list(after.pieces) == list(before.pieces)


def test_what_cannot_be_adapted_is_said(data: Path) -> None:
    (data / "data" / "empty.txt").write_text("\n\n", encoding="utf-8")
    for changes, says in (
        (["corpus="], "names no corpus"),
        (["corpus=absent"], "'absent'"),
        (["model=nothing"], "no model 'nothing'"),
        (["model=bm25"], "nothing to adapt"),
        (["short_texts=none.txt"], "no such file"),
        (["short_texts=empty.txt"], "holds no text"),
        (["titles=false", "sentences_each=0"], "No query is left"),
    ):
        options = [part for change in ["corpus=notes", *changes] for part in ("--set", change)]
        arguments = [
            "train",
            "adapt",
            "--data-dir",
            str(data / "data"),
            *options,
            "--output",
            str(data / "x"),
        ]
        result = CliRunner().invoke(cli, [part if part != "corpus=" else "corpus=''" for part in arguments])
        assert result.exit_code != 0 and says in str(result.exception), (changes, result.exception)
    assert not (data / "x").exists()


def test_short_texts_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("one\n\n two \none\n", encoding="utf-8")
    assert read_short_texts(file) == ["one", "two"]


def test_a_dry_run_counts(data: Path) -> None:
    facts = run(data, "--dry-run")
    assert (facts["kind"], facts["documents"]) == ("projected", 120) and facts["queries"] > 200


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["symmetric", "idf"])
def test_word_piece_models_get_a_short_run(kind: str, data: Path) -> None:
    pytest.importorskip("torch")
    from sparse_models import write_bert, write_router, write_symmetric

    make = {"symmetric": write_symmetric, "idf": write_router}[kind]
    model = make(data / "model", make=write_bert)
    training = {"optimiser": {"steps": 4, "batch": 4, "lr": 1e-4}, "student": {"max_length": 32}}
    training["checkpoints"], training["dev"] = {"every": 2}, {"every": 2, "documents": 60}
    report = run(
        data,
        *("--set", f"model={model}", "--set", f"training={json.dumps(training)}", "--set", "name=adapted"),
        *("--output", str(data / "new")),
    )
    assert report["facts"]["stages"][0]["steps"] == 4
    new, old = lsr.load_encoder(data / "new"), lsr.load_encoder(model)
    assert new.fingerprint != old.fingerprint
    if kind == "idf":  # the table stays what it was
        one, other = (encoder.encode_queries(["vaccine market"]) for encoder in (new, old))
        assert abs(one - other).max() < 1e-6
