"""One collection laid out in every way gives one ranking: orders of rows, numbers of segments, threads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import block_samples as samples
import numpy as np
import pytest
from block_samples import FORMS, LAYOUTS, LISTS, ROWS, Segment, Snapshot, brute_force, hits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsr.index import layout as module
from lsr.index.calibration import LEAST_ROWS, Calibration, Curve
from lsr.index.layout import arrange, lay_out
from lsr.index.quantise import MOST_QUERY_TERMS, QuantisedQuery
from lsr.index.search import calibrate_segment, search, search_many

SEEDS = st.integers(0, 2**32 - 1)
ORDERS = ("as they come", "random", "arranged")
with_forms = pytest.mark.parametrize("form", FORMS)
seldom = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=LAYOUTS, ids=lambda pair: f"most-{pair[0]}-share-{pair[1]}")
def kinds(request, monkeypatch):
    """Which terms of the segments made in a test are dense."""
    monkeypatch.setattr(module, "_MOST_DENSE", request.param[0])
    monkeypatch.setattr(module, "_DENSE_SHARE", request.param[1])
    return request.param


@dataclass(frozen=True)
class Collection:
    """Rows, the document of each, and each document's sequence number."""

    indptr: np.ndarray
    indices: np.ndarray
    impacts: np.ndarray
    document: np.ndarray
    sequence: np.ndarray

    @property
    def rows(self):
        return len(self.indptr) - 1

    def part(self, first, last):
        """The documents from `first` to `last` alone."""
        rows = np.flatnonzero((self.document >= first) & (self.document < last))
        lengths = np.diff(self.indptr)[rows]
        entries = np.concatenate(
            [np.empty(0, np.int64), *(np.arange(self.indptr[row], self.indptr[row + 1]) for row in rows)]
        )
        return Collection(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            self.indices[entries],
            self.impacts[entries],
            (self.document[rows] - first).astype(np.int32),
            self.sequence[first:last],
        )

    def lay(self, rng, order, number=0):
        """A segment of all rows in one of `ORDERS`."""
        vectors = self.indptr, self.indices, self.impacts
        if order == "arranged":
            layout, places = arrange(*vectors, threads=int(rng.integers(1, 3)))
        else:
            places = np.arange(self.rows) if order == "as they come" else rng.permutation(self.rows)
            layout = lay_out(*vectors, order=places.astype(np.int32))
        parts = [slice(self.indptr[row], self.indptr[row + 1]) for row in places]
        return Segment(
            f"segment-{number}",
            layout,
            self.document[places],
            self.sequence,
            [self.indices[part] for part in parts],
            [self.impacts[part] for part in parts],
        )


def collect(rng, form, *, rows, vocabulary, longest=10):
    """Rows with repeats, some without terms, of documents of one or several rows."""
    indptr, indices, impacts = samples.csr(rng, rows, vocabulary, longest, form)
    document, documents = samples.owners(rng, rows)
    return Collection(indptr, indices, impacts, document, rng.permutation(documents).astype(np.int64))


def best(ranking):
    """Scores and sequence numbers, which depend on no order of rows."""
    return list(zip(ranking.scores.tolist(), ranking.sequences.tolist(), strict=True))


@with_forms
@seldom
@given(
    seed=SEEDS,
    rows=st.sampled_from([129, 500, 1500]),
    vocabulary=st.sampled_from([10, 80, 300_000]),
    k=st.sampled_from([1, 10, 100, 4000]),
)
def test_an_order_of_rows_changes_no_answer(kinds, form, seed, rows, vocabulary, k):
    """Deleted and filtered documents included."""
    rng = np.random.default_rng(seed)
    collection = collect(rng, form, rows=rows, vocabulary=vocabulary)
    alive, wanted = (rng.random(len(collection.sequence)) < share for share in (0.8, rng.choice([0.05, 0.6])))
    asked = samples.query(rng, form, int(rng.choice([1, 8, 40])), vocabulary)
    answers, limited = [], []
    for order in ORDERS:
        segment = collection.lay(rng, order)
        answers.append(best(search(Snapshot(form, [segment]), asked, k)))
        assert answers[-1] == [hit[:2] for hit in brute_force([segment], asked, k)]
        may = [alive[segment.row_document], wanted[segment.row_document]]
        snapshot = Snapshot(form, [segment], [samples.bitmap(may[0])])
        found = search(snapshot, asked, k, allowed=[samples.bitmap(may[1])])
        assert hits(found) == brute_force([segment], asked, k, [may[0] & may[1]])
        limited.append(best(found))
    assert answers[1:] == answers[:1] * 2
    assert limited[1:] == limited[:1] * 2


