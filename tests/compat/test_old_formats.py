"""Indexes of every released format open, search and verify as they did when they were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import index_samples as samples
import numpy as np
import pytest

from lsr.index.check import verify
from lsr.index.quantise import quantise_query
from lsr.index.search import search
from lsr.index.store import Store

DATA = Path(__file__).parent / "data"
LIVING = [f"doc-{i}" for i in range(20) if i != 3] + ["a", "b"]


@pytest.mark.parametrize("folder", sorted(DATA.glob("v*/*.lsr")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_an_old_index_is_read(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "i.lsr"
    shutil.copytree(folder, copy)
    assert verify(copy, deep=True).faults == ()
    with Store.open(copy, verify=True) as store:
        assert bytes(store.query_side() or b"") == b"the query side"
        found = check_ranking(store)
        assert set(found) <= set(LIVING)
        for number, segment in enumerate(store.snapshot.segments):
            for place in range(segment.documents):
                id = store.snapshot.id(number, place)
                assert json.loads(store.snapshot.stored(number, place)) == samples.document(id)


def check_ranking(store: Store) -> list[str]:
    """A query of every column: scores equal the inner products of the weights that went in."""
    columns = np.arange(samples.DIMENSION, dtype=np.int32)
    query = quantise_query(columns, np.ones(len(columns), np.float32), store.settings.quantize)
    ranking = search(store.snapshot, query, 100)
    ids = [
        store.snapshot.id(int(segment), int(document))
        for segment, document in zip(ranking.segments, ranking.documents, strict=True)
    ]
    for id, score in zip(ids, ranking.scores, strict=True):
        values = samples.vectors([id]).values
        assert score == pytest.approx(float(values.sum()), abs=0.006 * len(values))
    assert ids == [id for id in ids if id in LIVING] and len(ids) == len(
        [id for id in LIVING if len(samples.vectors([id]).values)]
    )
    return ids


def test_there_is_a_fixture_of_this_format() -> None:
    from lsr.index.format import FORMAT_VERSION

    assert len(list((DATA / f"v{FORMAT_VERSION}").glob("*.lsr"))) == 3
