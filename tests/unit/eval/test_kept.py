"""What is kept: a second evaluation reads, a killed one goes on, and nothing is taken for something else."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsr.data.demo_corpus import demo_folder
from lsr.encoders.lexical import LexicalEncoder
from lsr.encoders.loading import load_encoder
from lsr.eval import engine, kept
from lsr.eval.efficiency import Latency, Sparsity
from lsr.eval.kept import read_kept, write_kept
from lsr.eval.remembered import remember
from lsr.eval.runner import evaluate_beir
from lsr.eval.systems import SystemRun

pytest.importorskip("bm25s")


@pytest.fixture
def encoded(monkeypatch):
    """The batches that an encoder of the lexical kind was asked for."""
    batches = []
    plain = LexicalEncoder.encode_batch

    def counting(self, texts, *, max_length=None):
        batches.append(len(texts))
        return plain(self, texts, max_length=max_length)

    monkeypatch.setattr(LexicalEncoder, "encode_batch", counting)
    return batches


def without_times(report):
    return [replace(result, run=replace(result.run, explain=None)) for result in report.results]


def test_a_run_comes_back_as_it_was(tmp_path):
    run = SystemRun(
        rankings={"q1": [("d1", 1 / 3), ("ä", 1e-9)], "q2": []},
        documents=7,
        build_seconds=0.1,
        sparsity=Sparsity(1.5, 2.5, 0.25, None),
        latency=Latency(1.0, 2.0, 3.0, (0.9, 1.1), True),
        index_bytes=10,
        stored_bytes=20,
        overlap_with_exact=0.5,
        peak_mb=100.25,
        milliseconds=(0.1, 0.2),
    )
    path = tmp_path / "a.run.json.gz"
    write_kept(path, "key", run)
    assert read_kept(path, "key") == run
    assert read_kept(path, "other") is None
    assert read_kept(tmp_path / "none.gz", "key") is None


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "shape", "list"])
def test_a_damaged_run_counts_as_not_there(tmp_path, damage):
    path = tmp_path / "a.run.json.gz"
    run = SystemRun({}, 1, 1.0, Sparsity(0, 0, 0), Latency(0, 0, 0), 0, 0)
    write_kept(path, "key", run)
    whole = path.read_bytes()
    record = json.loads(gzip.decompress(whole))
    record["costs"] = {}
    path.write_bytes(
        {
            "cut": whole[:-9],
            "text": b"no gzip",
            "empty": b"",
            "shape": gzip.compress(json.dumps(record).encode()),
            "list": gzip.compress(b"[1]"),
        }[damage]
    )
    assert read_kept(path, "key") is None


def test_a_second_evaluation_only_reads(tmp_path, words, encoded):
    corpus = [str(demo_folder().path)]
    options = {"encoders": [words], "baselines": ["bm25"], "fusions": ["rrf:words,bm25s"]}
    first = evaluate_beir(corpus, **options, run_dir=tmp_path)
    assert sum(encoded) == 1078
    encoded.clear()
    second = evaluate_beir(corpus, **options, run_dir=tmp_path)
    assert encoded == []
    # Costs are those of the first run, to the last digit: nothing was timed again.
    assert without_times(second) == without_times(first)
    assert second.comparisons == first.comparisons
    assert second.results[0].run.explain is not None
    assert first.notes == ()
    assert second.notes == (
        "2 of 2 runs were kept from an earlier evaluation, with the costs that were measured then.",
    )


def test_a_killed_evaluation_goes_on(tmp_path, words, encoded, monkeypatch):
    plain = LexicalEncoder.encode_batch

    def killed(self, texts, *, max_length=None):
        if encoded:
            raise KeyboardInterrupt
        return plain(self, texts, max_length=max_length)

    corpus = [str(demo_folder().path)]
    with monkeypatch.context() as patch:
        patch.setattr(LexicalEncoder, "encode_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate_beir(corpus, encoders=[words], baselines=["bm25"], run_dir=tmp_path)
    done = sum(encoded)
    assert 0 < done < 1078
    encoded.clear()
    report = evaluate_beir(corpus, encoders=[words], baselines=["bm25"], run_dir=tmp_path)
    assert sum(encoded) == 1078 - done
    fresh = evaluate_beir(corpus, encoders=[words])
    assert report.results[0].run.rankings == fresh.results[0].run.rankings


def test_another_corpus_encoder_or_question_is_measured_anew(tmp_path, small, beir, words, other_words):
    runs = tmp_path / "runs"
    first = evaluate_beir([str(small)], encoders=[words], run_dir=runs)
    # The same name, another encoder.
    second = evaluate_beir([str(small)], encoders=[other_words], run_dir=runs)
    assert second.results[0].system == first.results[0].system == "words"
    assert second.results[0].run.rankings != first.results[0].run.rankings
    # The same folder, another document.
    corpus = small / "corpus.jsonl"
    corpus.write_text(corpus.read_text(encoding="utf-8").replace("Yeast", "A zebra"), encoding="utf-8")
    third = evaluate_beir([str(small)], encoders=[other_words], run_dir=runs)
    assert [id for id, _ in third.results[0].run.rankings["q3"]] == ["d3"]
    assert second.results[0].run.rankings["q3"] == []
    # The same corpus, another question.
    queries = small / "queries.jsonl"
    queries.write_text(
        queries.read_text(encoding="utf-8").replace("zebra crossing", "bread"), encoding="utf-8"
    )
    fourth = evaluate_beir([str(small)], encoders=[other_words], run_dir=runs)
    assert [id for id, _ in fourth.results[0].run.rankings["q3"]] == ["d3"]
    # Other judgements need no other search.
    (small / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td3\t1\n", encoding="utf-8")
    assert evaluate_beir([str(small)], encoders=[other_words], run_dir=runs).results[0].mean.map == 1.0


def test_what_another_engine_measured_is_measured_anew(tmp_path, small, words, monkeypatch, capsys):
    first = evaluate_beir([str(small)], encoders=[words], run_dir=tmp_path)
    note = tmp_path / "small" / "words.lsr.json"
    built = note.read_bytes()
    capsys.readouterr()
    evaluate_beir([str(small)], encoders=[words], run_dir=tmp_path)
    assert "not measured again" in capsys.readouterr().err
    assert note.read_bytes() == built
    monkeypatch.setattr(kept, "code_version", lambda: "changed")
    monkeypatch.setattr(engine, "code_version", lambda: "changed")
    again = evaluate_beir([str(small)], encoders=[words], run_dir=tmp_path)
    assert "not measured again" not in capsys.readouterr().err
    assert note.read_bytes() != built
    assert again.results[0].run.rankings == first.results[0].run.rankings


def test_the_code_of_the_engine_is_in_the_key():
    assert kept.code_version() == kept.code_version.__wrapped__()
    assert (Path(kept.__file__).parent / "engine.py").is_file()
    assert all((Path(kept.__file__).parent / f"{name}.py").is_file() for name in kept._SYSTEM_MODULES)


def test_a_damaged_index_is_built_again(tmp_path, small, words):
    first = evaluate_beir([str(small)], encoders=[words], run_dir=tmp_path)
    for path in (tmp_path / "small" / "words.lsr").iterdir():
        path.write_bytes(b"")  # the catalog, too
    (tmp_path / "small" / "words.run.json.gz").unlink()
    again = evaluate_beir([str(small)], encoders=[words], run_dir=tmp_path)
    assert again.results[0].run.rankings == first.results[0].run.rankings


def test_keep_uses_the_cache_folder(tmp_path, monkeypatch, small, words, encoded):
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))
    evaluate_beir([str(small)], encoders=[words], keep=True)
    (folder,) = (tmp_path / "cache" / "eval").iterdir()
    assert folder.name.startswith("small-")
    encoded.clear()
    evaluate_beir([str(small)], encoders=[words], keep=True)
    assert encoded == []


def test_a_remembered_batch_is_the_batch(tmp_path, words):
    encoder = load_encoder(words)
    texts = ["Vaccines train the immune system.", "", "Zebras zigzag\nover a line."]
    plain = encoder.encode_batch(texts)
    for _ in range(2):
        keeping, counter = remember(encoder, tmp_path / "vectors")
        batch = keeping.encode_batch(texts)
        for name in ("indptr", "indices", "values", "lexical"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(plain, name))
        assert batch.dimension == plain.dimension
        assert batch.surfaces.forms == plain.surfaces.forms
        np.testing.assert_array_equal(batch.surfaces.columns, plain.surfaces.columns)
    assert counter.saved_seconds > 0
    (path,) = (tmp_path / "vectors").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    keeping, counter = remember(encoder, tmp_path / "vectors")
    np.testing.assert_array_equal(keeping.encode_batch(texts).values, plain.values)
    assert counter.saved_seconds == 0
    assert len(keeping.encode_batch([*texts, "more"])) == 4
