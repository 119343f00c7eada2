"""Search in blocks finds what brute force over the rows finds, to the last tie, whatever the layout."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import block_samples as samples
import numpy as np
import pytest
from block_samples import FORMS, LAYOUTS, LISTS, ROWS, Snapshot, brute_force, hits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from lsr.errors import IndexCorruptError, InputError
from lsr.index import layout as module
from lsr.index.calibration import Calibration, Curve
from lsr.index.layout import KERNEL_ARRAYS, MOST_ROWS, expand, lay_out, match
from lsr.index.quantise import QuantisedQuery
from lsr.index.query_batch import pack_queries
from lsr.index.scratch import scratch
from lsr.index.search import search
from lsr.index.vector_index import VectorIndex

SEEDS = st.integers(0, 2**32 - 1)
with_forms = pytest.mark.parametrize("form", FORMS)
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=LAYOUTS, ids=lambda pair: f"most-{pair[0]}-share-{pair[1]}")
def kinds(request, monkeypatch):
    """Which terms of the segments made in a test are dense."""
    monkeypatch.setattr(module, "_MOST_DENSE", request.param[0])
    monkeypatch.setattr(module, "_DENSE_SHARE", request.param[1])
    return request.param


def set_layout(monkeypatch, pair):
    monkeypatch.setattr(module, "_MOST_DENSE", pair[0])
    monkeypatch.setattr(module, "_DENSE_SHARE", pair[1])


def random_segments(rng, form, vocabulary):
    """One to four segments, some without rows, some of many blocks."""
    sizes = rng.choice([0, 1, 31, 32, 33, 200, 900], rng.integers(1, 5))
    longest = int(rng.choice([1, 6, 30]))
    return [
        samples.make(rng, form, rows=int(rows), vocabulary=vocabulary, longest=longest, number=number)
        for number, rows in enumerate(sizes)
    ]


@with_forms
@often
@given(
    seed=SEEDS,
    k=st.sampled_from([1, 2, 10, 100, 5000]),
    terms=st.sampled_from([1, 3, 12, 60]),
    vocabulary=st.sampled_from([10, 60, 3000, 300_000]),
)
def test_exact_is_brute_force(kinds, form, seed, k, terms, vocabulary):
    rng = np.random.default_rng(seed)
    segments = random_segments(rng, form, vocabulary)
    asked = samples.query(rng, form, terms, vocabulary)
    found = hits(search(Snapshot(form, segments), asked, k))
    expected = brute_force(segments, asked, 2 * k)
    assert found == expected[:k]
    assert hits(search(Snapshot(form, segments), asked, 2 * k)) == expected


@with_forms
@often
@given(seed=SEEDS, k=st.sampled_from([1, 7, 2000]), share=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_rows_that_may_not_be_found(kinds, form, seed, k, share):
    rng = np.random.default_rng(seed)
    segments = random_segments(rng, form, 60)
    living = [rng.random(segment.layout.rows) < 0.8 for segment in segments]
    wanted = [rng.random(segment.layout.rows) < share for segment in segments]
    no_limit = rng.random(len(segments)) < 0.2
    filters = [None if none else samples.bitmap(one) for one, none in zip(wanted, no_limit, strict=True)]
    chosen = [one if none else one & other for one, other, none in zip(living, wanted, no_limit, strict=True)]
    snapshot = Snapshot(form, segments, [samples.bitmap(one) for one in living])
    asked = samples.query(rng, form, 10, 60)
    found = search(snapshot, asked, k, allowed=filters)
    assert hits(found) == brute_force(segments, asked, k, chosen)


@often
@given(seed=SEEDS, k=st.sampled_from([1, 10, 3000]))
def test_floats_are_added_up_to_rounding(kinds, seed, k):
    """Any floats; the order of additions is free, so that near ties may come in either order."""
    rng = np.random.default_rng(seed)
    magnitude = float(rng.choice([1e-30, 1.0, 1e30]))
    indptr, indices, _ = samples.csr(rng, 700, 50, 20, "f32")
    impacts = (rng.gamma(0.5, 1.0, len(indices)) * magnitude + 1e-40).astype(np.float32)
    segment = samples.lay(rng, indptr, indices, impacts)
    columns = np.arange(0, 50, 3, dtype=np.int32)
    asked = QuantisedQuery(
        columns, rng.gamma(0.5, 1.0, len(columns)).astype(np.float32) + np.float32(1e-30), 1.0
    )
    found = hits(search(Snapshot("f32", [segment]), asked, k))
    expected = brute_force([segment], asked, 10**6)
    truth = {sequence: score for score, sequence, *_ in expected}
    assert len(found) == min(k, len(expected))
    assert len({sequence for _, sequence, *_ in found}) == len(found)
    for (score, sequence, *_), (best, *_) in zip(found, expected, strict=False):
        assert score == pytest.approx(truth[sequence], rel=1e-12)
        assert score == pytest.approx(best, rel=1e-12)


@with_forms
@pytest.mark.parametrize("k", [1, 10, 64, 1000, 3000])
def test_ties_follow_the_sequence_numbers(kinds, form, k):
    rng = np.random.default_rng(k)
    indptr, indices = np.arange(2501, dtype=np.int64), np.zeros(2500, np.int32)
    segment = samples.lay(rng, indptr, indices, np.full(2500, 3, samples.IMPACTS[form]))
    asked = QuantisedQuery(np.zeros(1, np.int32), np.ones(1, samples.IMPACTS[form]), 1.0)
    found = search(Snapshot(form, [segment]), asked, k)
    assert found.sequences.tolist() == np.sort(segment.document_sequence)[:k].tolist()


@with_forms
def test_many_segments_carry_one_threshold(kinds, form):
    rng = np.random.default_rng(3)
    segments = [samples.make(rng, form, rows=150, number=number) for number in range(12)]
    for k in (1, 20):
        for _ in range(5):
            asked = samples.query(rng, form, 8, 40)
            assert hits(search(Snapshot(form, segments), asked, k)) == brute_force(segments, asked, k)


@pytest.mark.parametrize("pair", [LISTS, ROWS, (2047, 16)])
def test_more_documents_than_16_bits_count(monkeypatch, pair):
    """Over 4,096 blocks and 131,072 rows, more than scratch arrays begin with, and than 16 bits."""
    set_layout(monkeypatch, pair)
    rng = np.random.default_rng(9)
    rows = 140_000
    indptr = np.arange(0, 2 * rows + 1, 2, dtype=np.int64)
    first = rng.integers(0, 30, rows)
    indices = np.stack([first, first + rng.integers(1, 30, rows)], axis=1).ravel().astype(np.int32)
    impacts = rng.integers(1, 256, len(indices)).astype(np.uint8)
    segment = samples.lay(rng, indptr, indices, impacts)
    assert (np.count_nonzero(segment.layout.term_dense < 0) == 0) == (pair == ROWS)
    for k in (10, 2000):
        asked = samples.query(rng, "u8", 6, 60)
        assert hits(search(Snapshot("u8", [segment]), asked, k)) == brute_force([segment], asked, k)


@with_forms
def test_queries_of_very_many_terms(kinds, form):
    rng = np.random.default_rng(1)
    segments = [
        samples.make(rng, form, rows=800, vocabulary=20_000, longest=60, number=0),
        samples.make(rng, form, rows=40, vocabulary=20_000, longest=5000, number=1),
    ]
    for terms in (10_000, 60_000):
        asked = samples.query(rng, form, terms, 20_000)
        found = hits(search(Snapshot(form, segments), asked, 50))
        assert found == brute_force(segments, asked, 50)


def test_a_u16_query_so_long_that_its_steps_are_few(monkeypatch):
    """400,000 terms leave 42 steps of a weight; sums come near 2**51."""
    terms = 400_000
    columns = np.arange(terms, dtype=np.int32)
    rng = np.random.default_rng(2)
    lengths = np.array([terms, terms - 1, 3, 0, terms // 2, *[5] * 60])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([columns[:length] for length in lengths])
    impacts = rng.choice(np.array([1, 65_535], np.uint16), len(indices))
    impacts[: indptr[2]] = 65_535
    asked = QuantisedQuery(columns, rng.choice(np.array([1, 60_000, 65_535], np.uint16), terms), 1.0)
    for pair in (LISTS, ROWS):
        set_layout(monkeypatch, pair)
        segment = samples.lay(rng, indptr, indices, impacts)
        found = hits(search(Snapshot("u16", [segment]), asked, 40))
        assert found == brute_force([segment], asked, 40)


@often
@given(seed=SEEDS, form=st.sampled_from(FORMS), terms=st.sampled_from([1, 255, 66_051, 70_000, 2_000_000]))
def test_bounds_of_a_query_are_bounds(seed, form, terms):
    if form == "u8":
        terms = min(terms, 66_051)
    rng = np.random.default_rng(seed)
    top = {"u8": 255, "u16": 65_535, "f32": float(rng.choice([1e-45, 1.0, 3e38]))}[form]
    given_weights = np.maximum(rng.random(terms) * top, 1 if form != "f32" else 1e-45)
    given_weights = given_weights.astype(samples.IMPACTS[form])
    given_weights[rng.integers(terms)] = top
    kept = given_weights.astype({"u8": np.uint32, "u16": np.uint64, "f32": np.float64}[form])
    query = QuantisedQuery(np.arange(terms, dtype=np.int32), given_weights, 1.0)
    batch = pack_queries([query], form)
    assert int(batch.rounded.sum(dtype=np.uint64)) * 255 <= 2**32 - 1
    assert bool((batch.rounded * batch.values >= kept.astype(np.float64)).all())


@with_forms
def test_nothing_to_find(kinds, form):
    rng = np.random.default_rng(4)
    segment = samples.make(rng, form, rows=100, vocabulary=30)
    absent = QuantisedQuery(np.array([31, 500], np.int32), np.ones(2, samples.IMPACTS[form]), 1.0)
    nothing = QuantisedQuery(np.empty(0, np.int32), np.empty(0, samples.IMPACTS[form]), 1.0)
    empty = samples.make(rng, form, rows=0, number=1)
    bare = samples.lay(rng, np.zeros(41, np.int64), np.empty(0, np.int32), segment.impacts[0][:0], number=2)
    some = samples.query(rng, form, 9, 30)
    for segments, asked in (
        ([segment], absent),
        ([segment], nothing),
        ([empty], some),
        ([bare], some),
        ([empty, bare, empty], some),
        ([], some),
    ):
        assert len(search(Snapshot(form, segments), asked, 3)) == 0


@with_forms
def test_one_document(kinds, form):
    rng = np.random.default_rng(5)
    impacts = np.array([1, 200], samples.IMPACTS[form])
    segment = samples.lay(rng, np.array([0, 2]), np.array([7, 2**31 - 1], np.int32), impacts)
    asked = QuantisedQuery(np.array([3, 2**31 - 1], np.int32), impacts, 1.0)
    assert hits(search(Snapshot(form, [segment]), asked, 5)) == [(40_000.0, 0, 0, 0, 0)]


@with_forms
@often
@given(seed=SEEDS, k=st.sampled_from([1, 10, 300]), factor=st.sampled_from([0.3, 0.8, 0.97, 1.0]))
def test_an_approximate_search_leaves_out_and_never_makes_up(kinds, form, seed, k, factor):
    rng = np.random.default_rng(seed)
    measured = Calibration((1.0, factor), (Curve(8, 10, (1.0, 1.0)),))
    segments = [replace(segment, calibration=measured) for segment in random_segments(rng, form, 60)]
    snapshot = Snapshot(form, segments)
    asked = samples.query(rng, form, 8, 60)
    everything = brute_force(segments, asked, 10**6)
    found = hits(search(snapshot, asked, k, mode="approximate", overlap=0.9))
    assert len(found) == min(k, len(everything))
    for score, sequence, segment, row, document in found:
        assert segments[segment].row_document[row] == document
        assert score <= next(hit[0] for hit in everything if hit[1] == sequence)
    assert found == sorted(found, key=lambda hit: (-hit[0], hit[1]))
    if factor == 1.0:
        assert found == everything[:k]
    assert hits(search(snapshot, asked, k)) == everything[:k]


# The layout and back


@with_forms
@often
@given(
    seed=SEEDS,
    rows=st.sampled_from([0, 1, 32, 33, 700]),
    vocabulary=st.sampled_from([10, 300, 300_000]),
    known=st.booleans(),
)
def test_a_layout_holds_its_rows(kinds, form, seed, rows, vocabulary, known):
    rng = np.random.default_rng(seed)
    segment = samples.make(rng, form, rows=rows, vocabulary=vocabulary, lexical=known)
    layout = segment.layout
    postings = expand(layout)
    terms = np.repeat(layout.terms, np.diff(postings.offsets))
    words = layout.is_lexical(postings.places)
    assert (words is None) == (not known)
    assert len(np.unique(postings.places)) == layout.postings == sum(map(len, segment.columns))
    by_row = np.lexsort((terms, postings.rows))
    for name, found, rows_of in (
        ("columns", terms, segment.columns),
        ("impacts", postings.impacts, segment.impacts),
        ("words", words, segment.lexical),
    ):
        if rows_of is not None:
            np.testing.assert_array_equal(found[by_row], np.concatenate([found[:0], *rows_of]), name)
    owners = np.repeat(np.arange(rows), [len(columns) for columns in segment.columns])
    np.testing.assert_array_equal(postings.rows[by_row], owners)
    assert all(
        bool((np.diff(part.astype(np.int64)) > 0).all())
        for part in np.split(postings.rows, postings.offsets[1:-1])
    )
    if known:
        every = np.concatenate([np.empty(0, np.int32), *segment.columns])[
            np.concatenate([np.empty(0, bool), *segment.lexical])
        ]
        np.testing.assert_array_equal(
            layout.term_lexical_df, [np.count_nonzero(every == term) for term in layout.terms]
        )
    else:
        np.testing.assert_array_equal(layout.term_lexical_df, np.diff(postings.offsets))


@with_forms
@often
@given(seed=SEEDS)
def test_a_row_is_found_in_its_layout(kinds, form, seed):
    rng = np.random.default_rng(seed)
    segment = samples.make(rng, form, rows=200, vocabulary=50, lexical=True)
    for row in rng.integers(0, 200, 10).tolist():
        asked = np.unique(rng.integers(0, 55, 30)).astype(np.int32)
        places, impacts, words = match(segment.layout, row, asked)
        held = np.isin(segment.columns[row], asked)
        np.testing.assert_array_equal(asked[places], segment.columns[row][held])
        np.testing.assert_array_equal(impacts, segment.impacts[row][held])
        np.testing.assert_array_equal(words, segment.lexical[row][held])
        assert impacts.dtype == samples.IMPACTS[form]


@with_forms
@often
@given(seed=SEEDS, known=st.booleans())
def test_laying_out_what_a_layout_holds_changes_nothing(kinds, form, seed, known):
    rng = np.random.default_rng(seed)
    layout = samples.make(rng, form, rows=300, vocabulary=200, lexical=known).layout
    postings = expand(layout)
    order = np.argsort(postings.rows, kind="stable")
    indptr = np.zeros(layout.rows + 1, np.int64)
    np.cumsum(np.bincount(postings.rows, minlength=layout.rows), out=indptr[1:])
    columns = np.repeat(layout.terms, np.diff(postings.offsets))[order]
    words = layout.is_lexical(postings.places)
    words = None if words is None else words[order]
    again = lay_out(indptr, columns, postings.impacts[order], lexical=words)
    assert (again.form, again.rows, again.bound_step) == (layout.form, layout.rows, layout.bound_step)
    for name in (*KERNEL_ARRAYS, "term_lexical_df", "sparse_lexical", "dense_lexical"):
        np.testing.assert_array_equal(getattr(again, name), getattr(layout, name), name)


# Scratch arrays


@pytest.fixture(scope="module")
def questions():
    """Segments and queries of very different sizes, with what they find."""
    rng = np.random.default_rng(8)
    wide = samples.make(rng, "u8", rows=2500, vocabulary=300_000, longest=40)
    many = samples.make(rng, "u8", rows=140_000, vocabulary=9, longest=1)
    small = samples.make(rng, "u8", rows=50, vocabulary=30)
    terms = np.unique(np.concatenate(wide.columns))
    long = QuantisedQuery(terms, rng.integers(1, 256, len(terms)).astype(np.uint8), 1.0)
    asked = []
    for segment, vocabulary in ((wide, 300_000), (many, 9), (small, 30)):
        asked += [(segment, samples.query(rng, "u8", count, vocabulary)) for count in (1, 9, 10_000)]
    asked.append((wide, long))
    assert len(wide.layout.list_entries) > 1 << 15 and len(terms) > 20_000 and many.layout.blocks > 4096
    return [(Snapshot("u8", [segment]), query, brute_force([segment], query, 30)) for segment, query in asked]


def ask_all(questions, seed):
    order = np.random.default_rng(seed).permutation(len(questions))
    return [
        number
        for number in order
        if hits(search(questions[number][0], questions[number][1], 30)) != questions[number][2]
    ]


def test_one_thread_asks_queries_of_all_sizes(questions):
    for seed in range(4):
        assert ask_all(questions, seed) == []


def test_eight_threads_ask_queries_of_all_sizes(questions):
    gate = threading.Barrier(8)

    def work(seed):
        gate.wait()
        return ask_all(questions, seed)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[]] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_asks_queries_of_all_sizes(questions):
    ask_all(questions, 0)
    child = os.fork()
    if child == 0:
        wrong = True
        try:
            wrong = bool(ask_all(questions, 1))
        finally:
            os._exit(int(wrong))
    assert ask_all(questions, 2) == []
    assert os.waitpid(child, 0)[1] == 0


# Limits and damage


def test_more_rows_than_a_segment_numbers():
    """Blocks are numbered in 16 bits: what has more rows is refused, and matrices are cut."""
    rows = MOST_ROWS + 40
    offsets = np.zeros(rows + 1, np.int64)
    with pytest.raises(InputError, match="2,097,192 rows are more than the 2,097,152 of a segment"):
        lay_out(offsets, np.empty(0, np.int32), np.empty(0, np.uint8))
    heavy = np.array([5, MOST_ROWS - 1, MOST_ROWS, rows - 1])
    matrix = csr_array((np.ones(4, np.float32), (heavy, np.zeros(4, int))), shape=(rows, 3))
    for batches in (matrix, [matrix[:MOST_ROWS], matrix[MOST_ROWS:]], [matrix[:9], matrix[9:]]):
        index = VectorIndex.build(batches)
        assert len(index) == rows
        assert index.search(csr_array([[1.0, 0.0, 0.0]]), 5)[1].tolist() == [[*heavy, -1]]


@pytest.mark.parametrize(
    ("pair", "part", "value", "sentence"),
    [
        (LISTS, "list_offsets", [0, 99], "a term's postings lie outside the file"),
        (LISTS, "list_offsets", [-1, 2], "a term's postings lie outside the file"),
        (LISTS, "list_postings", [0, 99], "a term's postings lie outside the file"),
        (LISTS, "list_entries", [0x0000FFFF, 0x0001FF02], "a block's postings lie outside the file"),
        (
            LISTS,
            "sparse_postings",
            [0x0101, 0x0001, 0x1F01, 0x0101, 0, 0, 0, 0],
            "name rows that are not there",
        ),
        (ROWS, "dense_maxima", [255], "a term's postings lie outside the file"),
        (ROWS, "term_dense", [64], "a term's postings lie outside the file"),
        (ROWS, "block_bits", [1], "a term's postings lie outside the file"),
        (ROWS, "block_ranks", [0, 9], "a block's postings lie outside the file"),
        (ROWS, "pair_starts", [0, 2, 0, 65_535], "a block's postings lie outside the file"),
        (ROWS, "pair_starts", [2, 0, 0, 2], "a block's postings lie outside the file"),
        (ROWS, "pair_starts", [], "a block's postings lie outside the file"),
        (
            ROWS,
            "dense_postings",
            [0x0101, 0x0001, 0x1F01, 0x0101, 0, 0, 0, 0],
            "name rows that are not there",
        ),
        (ROWS, "block_pairs", [0], "a term's postings lie outside the file"),
        (ROWS, None, [0, 0, 99], "a row belongs to a document that is not there"),
        (LISTS, None, [0, 0, -1], "a row belongs to a document that is not there"),
    ],
)
def test_damage_is_named(monkeypatch, pair, part, value, sentence):
    """Two blocks with two rows each of one term, and what can be wrong with them."""
    set_layout(monkeypatch, pair)
    indptr = np.zeros(35, np.int64)
    for row in (0, 1, 32, 33):
        indptr[row + 1 :] += 1
    layout = lay_out(indptr, np.full(4, 3, np.int32), np.full(4, 7, np.uint8))
    document = np.arange(34, dtype=np.int32)
    sound = samples.Segment("segment-x", layout, document, np.arange(34), [], [])
    asked = QuantisedQuery(np.array([3], np.int32), np.array([2], np.uint8), 1.0)
    if part is None:
        document = document.copy()
        document[[0, 32, 33]] = value
        damaged = replace(sound, row_document=document)
    else:
        kept = getattr(layout, part)
        damaged = replace(sound, layout=replace(layout, **{part: np.array(value).astype(kept.dtype)}))
    with pytest.raises(IndexCorruptError, match=f"segment-x is damaged .*{sentence}"):
        search(Snapshot("u8", [damaged]), asked, 9)
    # The thread's scratch arrays are as they were.
    assert search(Snapshot("u8", [sound]), asked, 9).rows.tolist() == [0, 1, 32, 33]
    assert not scratch().flags.any()
