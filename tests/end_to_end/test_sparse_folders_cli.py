"""The installed `lsr` with folders of language models: every command, and folders that are at fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from encoder_kinds import own_cache
from plain_bert import write_plain
from sparse_models import write_bare, write_router, write_symmetric

CORPUS = (
    '{"id": "1", "text": "Vaccines train the immune system."}\n'
    '{"id": "2", "title": "Heart", "text": "The heart of the city."}\n'
    '{"id": "3", "text": ""}\n'
)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted graphs go away with the tests."""
    before = environment.get("LSR_CACHE_DIR")
    environment["LSR_CACHE_DIR"] = own_cache(tmp_path_factory.mktemp("own"))
    yield
    del environment["LSR_CACHE_DIR"]
    if before is not None:
        environment["LSR_CACHE_DIR"] = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_symmetric(tmp_path_factory.mktemp("models") / "tiny-splade", make=write_plain, layers=1)


@pytest.fixture(scope="module")
def index(lsr, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index by the folder; tests must not change it."""
    place = tmp_path_factory.mktemp("index")
    (place / "c.jsonl").write_text(CORPUS, encoding="utf-8")
    done = lsr("index", place / "c.jsonl", "--index", place / "i.lsr", "--encoder", folder, "--json")
    assert done.code == 0 and done.json()["documents"] == 3, done.err
    assert "Traceback" not in done.err
    return place / "i.lsr"


def test_search_finds_and_explains(lsr, index: Path) -> None:
    done = lsr("search", index, "the immune system", "--explain", "--json")
    assert done.code == 0 and done.err == ""
    hits = done.json()
    assert {hit["id"] for hit in hits} == {"1", "2", "3"}  # a random model adds terms to the empty text too
    for hit in hits:
        terms = hit["explanation"]
        assert sum(term["contribution"] for term in terms) == pytest.approx(hit["score"], rel=1e-6)
        words = {term["term"] for term in terms if term["kind"] == "word"}
        text = f"{hit['document'].get('title', '')} {hit['document']['text']}".lower()
        assert words <= set(text.replace(".", " .").split())
    seen = lsr("search", index, "the immune system", "--explain")
    assert seen.code == 0 and "Vaccines train the immune system." in seen.out


def test_add_info_and_verify(lsr, index: Path, folder: Path, tmp_path: Path) -> None:
    path = shutil.copytree(index, tmp_path / "i.lsr")
    (tmp_path / "more.jsonl").write_text('{"id": "4", "text": "The moon."}\n', encoding="utf-8")
    done = lsr("add", path, tmp_path / "more.jsonl", "--json")
    assert done.code == 0 and done.json()["documents"] == 4, done.err
    facts = lsr("info", path, "--json").json()
    assert str(folder) in json.dumps(facts) and facts["documents"] == 4
    assert lsr("verify", path).code == 0


def test_encode_gives_the_vectors_of_the_index(lsr, index: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tthe immune system\n", encoding="utf-8")
    done = lsr("encode", tmp_path / "q.tsv", "--query", "--encoder", folder, "--output", tmp_path / "q.jsonl")
    assert done.code == 0, done.err
    vector = json.loads((tmp_path / "q.jsonl").read_text(encoding="utf-8"))["vector"]
    assert {"immune", "system"} & set(vector)
    by_vector = lsr("search", index, "--vector", json.dumps(vector), "--json").json()
    by_text = lsr("search", index, "the immune system", "--json").json()
    assert [hit["id"] for hit in by_vector] == [hit["id"] for hit in by_text]
    for one, other in zip(by_vector, by_text, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-6)


def test_evaluation(lsr, corpus: Path, folder: Path) -> None:
    done = lsr("eval", "beir", corpus, "--encoder", folder, "--json")
    assert done.code == 0, done.err
    (result,) = done.json()["results"]
    assert result["system"] == "tiny-splade" and result["queries"] == 64
    assert 0 <= result["ndcg_at_10"] <= 1 and result["document_terms"] > 10


def test_a_router_needs_no_model_to_be_asked(lsr, tmp_path: Path) -> None:
    folder = write_router(tmp_path / "router", make=write_plain, layers=1)
    (tmp_path / "c.jsonl").write_text(CORPUS, encoding="utf-8")
    fast = ("--device", "cpu", "--precision", "fast", "--max-length", "16")
    done = lsr("index", tmp_path / "c.jsonl", "--index", tmp_path / "i.lsr", "--encoder", folder, *fast)
    assert done.code == 0, done.err
    shutil.rmtree(folder)
    done = lsr("search", tmp_path / "i.lsr", "immune", "--json")
    assert done.code == 0 and "1" in {hit["id"] for hit in done.json()}
    (tmp_path / "more.jsonl").write_text('{"id": "4", "text": "The moon."}\n', encoding="utf-8")
    done = lsr("add", tmp_path / "i.lsr", tmp_path / "more.jsonl")
    assert_sentence(done, str(folder))


def assert_sentence(done: Any, named: str) -> None:
    """Exit code 2, and one sentence that names something."""
    assert done.code == 2, done.err
    assert done.out == "" and "Traceback" not in done.err
    assert named in done.last and len(done.last) <= 600 and done.last.endswith(".")
    assert "inside lsr" not in done.last


def model(path: Path) -> Path:
    return write_plain(path, layers=1)


def edit(file: Path, change: Callable[[str], str]) -> None:
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")


def pickled(path: Path) -> None:
    (model(path) / "model.safetensors").rename(path / "pytorch_model.bin")


def cut_weights(path: Path) -> None:
    weights = model(path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def other_weights(path: Path) -> None:
    write_bare(path, num_attention_heads=4, num_hidden_layers=1)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.mkdir(), "model"),
    "not there": (lambda path: None, "model"),
    "pickled weights": (pickled, "pytorch_model.bin"),
    "cut weights": (cut_weights, "model.safetensors"),
    "other weights": (other_weights, "lacks the weight"),
    "damaged tokenizer": (
        lambda path: edit(model(path) / "tokenizer.json", lambda text: text[:500]),
        "tokenizer.json",
    ),
    "no tokenizer": (lambda path: (model(path) / "tokenizer.json").unlink(), "tokenizer.json"),
    "damaged configuration": (
        lambda path: edit(model(path) / "config.json", lambda text: text[:-5]),
        "config.json",
    ),
    "no heads": (
        lambda path: edit(model(path) / "config.json", lambda text: text.replace("num_attention", "n")),
        "num_attention_heads",
    ),
    "code of its own": (
        lambda path: edit(model(path) / "config.json", lambda text: '{"auto_map": {"a": "b.C"}, ' + text[1:]),
        "auto_map",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_folder_at_fault_is_exit_2_and_one_sentence(lsr, tmp_path: Path, name: str) -> None:
    make, named = FAULTS[name]
    make(tmp_path / "model")
    (tmp_path / "c.jsonl").write_text(CORPUS, encoding="utf-8")
    done = lsr("index", tmp_path / "c.jsonl", "--index", tmp_path / "i.lsr", "--encoder", tmp_path / "model")
    assert_sentence(done, named)
    assert not (tmp_path / "i.lsr").exists()


def test_options_that_a_model_cannot_follow(lsr, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(CORPUS, encoding="utf-8")
    build = ("index", tmp_path / "c.jsonl", "--index", tmp_path / "i.lsr", "--encoder", folder)
    assert_sentence(lsr(*build, "--max-length", "1000"), "max_length=1000")
    assert_sentence(lsr(*build, "--max-length", "2"), "max_length=2")
    assert not (tmp_path / "i.lsr").exists()


def test_a_moved_model_and_a_hub_without_network(lsr, environment, tmp_path: Path) -> None:
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    before = dict(environment)
    environment.update(settings)
    try:
        (tmp_path / "c.jsonl").write_text(CORPUS, encoding="utf-8")
        done = lsr(
            "index", tmp_path / "c.jsonl", "--index", tmp_path / "i.lsr", "--encoder", "hf:nobody/nothing"
        )
    finally:
        environment.clear()
        environment.update(before)
    assert_sentence(done, "hf:nobody/nothing could not be fetched")
    moved = write_symmetric(tmp_path / "model", make=write_plain, layers=1)
    assert lsr("index", tmp_path / "c.jsonl", "--index", tmp_path / "i.lsr", "--encoder", moved).code == 0
    moved.rename(tmp_path / "elsewhere")
    assert_sentence(lsr("search", tmp_path / "i.lsr", "heart"), str(moved))
