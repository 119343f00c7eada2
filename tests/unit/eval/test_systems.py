"""Several systems in one report: quantisations, modes, vectors made elsewhere and fusions."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lsr
from lsr.cli import cli
from lsr.cli.failures import run as run_cli
from lsr.data.demo_corpus import demo_folder
from lsr.encoders.loading import load_encoder
from lsr.errors import InputError
from lsr.eval import choosing
from lsr.eval.datasets import load_datasets
from lsr.eval.runner import evaluate_beir
from lsr.index import calibration

pytest.importorskip("bm25s")


def by_system(report):
    return {result.system: result for result in report.results}


def ids_of(result):
    return {query: [id for id, _ in ranking] for query, ranking in result.run.rankings.items()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory, words):
    home = tmp_path_factory.mktemp("variants")
    report = evaluate_beir(
        [str(demo_folder().path)],
        encoders=[words],
        baselines=["bm25"],
        quantize=["u8", "u16", "f32"],
        fusions=["rrf:words,bm25", "minmax:words u16,bm25s"],
        run_dir=home,
    )
    return report, home / "demo"


def test_each_system_has_a_name_of_its_own(demo):
    assert list(by_system(demo[0])) == [
        *("words", "words u16", "words f32", "bm25s"),
        *("rrf(words, bm25s)", "minmax(words u16, bm25s)"),
    ]
    assert [item.system for item in demo[0].comparisons] == [
        *("words", "words u16", "words f32"),
        *("rrf(words, bm25s)", "minmax(words u16, bm25s)"),
    ]


def test_quantisations_are_those_of_an_index_that_a_user_makes(demo, tmp_path, words):
    found = by_system(demo[0])
    queries = load_datasets([str(demo_folder().path)])[0].queries
    encoder = load_encoder(words)
    for quantize, name in (("u8", "words"), ("u16", "words u16"), ("f32", "words f32")):
        with lsr.Index.create(tmp_path / quantize, encoder, quantize=quantize) as index:
            index.add(document.fields for document in demo_folder().documents())
            ranked = index.rank_many(list(queries.values()), k=20)
        expected = [pairs[:10] for pairs in ranked]
        assert [ranking[:10] for ranking in found[name].run.rankings.values()] == expected
    assert found["words"].run.index_bytes < found["words f32"].run.index_bytes
    assert found["words f32"].run.sparsity.flops_weights == pytest.approx(
        found["words u16"].run.sparsity.flops_weights, rel=1e-3
    )


def test_a_fusion_is_made_of_its_two_runs(demo):
    found = by_system(demo[0])
    first, second = found["words"].run, found["bm25s"].run
    fused = found["rrf(words, bm25s)"].run
    query = next(iter(first.rankings))
    expected = dict.fromkeys(id for run in (first, second) for id, _ in run.rankings[query])
    for id in expected:
        ranks = [[one for one, _ in run.rankings[query]] for run in (first, second)]
        expected[id] = sum(1 / (61 + ranked.index(id)) for ranked in ranks if id in ranked)
    best = sorted(expected.values(), reverse=True)[:1000]
    assert [score for _, score in fused.rankings[query]] == pytest.approx(best)
    assert all(score == pytest.approx(expected[id]) for id, score in fused.rankings[query])
    assert fused.index_bytes == first.index_bytes + second.index_bytes
    assert fused.latency.p50 >= max(first.latency.p50, second.latency.p50)
    assert len(fused.milliseconds) == 64


def test_documents_a_second_are_the_encoder_s_own_for_every_quantisation(demo):
    """The second and third index read vectors that the first one made, and count their seconds too."""
    _, folder = demo
    (vectors,) = folder.glob("*.vectors")
    seconds = sum(float(np.load(path)["frame"][1]) for path in vectors.glob("*.npz"))
    assert seconds > 0
    for name in ("words", "words u16", "words f32"):
        assert by_system(demo[0])[name].run.build_seconds > seconds


def test_scores_can_be_taken_apart(demo):
    found = by_system(demo[0])
    queries = load_datasets([str(demo_folder().path)])[0].queries
    for name in ("words", "words u16", "bm25s"):
        for query in list(queries)[:5]:
            id, score = found[name].run.rankings[query][0]
            terms = found[name].run.explain(queries[query], id)
            assert sum(term.contribution for term in terms) == pytest.approx(score, rel=1e-5)
            assert [t.contribution for t in terms] == sorted((t.contribution for t in terms), reverse=True)
    assert found["rrf(words, bm25s)"].run.explain is None


def test_approximate_rows_stand_beside_the_exact_one(words, monkeypatch):
    monkeypatch.setattr(calibration, "LEAST_ROWS", 64)
    report = evaluate_beir(
        [str(demo_folder().path)], encoders=[words], modes=["exact", "approximate"], overlaps=[0.3, 1.0]
    )
    exact, rough, whole = report.results
    assert [rough.system, whole.system] == ["words approximate@0.3", "words approximate@1"]
    assert whole.run.rankings == exact.run.rankings
    assert whole.run.overlap_with_exact == exact.run.overlap_with_exact == 1.0
    assert 0.2 < rough.run.overlap_with_exact < 1.0


def test_vectors_of_lsr_encode_rank_as_the_encoder_does(tmp_path, words, capsys):
    corpus = str(demo_folder().path)
    documents, queries = tmp_path / "mine.npz", tmp_path / "asked.npz"
    assert run_cli(cli, ["encode", corpus, "--encoder", words, "--output", str(documents)]) == 0
    assert run_cli(cli, ["encode", corpus, "--encoder", words, "--query", "--output", str(queries)]) == 0
    report = evaluate_beir([corpus], encoders=[], vectors=[f"{documents},{queries}"], run_dir=tmp_path / "r")
    (result,) = report.results
    assert result.system == "mine"
    assert result.run.documents == 1078
    # The encoder alone knows no document frequencies of this corpus: its queries are weighed by the model.
    with lsr.Index.create(tmp_path / "model", words, query_weights="model", quantize="f32") as index:
        index.add(document.fields for document in demo_folder().documents())
        asked = load_datasets([corpus])[0].queries
        expected = index.rank_many(list(asked.values()), k=10)
    same = [
        len({id for id, _ in one} & {id for id, _ in other[:10]}) / max(len(one), 1)
        for one, other in zip(expected, result.run.rankings.values(), strict=True)
    ]
    assert np.mean(same) > 0.97
    id, score = next(iter(result.run.rankings.values()))[0]
    terms = result.run.explain(next(iter(asked.values())), id)
    assert sum(term.contribution for term in terms) == pytest.approx(score, rel=1e-5)


def write_vectors(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": id, "vector": vector}) + "\n" for id, vector in rows.items())
    return path


def test_vectors_of_another_corpus_or_without_a_query_are_refused(tmp_path, small, beir):
    documents = {row["_id"]: {"a": 1.0} for row in beir.documents}
    queries = {id: {"a": 2.0, "unheard": 1.0} for id in beir.queries}
    d = write_vectors(tmp_path / "d.jsonl", documents)
    q = write_vectors(tmp_path / "q.jsonl", queries)
    (result,) = evaluate_beir([str(small)], encoders=[], vectors=[f"{d},{q}"]).results
    assert [id for id, _ in result.run.rankings["q2"]] == list(documents)
    assert result.run.sparsity.query_terms == 1.0
    other = write_vectors(tmp_path / "other.jsonl", {**documents, "d7": {"a": 1.0}})
    with pytest.raises(InputError, match=r'document in the corpus: "d7"'):
        evaluate_beir([str(small)], encoders=[], vectors=[f"{other},{q}"])
    fewer = write_vectors(tmp_path / "fewer.jsonl", {"q1": {"a": 1.0}})
    with pytest.raises(InputError, match="3 judged queries of small have no vector"):
        evaluate_beir([str(small)], encoders=[], vectors=[f"{d},{fewer}"])
    second = beir.write(tmp_path / "second")
    with pytest.raises(InputError, match="one DATASET"):
        evaluate_beir([str(small), str(second)], encoders=[], vectors=[f"{d},{q}"])


def test_every_quantisation_is_offered():
    assert choosing.QUANTISATIONS == ("u8", "u16", "f32")
