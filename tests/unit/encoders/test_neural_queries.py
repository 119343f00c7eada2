"""An index whose queries are read by a model: it finds the model again, and says so where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from encoder_kinds import hidden_packages, own_cache
from plain_bert import write_plain
from sparse_models import write_symmetric

import lsr
from lsr.encoders.neural_queries import NeuralQueries
from lsr.encoders.queries import load_query_side
from lsr.errors import EncoderMismatchError

DOCUMENTS = [
    {"id": "1", "text": "Vaccines train the immune system."},
    {"id": "2", "text": "The heart of the city."},
]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LSR_CACHE_DIR", own_cache(tmp_path))
    with hidden_packages("torch", "openvino"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_symmetric(tmp_path / "model", make=write_plain, layers=1)


@pytest.fixture
def index(tmp_path: Path, folder: Path) -> Path:
    with lsr.Index.create(tmp_path / "i.lsr", str(folder)) as made:
        made.add(DOCUMENTS)
    return tmp_path / "i.lsr"


def refused(index: Path, action) -> str:
    """The sentence of an index that does not find its model."""
    with lsr.Index.open(index) as opened, pytest.raises(EncoderMismatchError) as caught:
        action(opened)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) <= 600 and caught.value.exit_code == 2
    return sentence


def test_a_fresh_process_finds_the_model(index: Path, tmp_path: Path) -> None:
    code = (
        "import sys, lsr\n"
        "with lsr.Index.open(sys.argv[1]) as index:\n"
        "    print(*[hit.id for hit in index.search('the heart')])\n"
        "    index.add([{'id': '3', 'text': 'The moon.'}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, index], capture_output=True, text=True, cwd="/", env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"1", "2"}
    with lsr.Index.open(index) as opened:
        assert len(opened) == 3


def test_a_relative_name_is_kept_whole(tmp_path: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lsr.Index.create("i.lsr", "model") as made:
        made.add(DOCUMENTS)
    monkeypatch.chdir("/")
    with lsr.Index.open(tmp_path / "i.lsr") as opened:
        assert opened.settings.encoder_name == str(folder) and opened.search("heart")


def test_a_model_that_was_moved_is_named(index: Path, folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "moved")
    for action in (
        lambda opened: opened.search("heart"),
        lambda opened: opened.search_many(["heart", "moon"]),
        lambda opened: opened.explain("heart", "1"),
    ):
        sentence = refused(index, action)
        assert str(folder) in sentence and "encoder=" in sentence
    assert str(folder) in refused(index, lambda opened: opened.add([{"id": "3", "text": "x"}]))
    with lsr.Index.open(index) as opened:  # what needs no model goes on
        assert "1" in opened and opened.get("2")["text"] == DOCUMENTS[1]["text"]
        assert opened.search({"heart": 1.0})
    with lsr.Index.open(index, encoder=lsr.load_encoder(moved)) as opened:
        assert {hit.id for hit in opened.search("heart")} == {"1", "2"}
        opened.add([{"id": "3", "text": "The moon."}])
        assert len(opened) == 3


def test_a_model_that_was_changed_is_refused(index: Path, folder: Path) -> None:
    write_plain(folder, layers=1, seed=9)
    for action in (
        lambda opened: opened.search("heart"),
        lambda opened: opened.add([{"id": "3", "text": "x"}]),
    ):
        assert str(folder) in refused(index, action)


def test_a_model_that_lost_its_weights_is_refused(index: Path, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    sentence = refused(index, lambda opened: opened.search("heart"))
    assert "model.safetensors" in sentence and ".;" not in sentence and ".)" not in sentence
    (folder / "tokenizer.json").unlink()
    assert str(folder) in refused(index, lambda opened: opened.search("heart"))


def test_another_encoder_is_not_taken(index: Path, tmp_path: Path) -> None:
    other = write_symmetric(tmp_path / "other", make=write_plain, layers=1, seed=3)
    for encoder in (lsr.load_encoder(other), lsr.load_encoder("bm25")):
        with lsr.Index.open(index, encoder=encoder) as opened:
            with pytest.raises(EncoderMismatchError, match=r"is another\.$"):
                opened.search("heart")
            with pytest.raises(EncoderMismatchError, match="makes other vectors"):
                opened.add([{"id": "3", "text": "x"}])


def test_the_bytes_hold_a_reference_and_no_model(folder: Path) -> None:
    side = lsr.load_encoder(folder).query_side()
    data = side.to_bytes()
    assert len(data) < 4_000 < (folder / "model.safetensors").stat().st_size
    again = load_query_side(data)
    assert isinstance(again, NeuralQueries) and again.model == str(folder)
    assert again.fingerprint == side.fingerprint and again.column("heart") == side.column("heart")
    assert again.column("nothing") is None and again.term(again.column("heart")) == "heart"


def test_callers_on_many_threads_get_their_own_answers(index: Path) -> None:
    queries = ["heart", "the immune system", "moon", "city of the sun"] * 8
    with lsr.Index.open(index) as opened:
        side = opened.query_side
        wanted = {query: side.weigh(query) for query in queries[:4]}
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(side.weigh, queries))
    for query, (columns, weights) in zip(queries, found, strict=True):
        assert columns.tolist() == wanted[query][0].tolist()
        np.testing.assert_allclose(weights, wanted[query][1], rtol=1e-5, atol=1e-6)
