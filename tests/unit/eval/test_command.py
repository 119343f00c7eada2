"""`lsr eval beir` as a user calls it."""

from __future__ import annotations

import json

import pytest

from lsr.cli import cli
from lsr.cli.failures import run
from lsr.data.demo_corpus import demo_folder

pytest.importorskip("bm25s")


@pytest.fixture(scope="module")
def demo():
    return str(demo_folder().path)


def test_json_alone_on_stdout(demo, words, tmp_path, capsys):
    lines = tmp_path / "queries.jsonl"
    options = ["--encoder", words, "--baseline", "bm25", "--per-query", str(lines), "--json"]
    code = run(cli, ["eval", "beir", demo, *options])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert code == 0
    assert [row["system"] for row in report["results"]] == ["words", "bm25s"]
    assert [row["baseline"] for row in report["comparisons"]] == ["bm25s"]
    assert len(lines.read_text(encoding="utf-8").splitlines()) == 128


def test_tables_for_people(demo, words, capsys):
    assert run(cli, ["eval", "beir", demo, "--encoder", words, "--baseline", "bm25"]) == 0
    shown = capsys.readouterr().out
    for part in ("demo", "bm25s", "NDCG", "recall", "MRR", "randomisation test", "flops"):
        assert part in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["eval", "beir"], "DATASET"),
        (["eval", "beir", "no-such-set", "--data-dir", "/no/such/folder"], "qrels/test.tsv"),
        (["eval", "beir", "DEMO", "--encoder", "WORDS", "--baseline", "okapi"], "lucene-bm25"),
        (["eval", "beir", "DEMO", "--encoder", "WORDS", "--fuse", "rrf:words"], "two systems"),
        (["eval", "beir", "DEMO", "--encoder", "WORDS", "--overlap", "0.9"], "--mode approximate"),
        (["eval", "beir", "DEMO", "--encoder", "WORDS", "--quantize", "u4"], "u4"),
        (["eval", "beir", "DEMO", "--encoder", "nothing"], "nothing"),
        (["eval", "beir", "DEMO", "--encoder", "WORDS", "--split", "dev"], "dev"),
    ],
)
def test_bad_input_ends_with_2_and_one_sentence(demo, words, capsys, arguments, part):
    code = run(cli, [{"DEMO": demo, "WORDS": words}.get(argument, argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert part in captured.err.splitlines()[-1]


def test_the_spread_is_printed_with_latency(demo, words, capsys):
    options = ["--encoder", words, "--mode", "approximate", "--overlap", "0.98", "--latency"]
    assert run(cli, ["eval", "beir", demo, *options]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if " to " in line]
    assert line.split()[:2] == ["demo", "words"]
    assert float(line.split()[2]) <= float(line.split()[4])
    assert "words approximate@0.98: left out" in captured.err


def test_help_has_an_example(capsys):
    assert run(cli, ["eval", "beir", "--help"]) == 0
    assert "Example" in capsys.readouterr().out
