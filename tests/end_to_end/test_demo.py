"""`lsr demo`: the newcomer's first minute, for people and as JSON."""

from __future__ import annotations

from pathlib import Path

from lsr.encoders.loading import resolve_name


def test_demo(lsr, tmp_path: Path) -> None:
    done = lsr("demo", "--index", tmp_path / "demo")
    assert done.code == 0, done.err
    assert "1,078 pages, 64 questions" in done.out
    assert "NDCG@10" in done.out and "bm25" in done.out
    assert "learned" in done.out and "words" in done.out
    assert "lsr index notes.jsonl --index notes.lsr" in done.out
    # The line that names the kept index is as long as its path.
    assert max(len(line) for line in done.out.splitlines() if str(tmp_path) not in line) <= 100
    assert lsr("search", tmp_path / "demo" / "demo.lsr", "find large files", "--json").json()
    assert lsr("demo", "--index", tmp_path / "demo").code == 2


def test_demo_json(lsr) -> None:
    done = lsr("demo", "--json", "--quiet")
    assert done.code == 0 and done.err == ""
    found = done.json()
    assert (found["version"], found["documents"], found["questions"]) == (1, 1078, 64)
    names = [system["system"] for system in found["systems"]]
    assert names == [resolve_name("default"), "bm25"]
    assert found["systems"][0]["ndcg_at_10"] > found["systems"][1]["ndcg_at_10"]
    assert len(found["shown"]) == 3
    kinds = {
        term["kind"]
        for shown in found["shown"]
        for hit in shown["results"][0]["hits"]
        for term in hit["explanation"]
    }
    assert kinds == {"word", "learned"}
