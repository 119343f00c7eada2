"""Runs that anything made: measured as trec_eval would, compared, and every rule counted."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from lsr.cli.eval_run import command
from lsr.cli.failures import run
from lsr.errors import InputError, InputFileError
from lsr.eval.measures import MEASURES, Measured
from lsr.eval.run_comparison import measure_runs, write_query_lines
from lsr.eval.significance import compare, holm

QRELS = "q1 0 d1 2\nq1 0 d2 1\nq1 0 d3 0\nq2 0 d1 1\nq3 0 d9 1\nq4 0 d1 0\n"
BEST = "q1 Q0 d1 1 3.0 a\nq1 Q0 d2 2 2.0 a\nq2 Q0 d1 1 1.0 a\nq3 Q0 d9 1 1.0 a\n"
WORSE = "q1 Q0 d3 1 3.0 b\nq1 Q0 d1 2 2.0 b\nq2 Q0 d5 1 1.0 b\nq2 Q0 d1 2 0.5 b\n"


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write_file


@pytest.fixture
def random_files(write):
    """Judgements and three runs with ties, missing queries and unjudged ones, as files and as dicts."""
    random = np.random.default_rng(7)
    ids = [f"d{number}" for number in range(400)]
    qrels = {
        f"q{number}": {id: int(random.integers(0, 3)) for id in random.choice(ids, 30, replace=False)}
        for number in range(25)
    }
    runs = {}
    for name in ("one", "two", "three"):
        runs[name] = {
            f"q{number}": {
                id: float(score)
                for id, score in zip(
                    random.choice(ids, 150, replace=False), random.integers(0, 40, 150) / 4, strict=True
                )
            }
            for number in range(2, 28)
        }
    judgements = write(
        "qrels.txt", "".join(f"{q} 0 {d} {grade}\n" for q, row in qrels.items() for d, grade in row.items())
    )
    paths = [
        write(
            f"{name}.trec",
            "".join(f"{q} Q0 {d} 0 {score} {name}\n" for q, row in rows.items() for d, score in row.items()),
        )
        for name, rows in runs.items()
    ]
    return judgements, paths, qrels, runs


def test_equal_to_trec_eval_and_ir_measures_on_files(random_files):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    ir_measures = pytest.importorskip("ir_measures")
    judgements, paths, qrels, runs = random_files
    report = measure_runs(judgements, paths)
    names = {"ndcg_at_10": "ndcg_cut_10", "recall_at_100": "recall_100", "map": "map"}
    metrics = {
        "ndcg_at_10": ir_measures.nDCG @ 10,
        "recall_at_100": ir_measures.R @ 100,
        "map": ir_measures.AP,
    }
    for measured in report.runs:
        theirs = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(runs[measured.system])
        for query, values in measured.measured.items():
            for ours, name in names.items():
                expected = theirs.get(query, {}).get(name, 0.0)
                assert getattr(values, ours) == pytest.approx(expected, abs=1e-6)
        means = ir_measures.calc_aggregate(
            list(metrics.values()),
            list(ir_measures.read_trec_qrels(str(judgements))),
            list(ir_measures.read_trec_run(measured.path)),
        )
        for ours, metric in metrics.items():
            assert getattr(measured.mean, ours) == pytest.approx(means[metric], abs=1e-6)


def test_every_judged_query_counts_and_every_rule_is_counted(write):
    extra = "zz Q0 d1 1 1.0 b\nq2 Q0 q2 1 9.0 b\nq1 Q0 d7 9 2.0000000001 b\n"
    report = measure_runs(write("qrels.txt", QRELS), [write("w.trec", WORSE + extra)])
    (measured,) = report.runs
    assert list(measured.measured) == ["q1", "q2", "q3", "q4"]
    assert measured.measured["q3"] == measured.measured["q4"] == Measured()
    assert (measured.missing, measured.unjudged, measured.own_ids, measured.tied) == (2, 1, 1, 1)
    assert (report.queries, report.hopeless) == (4, 1)
    assert measured.measured["q2"].mrr_at_10 == 0.5
    # d7 ties with d1 as a 32-bit float and has the higher id.
    assert measured.measured["q1"].mrr_at_10 == pytest.approx(1 / 3)
    told = "\n".join(report.notes)
    assert "1 query without a relevant document, counted as 0.0" in told
    assert "2 queries with judgements but without a ranking, counted as 0.0" in told
    assert "1 query without judgements, not counted" in told
    assert "1 document with the id of the query, dropped as BEIR does" in told
    assert "1 document with the score of another, ordered by id downwards as trec_eval does" in told
    assert len(report.notes) == 5


def test_the_own_id_stays_if_asked(write):
    files = write("qrels.txt", QRELS), [write("w.trec", WORSE + "q2 Q0 q2 1 9.0 b\n")]
    kept = measure_runs(*files, own_id="keep")
    assert kept.runs[0].measured["q2"].mrr_at_10 == pytest.approx(1 / 3)
    assert any("measured as trec_eval does" in note for note in kept.notes)


def test_nothing_is_noted_where_no_rule_was_needed(write):
    report = measure_runs(write("qrels.txt", "q1 0 d1 1\n"), [write("a.trec", "q1 Q0 d1 1 1.0 a\n")])
    assert report.notes == ()
    assert report.runs[0].mean == Measured(1.0, 1.0, 1.0, 1.0, 1.0)


def test_rank_and_order_of_the_lines_are_ignored(write):
    lines = BEST.splitlines(keepends=True)
    turned = "".join(line.replace(" 1 ", " 5 ", 1) for line in reversed(lines))
    qrels = write("qrels.txt", QRELS)
    one, other = measure_runs(qrels, [write("a.trec", BEST), write("b.trec", turned)]).runs
    assert one.measured == other.measured


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test.tsv", "query-id\tcorpus-id\tscore\n" + QRELS.replace(" 0 ", "\t").replace(" ", "\t")),
        ("test.tsv.gz", QRELS.replace(" 0 ", "\t").replace(" ", "\t")),
        ("qrels.txt", QRELS.replace(" ", "\t")),
    ],
)
def test_judgements_of_trec_and_beir_are_the_same(write, name, text):
    path = write("a.trec.gz", BEST)
    expected = measure_runs(write("plain.txt", QRELS), [path])
    assert measure_runs(write(name, text), [path]).runs == expected.runs


def test_every_pair_is_tested_and_corrected(random_files):
    judgements, paths, *_ = random_files
    report = measure_runs(judgements, paths, compared_by="map")
    values = {run.system: [query.map for query in run.measured.values()] for run in report.runs}
    assert [(pair.system, pair.baseline) for pair in report.pairs] == [
        ("two", "one"),
        ("three", "one"),
        ("three", "two"),
    ]
    corrected = holm([pair.comparison.p for pair in report.pairs])
    for pair, p in zip(report.pairs, corrected, strict=True):
        expected = compare(values[pair.system], values[pair.baseline])
        assert pair.comparison.p == expected.p and pair.comparison.t_p == expected.t_p
        assert pair.comparison.p_holm == p
        sizes = [abs(change.value - change.baseline_value) for change in pair.changed]
        assert sizes == sorted(sizes, reverse=True) and len(sizes) == 10
        every = [abs(a - b) for a, b in zip(values[pair.system], values[pair.baseline], strict=True)]
        assert sizes == sorted(every, reverse=True)[:10]


def test_names_of_runs(write):
    qrels = write("qrels.txt", QRELS)
    names = ["a/bm25.trec", "b/bm25.trec.gz", "splade.v3.run", "plain"]
    paths = [write(name, BEST) for name in names]
    report = measure_runs(qrels, paths)
    assert [run.system for run in report.runs] == [str(paths[0]), str(paths[1]), "splade.v3", "plain"]
    with pytest.raises(InputError, match=r"is given 2 times"):
        measure_runs(qrels, [paths[3], paths[3]])


def test_lines_of_queries(write, tmp_path):
    report = measure_runs(write("qrels.txt", QRELS), [write("a.trec", BEST), write("b.trec", WORSE)])
    write_query_lines(report, tmp_path / "queries.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text("utf-8").splitlines()]
    assert [(row["system"], row["query_id"]) for row in rows] == [
        (system, query) for system in "ab" for query in ("q1", "q2", "q3", "q4")
    ]
    assert all(set(row) == {"dataset", "system", "query_id", *MEASURES} for row in rows)
    for system, measured in zip("ab", report.runs, strict=True):
        values = [row["map"] for row in rows if row["system"] == system]
        assert np.mean(values) == pytest.approx(measured.mean.map)
    with pytest.raises(InputFileError, match="cannot be written"):
        write_query_lines(report, tmp_path / "no" / "queries.jsonl")


@pytest.mark.parametrize(
    ("qrels", "text", "message"),
    [
        ("q1 d1 1\n", BEST, "qrels.txt, line 1: 3 fields"),
        ("q1 0 d1 1\nq1 0 d2 1 x\n", BEST, "qrels.txt, line 2: 5 fields"),
        ("q1\td1\t1\nq1\t0\td1\t1\n", BEST, "qrels.txt, line 2: 4 fields"),
        ("q1 0 d1 high\n", BEST, 'qrels.txt, line 1: the grade "high" is no whole number'),
        ("", BEST, "qrels.txt holds no judgements"),
        (QRELS, BEST + "q1 Q0 d1 9 1.0 a\n", 'run.trec, line 5: document "d1" comes twice for query "q1"'),
        (QRELS, "q1 Q0 d1 1 good a\n", 'run.trec, line 1: the rank "1" or the score "good" is no number'),
        (QRELS, "q1 Q0 d1 1 nan a\n", 'run.trec, line 1: the score "nan" is not finite'),
        (QRELS, "q1 d1 1.0\n", "run.trec, line 1: 3 columns"),
        (QRELS, "", "run.trec holds no ranking"),
        (QRELS, "\n \n", "run.trec holds no ranking"),
        (QRELS, "x Q0 d1 1 1.0 a\n", 'run.trec: none of its 1 query ("x") has judgements in'),
    ],
)
def test_bad_files_end_with_2_and_one_sentence(write, capsys, qrels, text, message):
    code = run(command, [str(write("qrels.txt", qrels)), str(write("run.trec", text))])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert len(captured.err) <= 601


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["QRELS", "A", "--compare"], "no pair"),
        (["QRELS", "A", "B", "--measure", "map"], "--compare"),
        (["QRELS", "A", "B", "--compare", "--measure", "ndcg"], "ndcg"),
        (["QRELS", "A", "no-such-run"], "no-such-run is not there"),
        (["no-such-qrels", "A"], "no-such-qrels is not there"),
        (["QRELS"], "RUN"),
        (["QRELS", "A", "--per-query", "/no/such/folder/x.jsonl"], "cannot be written"),
    ],
)
def test_bad_requests(write, capsys, arguments, message):
    files = {"QRELS": ("qrels.txt", QRELS), "A": ("a.trec", BEST), "B": ("b.trec", WORSE)}
    given = [str(write(*files[argument])) if argument in files else argument for argument in arguments]
    code = run(command, given)
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert message in captured.err.splitlines()[-1]


def test_json_alone_on_stdout(random_files, tmp_path, capsys):
    judgements, paths, *_ = random_files
    lines = tmp_path / "lines.jsonl"
    code = run(command, [*map(str, [judgements, *paths]), "--compare", "--per-query", str(lines), "--json"])
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert code == 0 and captured.err == ""
    assert [row["system"] for row in found["results"]] == ["one", "two", "three"]
    assert all(row["queries"] == 25 and row["queries_missing"] == 2 for row in found["results"])
    assert all(row["queries_unjudged"] == 3 and row["tied"] > 0 for row in found["results"])
    assert set(MEASURES) <= set(found["results"][0])
    first = found["comparisons"][0]
    assert first["measure"] == "ndcg_at_10" and first["draws"] == 100_000
    assert first["better"] + first["ties"] + first["worse"] == first["queries"] == 25
    assert first["low"] <= first["mean_difference"] <= first["high"]
    assert first["p"] <= first["p_holm"] <= 1.0 and 0.0 <= first["t_p"] <= 1.0
    assert "trec_eval" in found["ties"] and found["notes"]
    assert len(lines.read_text(encoding="utf-8").splitlines()) == 75


def test_tables_for_people(random_files, capsys):
    judgements, paths, *_ = random_files
    assert run(command, [*map(str, [judgements, *paths]), "--compare"]) == 0
    shown = capsys.readouterr().out
    parts = (
        "NDCG",
        "recall",
        "@1000",
        "MRR",
        "MAP",
        "Holm",
        "randomisation",
        "bootstrap",
        "as trec_eval does",
    )
    assert all(part in shown for part in parts)
    assert "three against two differs most on" in shown
    assert run(command, [str(judgements), str(paths[0])]) == 0
    assert "Holm" not in capsys.readouterr().out


def test_a_run_against_its_copy_differs_nowhere(write, capsys):
    files = [write("qrels.txt", QRELS), write("a.trec", BEST), write("b.trec", BEST)]
    assert run(command, [*map(str, files), "--compare"]) == 0
    shown = capsys.readouterr().out
    assert "b and a differ on no query" in shown
    assert "1.0000" in shown


def test_names_cannot_command_the_terminal(write, capsys):
    files = [write("qrels.txt", QRELS), write("a\x1b[31m.trec", BEST), write("[bold]b.trec", WORSE)]
    assert run(command, [*map(str, files), "--compare"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[bold]b" in shown


def test_help_has_an_example(capsys):
    assert run(command, ["--help"]) == 0
    assert "Example" in capsys.readouterr().out
