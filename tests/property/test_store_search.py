"""Exact search over real index folders: deletions, many adds, and segment files with any bytes flipped."""

from __future__ import annotations

import tempfile
from contextlib import suppress

import numpy as np
import pytest
from block_samples import LISTS, ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lsr.errors import IndexCorruptError, IndexVersionError
from lsr.index import layout
from lsr.index.matrices import read_matrix
from lsr.index.quantise import quantise_query
from lsr.index.search import explain_row, search
from lsr.index.segment_reader import SegmentReader
from lsr.index.snapshot import Moment, Snapshot
from lsr.index.store import Settings, Store

FORMS = ("u8", "u16", "f32")
COLUMNS = 9


def random_rows(rng, rows):
    choices = np.array([0.1, 0.25, 0.5, 3.0], np.float32)  # 3.0 is clipped
    filled = rng.random((rows, COLUMNS)) < 0.35
    return np.where(filled, rng.choice(choices, filled.shape), np.float32(0))


def plan(form):
    return Settings("documents", form, None if form == "f32" else 2.5 / 255, COLUMNS)


def add(writer, dense, first):
    ids = [str(first + row) for row in range(len(dense))]
    documents = [f'{{"id":"{id}"}}'.encode() for id in ids]
    writer.add_rows(read_matrix(csr_array(dense)), ids, documents, [bytes(16)] * len(ids), [{} for _ in ids])


def answers(snapshot, queries, form, k):
    """Ids and scores for each query."""
    found = []
    for row in queries:
        query = quantise_query(np.arange(COLUMNS), row, form)
        ranking = search(snapshot, query, k)
        places = zip(ranking.segments, ranking.documents, ranking.scores, strict=True)
        found.append([(snapshot.id(int(s), int(d)), score) for s, d, score in places])
    return found


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 60))
def test_one_add_is_many_adds_and_a_deletion_is_an_absence(form, seed, k):
    rng = np.random.default_rng(seed)
    dense, queries = random_rows(rng, 50), random_rows(rng, 6)
    doomed = set(rng.choice(50, 15, replace=False).tolist())
    with tempfile.TemporaryDirectory() as folder:
        with Store.create(f"{folder}/one", plan(form), query_side=None) as one:
            with one.writing() as writer:
                add(writer, dense, 0)
                writer.commit()
            whole = answers(one.snapshot, queries, form, 100)
            with one.writing() as writer:
                writer.delete([(0, document) for document in doomed])
                writer.commit()
            assert len(one.snapshot) == 35
            left = answers(one.snapshot, queries, form, k)
        with Store.create(f"{folder}/many", plan(form), query_side=None) as many:
            size = int(rng.integers(5, 20))
            for first in range(0, 50, size):
                with many.writing() as writer:
                    add(writer, dense[first : first + size], first)
                    writer.commit()
            assert answers(many.snapshot, queries, form, 100) == whole
            segments, documents = many.snapshot.find([str(row) for row in doomed])
            with many.writing() as writer:
                writer.delete(zip(segments.tolist(), documents.tolist(), strict=True))
                writer.commit()
            assert answers(many.snapshot, queries, form, k) == left
    expected = [[(id, score) for id, score in hits if int(id) not in doomed][:k] for hits in whole]
    assert left == expected


@pytest.mark.parametrize("form", FORMS)
def test_an_explanation_of_a_stored_row_is_its_score(form, tmp_path):
    rng = np.random.default_rng(4)
    dense, queries = random_rows(rng, 20), random_rows(rng, 5)
    with Store.create(tmp_path / "i", plan(form), query_side=None) as store, store.writing() as writer:
        add(writer, dense, 0)
        writer.commit()
        for row in queries:
            query = quantise_query(np.arange(COLUMNS), row, form)
            ranking = search(store.snapshot, query, 20)
            for score, segment, at in zip(ranking.scores, ranking.segments, ranking.rows, strict=True):
                _, weights, impacts, lexical = explain_row(store.snapshot, query, int(segment), int(at))
                total = np.dot(weights.astype(np.float64), impacts.astype(np.float64))
                assert total * (store.settings.scale or 1.0) * query.step == score
                assert lexical is None


@pytest.fixture(scope="module", params=[LISTS, (3, 2), ROWS], ids=["lists", "both", "rows"])
def segment_file(request, tmp_path_factory):
    """The bytes of a segment, with what the catalog says about it; small ones have no lists by themselves."""
    folder = tmp_path_factory.mktemp("segment")
    rng = np.random.default_rng(9)
    with (
        Store.create(folder / "i", plan("u8"), query_side=None) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(layout, "_MOST_DENSE", request.param[0])
        patch.setattr(layout, "_DENSE_SHARE", request.param[1])
        with store.writing() as writer:
            add(writer, random_rows(rng, 60), 0)
            writer.commit()
        record = store.snapshot.segments[0].record
        return (folder / "i" / record.name).read_bytes(), record, store.settings


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bytes_that_no_checksum_has_seen(segment_file, seed):
    """As in a file too large to be checksummed at opening: an answer or an error, never a crash."""
    content, record, plan = segment_file
    rng = np.random.default_rng(seed)
    data = np.frombuffer(content, np.uint8).copy()
    for place in rng.integers(0, len(data), rng.integers(1, 6)):
        data[place] = rng.integers(0, 256)
    data.flags.writeable = False
    with suppress(IndexCorruptError, IndexVersionError):
        reader = SegmentReader.over(data, record, plan, whole=False)
        snapshot = Snapshot(plan, [reader], [None], Moment(1, 1, 60))
        for row in random_rows(rng, 3):
            query = quantise_query(np.arange(COLUMNS), row, "u8")
            for at in search(snapshot, query, 9).rows:
                explain_row(snapshot, query, 0, int(at))
