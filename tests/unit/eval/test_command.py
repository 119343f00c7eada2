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
    assert max(len(line) for line in shown.splitlines()) <= 120


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
    lines = captured.out.splitlines()
    line = lines[next(i for i, line in enumerate(lines) if "slowest repeat" in line) + 1]
    assert line.split()[:2] == ["demo", "words"]
    assert float(line.split()[2]) <= float(line.split()[4])
    assert "words approximate@0.98" in captured.err


def test_reports_are_written_in_the_form_of_their_ending(demo, words, tmp_path, capsys):
    files = [tmp_path / f"report.{ending}" for ending in ("html", "csv", "tex", "md", "json")]
    options = [option for file in files for option in ("--report", str(file))]
    assert run(cli, ["eval", "beir", demo, "--encoder", words, "--baseline", "bm25", *options]) == 0
    for file in files:
        assert "bm25s" in file.read_text(encoding="utf-8")
    capsys.readouterr()
    assert run(cli, ["eval", "beir", demo, "--encoder", words, "--report", str(tmp_path / "report.doc")]) == 2
    assert ".html" in capsys.readouterr().err.splitlines()[-1]


def test_published_numbers_stand_beside_ours(small, words, tmp_path, capsys):
    scifact = small.rename(small.with_name("scifact"))
    options = ["--encoder", words, "--baseline", "bm25", "--paper"]
    assert run(cli, ["eval", "beir", str(scifact), *options]) == 0
    assert "0.679" in capsys.readouterr().out
    assert run(cli, ["eval", "beir", str(scifact), *options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["published"]
    assert {(row["dataset"], row["system"], row["published"]) for row in rows} == {
        ("scifact", "bm25s", 0.679)
    }


def test_help_has_an_example(capsys):
    assert run(cli, ["eval", "beir", "--help"]) == 0
    assert "Example" in capsys.readouterr().out
