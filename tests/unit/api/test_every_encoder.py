"""Every kind of encoder inside an index: added, searched, explained, highlighted, opened again."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from encoder_kinds import Case

import lsr
from lsr.data.demo_corpus import demo_folder
from lsr.errors import InputError
from lsr.highlight import Highlighter

QUERY = "how does the immune system protect people"
FIFTY = ("bm25", "lsr-en-1", "splade onnx", "router", "decoder echo")
SOME = [
    {"id": f"d{number}", "text": document.text[:180]}
    for number, document in enumerate(islice(demo_folder().documents(), 50))
]
SOME[7] = {"id": "d7", "text": "Vaccines train the immune system to protect people from viruses."}
SOME[8] = {"id": "d8", "text": ""}


@pytest.fixture(scope="module")
def built(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of all documents in one add."""
    path = tmp_path_factory.mktemp("index") / "i.lsr"
    with lsr.Index.create(path, case.encoder) as index:
        assert index.add(SOME).added == len(SOME)
    return path


def opened(case: Case, path: Path) -> lsr.Index:
    """An index with the encoder that the case loaded: by itself it would take another precision."""
    return lsr.Index.open(path, encoder=case.encoder)


def pairs(hits) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


def test_one_add_is_fifty_adds(case: Case, built: Path, tmp_path: Path) -> None:
    """Fifty for the kinds that differ most, ten for their variants."""
    documents = SOME if case.name in FIFTY else SOME[:10]
    with lsr.Index.create(tmp_path / "one.lsr", case.encoder) as one:
        one.add(documents)
        wanted = one.search_many([QUERY, "heart attack", "climate"], k=60)
    with lsr.Index.create(tmp_path / "many.lsr", case.encoder) as many:
        for document in documents:
            many.add([document])
        assert len(many) == len(documents)
        found = many.search_many([QUERY, "heart attack", "climate"], k=60)
    assert wanted[0]
    for hits, theirs in zip(wanted, found, strict=True):
        assert {hit.id for hit in hits} == {hit.id for hit in theirs}
        if case.kind.exact or case.name == "bm25":
            assert pairs(hits) == pairs(theirs)
        scores = dict(pairs(theirs))
        for hit in hits:  # a weight may round to the next step where a batch sums in another order
            assert hit.score == pytest.approx(scores[hit.id], rel=0.02)


def test_a_text_is_asked_as_its_vector_is(case: Case, built: Path) -> None:
    with opened(case, built) as index:
        hits = index.search(QUERY, k=20)
        assert hits and [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert pairs(hits[:5]) == pairs(index.search(QUERY, k=5))
        assert pairs(hits) == pairs(index.search_many([QUERY, "other"], k=20)[0])
        if index.settings.query_weights == "model":
            vector = case.encoder.encode_queries([QUERY])
            assert pairs(index.search(vector, k=20)) == pairs(hits)
            named = {case.encoder.term(c): float(w) for c, w in zip(vector.indices, vector.data, strict=True)}
            assert pairs(index.search(named, k=20)) == pairs(hits)


def test_an_explanation_is_the_score(case: Case, built: Path) -> None:
    with opened(case, built) as index:
        for hit in index.search(QUERY, k=5):
            explanation = index.explain(QUERY, hit.id)
            assert explanation.score == hit.score
            assert sum(term.contribution for term in explanation.terms) == pytest.approx(hit.score, rel=1e-6)
            assert {term.kind for term in explanation.terms} <= {"word", "learned"}
        own = {term.term for term in index.explain(QUERY, "d7").terms if term.kind == "word"}
        assert own and not own & {"[CLS]", "[SEP]", "[UNK]", "<s>", "</s>", "<unk>"}
        if case.is_folder and "decoder" not in case.name:
            assert own <= set(SOME[7]["text"].lower().replace(".", " .").split())


def test_words_of_a_hit_are_marked(case: Case, built: Path) -> None:
    with opened(case, built) as index:
        text = SOME[7]["text"]
        snippet = Highlighter(index.query_side).snippet(text, index.matched(QUERY, "d7"), 200)
        marked = [snippet.text[start:end] for start, end in snippet.marks]
        assert marked and set(marked) <= set(text.replace(".", "").split())


def test_a_reopened_index_takes_more_and_stays_its_encoders(case: Case, built: Path, tmp_path: Path) -> None:
    with lsr.Index.create(tmp_path / "i.lsr", case.encoder) as index:
        index.add(SOME[:10])
    with opened(case, tmp_path / "i.lsr") as index:
        assert index.settings.encoder_fingerprint == case.encoder.fingerprint
        assert index.settings.encoder_name == case.encoder.reference
        assert index.settings.dimension == case.encoder.dimension
        index.add([{"id": "new", "text": SOME[7]["text"]}])
        scores = dict(pairs(index.search(QUERY, k=60)))
        assert scores["new"] == pytest.approx(scores["d7"], rel=0.02)


def test_weights_of_the_corpus_are_for_those_that_can(case: Case, tmp_path: Path) -> None:
    if case.encoder.query_side().weighs_by_corpus:
        lsr.Index.create(tmp_path / "i.lsr", case.encoder, query_weights="corpus").close()
        return
    with pytest.raises(InputError, match='query_weights="model"'):
        lsr.Index.create(tmp_path / "i.lsr", case.encoder, query_weights="corpus")
    assert not (tmp_path / "i.lsr").exists()


def test_finer_steps_are_nearer_to_the_floats(case: Case, tmp_path: Path) -> None:
    texts = [document["text"] for document in SOME[:20]]
    vectors = case.encoder.encode_documents(texts)
    with lsr.Index.create(tmp_path / "i.lsr", case.encoder, quantize="f32", query_weights="model") as index:
        index.add(SOME[:20])
        query = case.encoder.encode_queries([QUERY])
        wanted = (vectors @ query.T).toarray()[:, 0]
        scores = dict(pairs(index.search(QUERY, k=20)))
        found = np.array([scores.get(f"d{row}", 0.0) for row in range(20)])
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
