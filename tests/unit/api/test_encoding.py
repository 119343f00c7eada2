"""Encoding to files: what is read and refused, what waits in memory, and that the vectors search alike."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy.sparse import load_npz, vstack

import lsr
from lsr.building import Reading
from lsr.data.demo_corpus import demo_folder
from lsr.data.vectors import read_vectors
from lsr.data.vectors_out import name_terms
from lsr.encoding import DocumentTexts, EncodeRequest, IdLog, QueryTexts, Waiting, encode_to_file
from lsr.errors import DuplicateIdError, InputError, InputFileError
from lsr.progress import set_quiet
from lsr.types import SparseBatch


@pytest.fixture(autouse=True)
def quiet():
    set_quiet(True)
    yield
    set_quiet(False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    documents = [{"id": str(i), "text": f"car {i} " + "vaccine engine " * (i % 3)} for i in range(30)]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return path


def encode(output: Path, corpus: Path | list[str], encoder: object = "bm25", **options):
    sources = tuple(map(str, corpus if isinstance(corpus, list) else [corpus]))
    texts = DocumentTexts(Reading(sources))
    return encode_to_file(EncodeRequest(texts, str(output), str(encoder), **options))


# The same scores as an index built from the texts

QUERIES = ["copy files to another machine", "zip zap zorblax frobnicate", "the", "show disk usage of folders"]


def documents() -> list[dict[str, str]]:
    found = [dict(document.fields) for _, document in zip(range(60), demo_folder().documents(), strict=False)]
    return [*found, {"id": "odd", "text": "zorblax! zorblax frobnicate files"}, {"id": "empty", "text": ""}]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory):
    """For each encoder and form: an index of texts, one of their encoded vectors, and the encoded queries."""
    made = {}
    folder = tmp_path_factory.mktemp("pairs")
    corpus, queries = folder / "corpus.jsonl", folder / "queries.tsv"
    corpus.write_text("".join(json.dumps(d) + "\n" for d in documents()), encoding="utf-8")
    queries.write_text("".join(f"q{n}\t{text}\n" for n, text in enumerate(QUERIES)), encoding="utf-8")
    set_quiet(True)

    def make(name: str, form: str):
        if (name, form) not in made:
            place = folder / f"{name}-{form}"
            place.mkdir()
            direct = lsr.Index.create(place / "direct.lsr", name, query_weights="model")
            direct.add(documents())
            done = encode(place / f"d.{form}", corpus, name)
            encode_to_file(EncodeRequest(QueryTexts([str(queries)]), str(place / f"q.{form}"), name))
            source = read_vectors(place / f"d.{form}")
            other = lsr.Index.create(
                place / "vectors.lsr",
                encoder=None,
                vocabulary=source.vocabulary,
                max_document_weight=done.max_document_weight,
            )
            for ids, matrix, _ in source.batches(25):
                other.add_vectors(ids, matrix)
            made[name, form] = direct, other, queries_of(place / f"q.{form}")
        return made[name, form]

    yield make
    for direct, other, _ in made.values():
        direct.close()
        other.close()


def queries_of(path: Path) -> list[dict[str, float]]:
    source = read_vectors(path)
    return [
        {source.vocabulary[c]: w for c, w in zip(row.indices.tolist(), row.data.tolist(), strict=True)}
        for _, matrix, _ in source.batches(10)
        for row in (matrix[[n]] for n in range(matrix.shape[0]))
    ]


@pytest.mark.parametrize("form", ["npz", "jsonl"])
@pytest.mark.parametrize("name", ["bm25", "lsr-en-1"])
def test_encoded_vectors_give_the_scores_of_an_index_of_the_texts(pairs, name: str, form: str) -> None:
    direct, other, asked = pairs(name, form)
    assert len(direct) == len(other) == 62
    for text, vector in zip(QUERIES, asked, strict=True):
        expected = [(hit.id, hit.score) for hit in direct.search(text, 100)]
        assert expected
        assert [(hit.id, hit.score) for hit in other.search(vector, 100)] == expected
    assert other.search(asked[1], 1)[0].id == "odd"


def test_a_query_term_that_no_document_has_still_sets_the_step_of_the_others(pairs) -> None:
    encoder = lsr.load_encoder("bm25")
    row = encoder.encode_queries(["files the zorblaxian"])[[0]]
    vector = {encoder.term(c): w for c, w in zip(row.indices.tolist(), row.data.tolist(), strict=True)}
    assert max(vector, key=vector.__getitem__).startswith("open:")
    found = {}
    for form in ("npz", "jsonl"):
        direct, other, _ = pairs("bm25", form)
        found[form] = [(hit.id, hit.score) for hit in other.search(vector, 100)]
    expected = [(hit.id, hit.score) for hit in direct.search("files the zorblaxian", 100)]
    assert found["npz"] == found["jsonl"] == expected


@pytest.mark.parametrize("form", ["npz", "jsonl"])
def test_the_terms_of_an_explanation_are_the_same(pairs, form: str) -> None:
    direct, other, asked = pairs("lsr-en-1", form)
    for text, vector in zip(QUERIES, asked, strict=True):
        id = direct.search(text, 1)[0].id
        ours = sorted((t.query_weight, t.document_weight) for t in other.explain(vector, id).terms)
        assert ours == sorted((t.query_weight, t.document_weight) for t in direct.explain(text, id).terms)
    names = {term.term for term in other.explain(asked[1], "odd").terms}
    assert any(name.startswith("open:") for name in names), "unknown words have their columns' names"


def test_documents_and_queries_share_the_columns_of_npz(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tzorblax car\n2\tnothing\n", encoding="utf-8")
    encode(tmp_path / "d.npz", corpus)
    encode_to_file(EncodeRequest(QueryTexts([str(tmp_path / "q.tsv")]), str(tmp_path / "q.npz"), "bm25"))
    encoder = lsr.load_encoder("bm25")
    texts = [document.text for document in DocumentTexts(Reading((str(corpus),))).reading.documents([])]

    found, asked = load_npz(tmp_path / "d.npz"), load_npz(tmp_path / "q.npz")
    assert (found != encoder.encode_documents(texts)).nnz == 0
    assert (asked != encoder.encode_queries(["zorblax car", "nothing"])).nnz == 0
    assert found.shape[1] == asked.shape[1] == encoder.dimension
    vocabulary = (tmp_path / "d.vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert vocabulary == name_terms([encoder.term(column) for column in range(encoder.dimension)])
    assert vocabulary == (tmp_path / "q.vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]


# What is read, and refused


def test_the_report(tmp_path: Path, corpus: Path) -> None:
    with corpus.open("a", encoding="utf-8") as file:
        file.write('{"id": "empty", "text": " !"}\n{"id": "long", "text": "' + "ice " * 300 + '"}\n')
    done = encode(tmp_path / "x.npz", corpus, "lsr-en-1", batch_size=9)
    matrix = load_npz(tmp_path / "x.npz")

    assert (done.encoder, done.unit, done.texts) == ("lsr-en-1", "documents", 32)
    assert (done.empty, done.truncated, done.max_length) == (1, 1, 192)
    assert done.terms == matrix.nnz and done.terms_each == matrix.nnz / 32
    assert done.max_document_weight == 4.15 and done.seconds > 0
    assert [file.name for file in done.files] == ["x.npz", "x.ids.txt", "x.vocabulary.txt"]


def test_max_length_is_the_encoders(tmp_path: Path, corpus: Path) -> None:
    short = EncodeRequest(DocumentTexts(Reading((str(corpus),)), 4), str(tmp_path / "a.npz"), "lsr-en-1")
    assert encode_to_file(short).truncated > 0
    encode(tmp_path / "b.npz", corpus, "lsr-en-1")
    assert (load_npz(tmp_path / "a.npz") != load_npz(tmp_path / "b.npz")).nnz
    wrong = DocumentTexts(Reading((str(corpus),)), 100_000)
    with pytest.raises(InputError, match="512"):
        encode_to_file(EncodeRequest(wrong, str(tmp_path / "c.npz"), "lsr-en-1"))


def test_ids_that_come_twice_are_refused_before_anything_is_encoded(tmp_path: Path, corpus: Path) -> None:
    output = tmp_path / "x.jsonl"
    with pytest.raises(DuplicateIdError, match="30 ids come twice") as caught:
        encode(output, [str(corpus), str(corpus)])
    assert len(caught.value.ids) == 30 and "on_duplicate" not in str(caught.value)
    assert not output.exists()


def test_ids_that_come_twice_on_standard_input(tmp_path: Path, monkeypatch) -> None:
    rows = b'{"id": "a", "text": "x"}\n{"id": "b\\n", "text": "y"}\n{"id": "b\\n", "text": "z"}\n'
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(rows)))
    with pytest.raises(DuplicateIdError) as caught:
        encode(tmp_path / "x.jsonl", ["-"], batch_size=1)
    assert caught.value.ids == ["b\n"]
    assert list(tmp_path.iterdir()) == []


def test_equal_hashes_of_different_ids_are_no_duplicates(monkeypatch) -> None:
    with IdLog() as log:
        log.add(["a", "b", "c"])
        log._hashes[1] = log._hashes[0]
        log.check()
        log.add(["a"])
        with pytest.raises(DuplicateIdError) as caught:
            log.check()
        assert caught.value.ids == ["a"]


def test_a_line_that_cannot_be_read_stops_or_is_told(tmp_path: Path, corpus: Path) -> None:
    with corpus.open("a", encoding="utf-8") as file:
        file.write('nonsense\n{"id": "last", "text": "ice"}\n')
    with pytest.raises(InputError, match="line 31"):
        encode(tmp_path / "x.jsonl", corpus)
    skipping = DocumentTexts(Reading((str(corpus),), on_error="skip"))
    done = encode_to_file(EncodeRequest(skipping, str(tmp_path / "x.jsonl"), "bm25"))
    assert done.texts == 31 and len(done.faults) == 1 and "line 31" in done.faults[0]


def test_queries_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tcar\n2\t\n", encoding="utf-8")
    both = QueryTexts([str(tmp_path / "q.tsv"), str(demo_folder().path)])
    found = list(both.read([]))
    assert found[:2] == [("1", "car"), ("2", "")] and len(found) == 66
    assert both.survey().documents == 66
    with pytest.raises(DuplicateIdError, match="64 ids come twice"):
        QueryTexts([str(demo_folder().path)] * 2)
    with pytest.raises(InputFileError, match="nowhere"):
        QueryTexts([str(tmp_path / "nowhere.tsv")])
    with pytest.raises(InputError, match="standard input"):
        QueryTexts(["-"])


def test_memory_is_read(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match="memory"):
        encode(tmp_path / "x.jsonl", corpus, memory="1MB")
    assert encode(tmp_path / "x.jsonl", corpus, memory="16MB").texts == 30


# What waits


class Log:
    """Counts the rows of each call, and the most bytes that came in one."""

    files: list[Path] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.ids: list[str] = []
        self.parts: list[object] = []

    def write(self, ids, batch: SparseBatch) -> None:
        assert len(ids) == len(batch)
        self.rows.append(len(ids))
        self.ids += ids
        self.parts.append(batch.to_csr())

    def finish(self) -> None: ...

    def discard(self) -> None: ...


def test_vectors_wait_until_there_are_enough(encoder) -> None:
    log = Log()
    batches = [encoder.encode_batch([f"car {n}", "vaccine wheel"]) for n in range(10)]
    waiting = Waiting(log, 700)
    for n, batch in enumerate(batches):
        waiting.put([f"{n}a", f"{n}b"], batch)
    waiting.write()
    waiting.write()

    assert len(log.rows) == 4 and max(log.rows) == 6 and log.rows[-1] == 2
    assert log.ids == [f"{n}{half}" for n in range(10) for half in "ab"]
    expected = vstack([batch.to_csr() for batch in batches])
    assert (vstack(log.parts) != expected).nnz == 0