@with_forms
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_any_number_of_segments_gives_the_same_hits(kinds, form, k):
    rng = np.random.default_rng(k)
    collection = collect(rng, form, rows=1200, vocabulary=50)
    documents = len(collection.sequence)
    queries = [samples.query(rng, form, terms, 50) for terms in (1, 4, 30)]
    answers = []
    for pieces in (1, 8, 50):
        cuts = np.linspace(0, documents, pieces + 1).astype(int)
        segments = [
            collection.part(*cuts[number : number + 2]).lay(rng, ORDERS[number % 3], number)
            for number in rng.permutation(pieces)  # a sequence number says when a document came, not where
        ]
        answers.append([best(search(Snapshot(form, segments), query, k)) for query in queries])
        expected = [[hit[:2] for hit in brute_force(segments, query, k)] for query in queries]
        assert answers[-1] == expected
    assert answers[1:] == answers[:1] * 2


@with_forms
@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_threads_change_no_answer(form, mode):
    rng = np.random.default_rng(6)
    curve = Calibration((1.0, 0.7), (Curve(8, 10, (1.0, 0.999)),))
    segments = [
        replace(collect(rng, form, rows=rows, vocabulary=200).lay(rng, order, number), calibration=curve)
        for number, (rows, order) in enumerate(zip((2000, 40, 700), ORDERS, strict=True))
    ]
    queries = [samples.query(rng, form, int(terms), 200) for terms in rng.choice([1, 7, 150], 60)]
    snapshot = Snapshot(form, segments)
    alone = [hits(search(snapshot, query, 20, mode=mode)) for query in queries]
    for threads in (1, 2, 8, 100):
        found = search_many(snapshot, queries, 20, threads, mode=mode)
        assert [hits(ranking) for ranking in found] == alone


def test_the_largest_u8_sum_is_held(kinds):
    """As many terms as a query may have, all of the largest weight: 4,294,966,275 of 4,294,967,295."""
    terms = MOST_QUERY_TERMS["u8"]
    columns = np.arange(terms, dtype=np.int32)
    lengths = np.array([terms, terms - 1, *[3] * 60])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([columns[:length] for length in lengths])
    rng = np.random.default_rng(0)
    segment = samples.lay(rng, indptr, indices, np.full(len(indices), 255, np.uint8))
    asked = QuantisedQuery(columns, np.full(terms, 255, np.uint8), 1.0)
    found = search(Snapshot("u8", [segment]), asked, 100)
    assert found.scores.max() == terms * 255 * 255 < 2**32
    assert hits(found) == brute_force([segment], asked, 100)


# Approximate search with a segment's own calibration


def themed(rng, form, rows):
    """Rows of themes, a few terms of each heavy: what blocks can be told apart by."""
    theme = rng.integers(0, 60, rows)
    columns = np.sort(theme[:, None] * 25 + rng.integers(0, 40, (rows, 14)), axis=1).astype(np.int32)
    fresh = np.concatenate([np.ones((rows, 1), bool), np.diff(columns, axis=1) > 0], axis=1)
    indptr = np.concatenate([[0], np.cumsum(fresh.sum(axis=1))]).astype(np.int64)
    top = {"u8": 255, "u16": 65_535, "f32": 4.0}[form]
    weights = np.maximum(rng.gamma(0.7, 0.1, int(indptr[-1])).clip(0, 1) * top, 1 if form != "f32" else 0.01)
    sequence = rng.permutation(rows).astype(np.int64)
    return Collection(
        indptr,
        columns[fresh],
        weights.astype(samples.IMPACTS[form]),
        np.arange(rows, dtype=np.int32),
        sequence,
    )


@pytest.fixture(scope="module", params=FORMS)
def calibrated(request):
    """A segment that knows what may be left out of it, and queries that are none of its rows."""
    form, rng = request.param, np.random.default_rng(12)
    segment = themed(rng, form, LEAST_ROWS + 100).lay(rng, "arranged")
    segment = replace(segment, calibration=calibrate_segment(segment, form))
    queries = []
    for number in range(40):
        row = int(rng.integers(len(segment.columns)))
        columns = np.unique(rng.choice(segment.columns[row], 5 if number % 2 else 9)).astype(np.int32)
        heavy = rng.integers(1, 250, len(columns)).astype(samples.IMPACTS[form])
        queries.append(QuantisedQuery(columns, heavy, 1.0))
    everything = [brute_force([segment], query, 10**6) for query in queries]
    return form, segment, queries, everything


