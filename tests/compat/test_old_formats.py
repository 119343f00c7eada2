"""Indexes of every released format hold, answer and verify as they did when they were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import index_answers
import pytest

from lsr.index.check import verify
from lsr.index.format import FORMAT_VERSION
from lsr.index.store import Store

DATA = Path(__file__).parent / "data"
TOLERANCE = {"u8": 1e-14, "u16": 1e-14, "f32": 1e-6}
"""Sums of whole numbers are exact; what is left is the rounding of the two steps."""

every_index = pytest.mark.parametrize(
    "index", sorted(DATA.glob("v*/*.lsr")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(index, tmp_path / "i.lsr"))


@pytest.fixture
def answers(index: Path) -> dict:
    return json.loads((index.parent / "answers.json").read_text(encoding="utf-8"))[index.stem]


@every_index
def test_an_old_index_is_sound(copy: Path) -> None:
    assert verify(copy, deep=True).faults == ()
    with Store.open(copy, verify=True) as store:
        assert bytes(store.query_side() or b"") == b"the query side"


@every_index
def test_an_old_index_holds_what_it_held(copy: Path, answers: dict) -> None:
    with Store.open(copy) as store:
        assert (store.settings.quantize, store.settings.scale) == (answers["quantize"], answers["scale"])
        assert index_answers.holdings(store) == answers["documents"]
        assert index_answers.frequencies(store) == answers["document_frequencies"]
        for document in answers["documents"]:
            segments, places = store.snapshot.find([document["id"]])
            assert store.snapshot.id(int(segments[0]), int(places[0])) == document["id"]
        assert store.snapshot.find(["doc-3"])[0].tolist() == [-1]


@every_index
def test_an_old_index_answers_as_it_did(copy: Path, answers: dict) -> None:
    with Store.open(copy) as store:
        for query in answers["queries"]:
            found = index_answers.rank(store, query)
            assert [id for id, _ in found] == [id for id, _ in query["ranking"]]
            scores = [score for _, score in query["ranking"]]
            assert [score for _, score in found] == pytest.approx(scores, rel=TOLERANCE[answers["quantize"]])


@every_index
def test_an_old_index_answers_by_exact_arithmetic(copy: Path, answers: dict) -> None:
    """The written answers are themselves what the stored impacts give."""
    with Store.open(copy) as store:
        for query in answers["queries"]:
            exact = index_answers.rank_by_hand(store, query)
            assert [id for id, _ in exact] == [id for id, _ in query["ranking"]]
            scores = [score for _, score in query["ranking"]]
            assert [score for _, score in exact] == pytest.approx(scores, rel=TOLERANCE[answers["quantize"]])


@every_index
def test_the_answers_are_worth_asking(index: Path, answers: dict) -> None:
    lengths = [len(query["ranking"]) for query in answers["queries"]]
    assert max(lengths) > 15 and min(lengths) == 0
    assert len(answers["documents"]) >= 21 and max(answers["document_frequencies"]) > 1
    assert any(document["surfaces"] for document in answers["documents"]) == (index.stem == "words")


def test_there_is_a_fixture_of_this_format() -> None:
    folder = DATA / f"v{FORMAT_VERSION}"
    assert len(list(folder.glob("*.lsr"))) == 4 and (folder / "answers.json").is_file()
