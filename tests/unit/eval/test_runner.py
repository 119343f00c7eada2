"""A whole evaluation on small data: what is reported, written and refused."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest

import lsr
from lsr.data.demo_corpus import demo_folder
from lsr.errors import InputError, InputFileError, LsrError, UnknownEncoderError
from lsr.eval.measures import MEASURES, mean, measure_queries
from lsr.eval.runner import evaluate_beir
from lsr.eval.significance import compare

pytest.importorskip("bm25s")
ir_measures = pytest.importorskip("ir_measures")

RESULT_KEYS = {
    *("dataset", "system", "ndcg_at_10", "recall_at_100", "mrr_at_10", "queries", "documents", "query_terms"),
    *("document_terms", "flops", "index_bytes", "stored_bytes", "overlap_with_exact"),
    *("documents_per_second", "latency_ms"),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory, words):
    """The demo corpus, measured once for all tests here."""
    home = tmp_path_factory.mktemp("evaluation")
    report = evaluate_beir(
        [str(demo_folder().path)],
        encoders=[words],
        baselines=["bm25"],
        run_dir=home / "runs",
        per_query=home / "queries.jsonl",
    )
    return report, home


def test_the_json_has_the_keys_that_the_design_fixes(demo):
    report = json.loads(json.dumps(demo[0].to_json()))
    assert report["version"] == 1
    assert [(row["dataset"], row["system"]) for row in report["results"]] == [
        ("demo", "words"),
        ("demo", "bm25s"),
    ]
    for row in report["results"]:
        assert set(row) >= RESULT_KEYS
        assert set(row["latency_ms"]) >= {"p50", "p95", "p99"}
        assert row["queries"] == 64
        assert row["documents"] == 1078
        assert 0.3 < row["ndcg_at_10"] < 1
        assert 1 < row["query_terms"] < 20
        assert 5 < row["document_terms"] < 500
        assert 0 < row["flops"] < row["query_terms"]
        assert row["index_bytes"] > 10_000
        assert row["documents_per_second"] > 0
    assert [row["overlap_with_exact"] for row in report["results"]] == [1.0, None]
    assert [row["stored_bytes"] > 0 for row in report["results"]] == [True, False]


def test_comparisons_are_with_the_baseline(demo):
    report, _ = demo
    (row,) = report.to_json()["comparisons"]
    values = {
        result.system: [measured.ndcg_at_10 for measured in result.measured.values()]
        for result in report.results
    }
    expected = compare(values["words"], values["bm25s"])
    assert (row["system"], row["baseline"], row["measure"]) == ("words", "bm25s", "ndcg_at_10")
    assert (row["mean_difference"], row["p"]) == (expected.mean_difference, expected.p)
    difference = report.results[0].mean.ndcg_at_10 - report.results[1].mean.ndcg_at_10
    assert row["mean_difference"] == pytest.approx(difference)


def test_per_query_lines_hold_every_judged_query_of_every_system(demo):
    report, home = demo
    rows = [json.loads(line) for line in (home / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    qrels = demo_folder().qrels("test")
    assert len(rows) == 2 * len(qrels)
    for result in report.results:
        mine = [row for row in rows if row["system"] == result.system]
        assert [row["query_id"] for row in mine] == list(qrels)
        assert all(set(row) == {"dataset", "system", "query_id", *MEASURES} for row in mine)
        for name in MEASURES:
            average = np.mean([row[name] for row in mine])
            assert average == pytest.approx(getattr(result.mean, name), abs=1e-12)


def test_ir_measures_reads_the_same_values_from_the_runs(demo):
    report, home = demo
    qrels = demo_folder().qrels("test")
    metrics = [
        ir_measures.nDCG @ 10,
        ir_measures.R @ 100,
        ir_measures.RR @ 10,
        ir_measures.R @ 1000,
        ir_measures.AP,
    ]
    for result in report.results:
        run = ir_measures.read_trec_run(str(home / "runs" / "demo" / f"{result.system}.trec"))
        theirs = ir_measures.calc_aggregate(metrics, qrels, list(run))
        for name, metric in zip(MEASURES, metrics, strict=True):
            assert getattr(result.mean, name) == pytest.approx(theirs[metric], abs=1e-9)


def test_the_kept_index_is_the_one_that_was_measured(demo):
    report, home = demo
    result = report.results[0]
    folder = home / "runs" / "demo" / "words.lsr"
    queries = demo_folder().queries()
    with lsr.Index.open(folder) as index:
        hits = index.search_many([queries[id] for id in result.measured], k=1000)
    found = {id: [hit.id for hit in row] for id, row in zip(result.measured, hits, strict=True)}
    assert mean(measure_queries(found, demo_folder().qrels("test")).values()) == result.mean
    on_disk = sum(file.stat().st_size for file in folder.iterdir())
    assert result.run.index_bytes + result.run.stored_bytes == on_disk


def test_every_judged_query_counts_and_the_own_id_is_dropped(small, beir, words):
    report = evaluate_beir([str(small)], encoders=[words], baselines=["bm25"])
    assert "small: documents left out of a ranking for having their query's own id: 1." in report.notes
    assert report.machine["python"] == platform.python_version()
    assert report.machine["cores"].isdigit()
    assert "lsr-search" in report.machine["versions"]
    assert list(report.datasets) == ["small"]
    for result in report.results:
        assert list(result.measured) == list(beir.qrels)
        assert result.measured["q3"].ndcg_at_10 == 0.0
        assert result.measured["q1"].mrr_at_10 == 1.0
        assert "q5" not in [id for id, _ in result.run.rankings["q5"]]
        assert result.run.rankings["q5"][0][0] == "d2"
        # The document q5 is relevant and left out, so the half of the ideal is out of reach.
        assert result.measured["q5"].recall_at_100 == 0.5
        assert result.run.documents == 6


def test_a_query_without_words_and_a_corpus_without_terms(tmp_path, beir, words):
    folder = beir.write(
        tmp_path / "odd",
        documents=[{"_id": "a", "text": "🙂"}],
        queries={"q1": "", "q2": "word"},
        qrels={"q1": {"a": 1}, "q2": {"a": 1}},
    )
    report = evaluate_beir([str(folder)], encoders=[words], baselines=["bm25"])
    assert [result.mean.ndcg_at_10 for result in report.results] == [0.0, 0.0]


def test_without_baseline_nothing_is_compared(small, words):
    report = evaluate_beir([str(small)], encoders=[words, words])
    assert [result.system for result in report.results] == ["words"]
    assert report.comparisons == ()


def test_two_encoders_of_one_name_are_told_apart_and_compared(small, words, other_words):
    report = evaluate_beir([str(small)], encoders=[words, other_words])
    first, second = [result.system for result in report.results]
    assert first == "words"
    assert second.startswith("words ")
    assert [(item.system, item.baseline) for item in report.comparisons] == [(second, first)]


def test_without_runs_nothing_is_left_behind(small, tmp_path, monkeypatch, words):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    evaluate_beir([str(small)], encoders=[words])
    assert list(scratch.iterdir()) == []


def test_several_data_sets(small, tmp_path, beir, words):
    other = beir.write(tmp_path / "data" / "other", qrels={"q2": {"d2": 1}})
    report = evaluate_beir([str(small), str(other)], encoders=[words], baselines=["bm25"])
    assert [(result.dataset, result.system) for result in report.results] == [
        ("small", "words"),
        ("small", "bm25s"),
        ("other", "words"),
        ("other", "bm25s"),
    ]
    assert [item.dataset for item in report.comparisons] == ["small", "other"]


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"fusions": ["rrf:words,nothing"]}, InputError, "two systems"),
        ({"fusions": ["sum:words,bm25s"]}, InputError, "rrf:A,B"),
        ({"quantize": ["u4"]}, InputError, "u8, u16 or f32"),
        ({"modes": ["fast"]}, InputError, "exact or approximate"),
        ({"overlaps": [0.9]}, InputError, "--mode approximate"),
        ({"modes": ["approximate"], "overlaps": [1.5]}, InputError, "share"),
        ({"vectors": ["docs.npz"]}, InputError, r"DOCUMENTS\.npz,QUERIES\.npz"),
        ({"vectors": ["/no/docs.npz,/no/queries.npz"]}, InputFileError, r"docs\.npz"),
        ({"baselines": ["okapi"]}, InputError, "choose bm25"),
        ({"baselines": ["dense:/no/such/folder"]}, UnknownEncoderError, "dense:FOLDER"),
        ({"encoders": ["no-such-encoder"]}, UnknownEncoderError, "no-such-encoder"),
        ({"encoders": []}, InputError, "encoder or a baseline"),
        ({"per_query": "/no/such/folder/q.jsonl"}, InputError, "--per-query"),
        ({"run_dir": "/dev/null/runs"}, InputError, "--run-dir"),
        ({"split": "train"}, LsrError, "train"),
        ({"data_dir": "/no/such/folder"}, InputFileError, "small"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(small, options, error, part, words):
    names = ["small"] if "data_dir" in options else [str(small)]
    with pytest.raises(error, match=part):
        evaluate_beir(names, **{"encoders": [words], **options})