def test_what_an_approximate_search_finds_has_its_exact_score(calibrated):
    form, segment, queries, everything = calibrated
    assert segment.calibration is not None
    lost = 0
    for query, exact in zip(queries, everything, strict=True):
        for overlap in (0.5, 0.9, 0.99):
            found = hits(search(Snapshot(form, [segment]), query, 10, mode="approximate", overlap=overlap))
            assert len(found) == min(10, len(exact))
            scores = {hit[1:]: hit[0] for hit in exact}
            expected = [pytest.approx(scores[hit[1:]], rel=1e-12) for hit in found]
            assert [hit[0] for hit in found] == expected
            assert [hit[:2] for hit in found] == sorted(
                (hit[:2] for hit in found), key=lambda h: (-h[0], h[1])
            )
            lost += len({hit[1] for hit in exact[:10]} - {hit[1] for hit in found})
    assert lost > 0, "nothing was left out: the test says nothing"


def test_an_overlap_of_one_is_exact(calibrated):
    form, segment, queries, _ = calibrated
    snapshot = Snapshot(form, [segment])
    for query in queries:
        for k in (1, 10, 100):
            exact = hits(search(snapshot, query, k))
            assert hits(search(snapshot, query, k, mode="approximate", overlap=1.0)) == exact
            assert hits(search(snapshot, query, k, mode="approximate", overlap=1)) == exact


def test_nothing_is_left_out_where_nothing_may_be(calibrated):
    """Without a calibration, and with one that tried no factor below 1."""
    form, segment, queries, everything = calibrated
    for calibration in (None, Calibration((1.0,), (Curve(8, 10, (1.0,)),))):
        snapshot = Snapshot(form, [replace(segment, calibration=calibration)])
        for query, exact in zip(queries, everything, strict=True):
            found = search(snapshot, query, 10, mode="approximate", overlap=0.01)
            assert hits(found) == hits(search(snapshot, query, 10))
            assert [hit[1] for hit in hits(found)] == [hit[1] for hit in exact[:10]]


def test_an_approximate_search_finds_about_what_was_asked_for(calibrated):
    form, segment, queries, everything = calibrated
    for overlap in (0.8, 0.95):
        shares = []
        for query, exact in zip(queries, everything, strict=True):
            found = search(Snapshot(form, [segment]), query, 10, mode="approximate", overlap=overlap)
            wanted = {hit[1] for hit in exact[:10]}
            shares.append(len(wanted & set(found.sequences.tolist())) / len(wanted))
        assert np.mean(shares) >= overlap - 0.05


def test_segments_of_an_approximate_search_answer_for_themselves(calibrated):
    """A segment that knows nothing of itself loses nothing beside one that does."""
    form, segment, queries, everything = calibrated
    rng = np.random.default_rng(13)
    other = themed(rng, form, 300)
    other = replace(other, sequence=other.sequence + 10**6).lay(rng, "random", 1)
    for query, exact in zip(queries, everything, strict=True):
        small = brute_force([other], query, 10**6)
        expected = sorted(exact + small, key=lambda hit: (-hit[0], hit[1]))[:10]
        found = search(Snapshot(form, [segment, other]), query, 10, mode="approximate", overlap=0.9)
        kept = {hit[1] for hit in expected if hit[1] >= 10**6}
        assert kept <= set(found.sequences.tolist())


# Larger ones


@pytest.mark.slow
@with_forms
@pytest.mark.parametrize("pair", [LISTS, ROWS, (2047, 16)])
def test_a_large_collection(monkeypatch, form, pair):
    """300,000 rows, more documents than 16 bits count, 20,000 columns, every order, queries of any length."""
    monkeypatch.setattr(module, "_MOST_DENSE", min(pair[0], 300))
    monkeypatch.setattr(module, "_DENSE_SHARE", pair[1])
    rng = np.random.default_rng(21)
    collection = collect(rng, form, rows=300_000, vocabulary=20_000, longest=12)
    queries = [samples.query(rng, form, terms, 20_000) for terms in (1, 7, 44, 10_000)]
    answers = []
    for order in ORDERS:
        segment = collection.lay(rng, order)
        for query in queries:
            for k in (10, 1000):
                found = best(search(Snapshot(form, [segment]), query, k))
                assert found == [hit[:2] for hit in brute_force([segment], query, k)]
                answers.append(found)
    assert answers[: len(queries) * 2] * 3 == answers
