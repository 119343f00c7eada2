"""`lsr search`, `info`, `verify`, `models`, `warmup`: what comes out, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

QUESTION = "list the contents of an archive"


def test_json_hits_have_the_fixed_shape(lsr, built: Path) -> None:
    done = lsr("search", built, QUESTION, "-k", 4, "--json")
    assert done.code == 0 and done.err == ""
    hits = done.json()
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert all(set(hit) == {"rank", "id", "score", "document"} for hit in hits)
    assert all(hit["document"]["id"] == hit["id"] and hit["document"]["text"] for hit in hits)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0


def test_json_explanations_sum_to_the_score(lsr, built: Path) -> None:
    for hit in lsr("search", built, QUESTION, "--explain", "--json").json():
        terms = hit["explanation"]
        assert all(
            set(term) == {"term", "kind", "query_weight", "document_weight", "contribution"} for term in terms
        )
        assert {term["kind"] for term in terms} <= {"word", "learned"}
        assert sum(term["contribution"] for term in terms) == pytest.approx(hit["score"], rel=1e-6)


def test_people_see_titles_snippets_and_terms(lsr, built: Path) -> None:
    done = lsr("search", built, QUESTION, "--explain", "-k", 2)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "term" in done.out and "archiv" in done.out and "word" in done.out
    assert done.out.splitlines()[-1].startswith("2 hits of 1,078 documents in ")
    assert max(map(len, done.out.splitlines())) <= 100


def test_nothing_found_is_no_failure(lsr, built: Path) -> None:
    done = lsr("search", built, "zzzzqqqq", "--json")
    assert (done.code, done.json()) == (0, [])
    assert "Nothing matches." in lsr("search", built, "zzzzqqqq").out
    assert lsr("search", built, "", "--json").json() == []


def test_a_vector_asks_by_term(lsr, built: Path) -> None:
    done = lsr("search", built, "--vector", '{"archiv": 2, "nosuchterm": 1}', "-k", 1, "--json", "--explain")
    assert done.code == 0
    assert [term["term"] for term in done.json()[0]["explanation"]] == ["archiv"]
    assert done.json()[0]["explanation"][0]["query_weight"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{built}", "x", "--filter", "year > 2000"], "not there yet"),
        (["{built}", "--vector", "archiv"], "no JSON"),
        (["{built}", "--vector", "[1]"], "an object"),
        (["{built}", "--vector", '{"archiv": -1}'], "not below 0"),
        (["{built}"], "one of QUERY, --vector and --queries"),
        (["{built}", "x", "--vector", "{}"], "one of QUERY"),
        (["{built}", "x", "--overlap", "0.9"], "overlap"),
        (["{built}", "x", "--mode", "approximate", "--overlap", "7"], "overlap"),
        (["{built}", "--queries", "nowhere.jsonl", "--run", "x.trec"], "nowhere.jsonl"),
        (["{built}", "--queries", "x.jsonl"], "go together"),
        (["nowhere.lsr", "x"], "nowhere.lsr"),
    ],
)
def test_bad_questions_are_exit_2_and_one_sentence(lsr, built: Path, tmp_path: Path, arguments, says) -> None:
    done = lsr(
        "search",
        *[part.format(built=built) if "{built}" in part else part for part in arguments],
        cwd=tmp_path,
    )
    assert done.code == 2
    assert done.out == ""
    assert says in done.last and len(done.last) <= 600
    assert "Traceback" not in done.err


def test_a_file_of_queries_becomes_a_trec_run(lsr, built: Path, corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "demo.trec"
    done = lsr("search", built, "--queries", corpus / "queries.jsonl", "--run", run, "-k", 20, "--threads", 2)
    assert done.code == 0, done.err
    lines = [line.split() for line in run.read_text(encoding="utf-8").splitlines()]
    assert all(len(line) == 6 and line[1] == "Q0" for line in lines)
    assert len({line[0] for line in lines}) == 64
    first = [line for line in lines if line[0] == lines[0][0]]
    assert [int(line[3]) for line in first] == list(range(1, len(first) + 1))
    question = json.loads((corpus / "queries.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert lines[0][2] == lsr("search", built, question["text"], "-k", 1, "--json").json()[0]["id"]


def test_info_says_what_is_inside(lsr, built: Path) -> None:
    found = lsr("info", built, "--json").json()
    assert (found["documents"], found["encoder"], found["quantize"]) == (1078, "bm25", "u8")
    assert found["bytes"] == found["index_bytes"] + found["stored_bytes"]
    assert found["clipped"] == 0
    assert "1,078" in lsr("info", built).out


def test_verify_finds_a_sound_index_sound(lsr, built: Path) -> None:
    done = lsr("verify", built)
    assert (done.code, done.err) == (0, "")
    assert lsr("verify", built, "--deep").code == 0


def test_verify_names_the_damaged_file(lsr, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.lsr"
    assert lsr("index", small, "--index", path, "--encoder", "bm25").code == 0
    segment = next(path.glob("segment-*"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    done = lsr("verify", path)
    assert done.code == 1
    assert segment.name in done.last
    assert lsr("search", path, "cars").code == 1


def test_models_lists_the_bundled_ones_and_plans(lsr) -> None:
    models = lsr("models", "--json").json()
    assert "bm25" in {model["name"] for model in models}
    assert "bm25" in lsr("models").out
    plan = lsr("models", "--plan", "bm25", "--json").json()
    assert plan["name"] == "bm25" and plan["documents_per_second"] > 0
    done = lsr("models", "--plan", "nothing")
    assert done.code == 2 and "bm25" in done.last


def test_warmup_fills_a_cache(lsr, tmp_path: Path) -> None:
    done = lsr("warmup", "--cache-dir", tmp_path / "cache", "--json")
    assert done.code == 0
    assert done.json()["compiled"] > 0
    assert any((tmp_path / "cache").rglob("*"))


@pytest.mark.parametrize("more", [["--json"], ["--json", "--explain"], []])
def test_one_search_loads_no_more_than_it_needs(built: Path, environment, more: list[str]) -> None:
    code = (
        "import sys; from lsr.cli import cli; from lsr.cli.failures import run; "
        f"code = run(cli, ['search', {str(built)!r}, {QUESTION!r}, *{more!r}]); "
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    loaded = done.stderr.split()
    assert loaded[0] == "0", done.stderr
    # Numba imports the bare package `scipy` for its version; the costly parts lie below it.
    assert not set(loaded) & {"scipy.sparse", "scipy.linalg", "onnxruntime", "torch", "rich"}


def test_quiet_and_a_closed_pipe(lsr, built: Path, environment) -> None:
    command = f"{sys.executable} -m lsr search {built} '{QUESTION}' -k 500 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
