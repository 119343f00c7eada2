"""The kernels against what their pages say, and against whatever bytes a damaged file could hold."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import block_samples as samples
import numpy as np
import pytest
from block_samples import FORMS, LAYOUTS, Snapshot, brute_force, hits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit

from lsr.errors import IndexCorruptError, InputError
from lsr.index import layout as module
from lsr.index.compiled import kernel
from lsr.index.kernels import blocks, topk
from lsr.index.kernels.batch import rank_rows
from lsr.index.kernels.layout import count_blocks
from lsr.index.layout import BLOCK, PADDING, expand, match
from lsr.index.search import search

SEEDS = st.integers(0, 2**32 - 1)
with_forms = pytest.mark.parametrize("form", FORMS)
CHECKED = os.environ.get("NUMBA_BOUNDSCHECK") == "1"
only_checked = pytest.mark.skipif(not CHECKED, reason="runs in the process that checks every index")
seldom = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=LAYOUTS, ids=lambda pair: f"most-{pair[0]}-share-{pair[1]}")
def kinds(request, monkeypatch):
    """Which terms of the segments made in a test are dense."""
    monkeypatch.setattr(module, "_MOST_DENSE", request.param[0])
    monkeypatch.setattr(module, "_DENSE_SHARE", request.param[1])
    return request.param


# What a layout is


def runs_of(segment):
    """Each term's postings by block: {column: {block: [(row in block, impact, word)]}}."""
    found = {}
    words = segment.lexical or [[None] * len(columns) for columns in segment.columns]
    for row, held in enumerate(zip(segment.columns, segment.impacts, words, strict=True)):
        for column, impact, word in zip(*held, strict=True):
            found.setdefault(int(column), {}).setdefault(row // BLOCK, []).append((row % BLOCK, impact, word))
    return found


def unpack(postings, bits, form):
    """Rows within their blocks and impacts of packed postings."""
    shift = {"u8": 8, "u16": 16, "f32": 32}[form]
    low = (postings & postings.dtype.type(2**shift - 1)).astype(f"u{shift // 8}")
    words = [None] * len(postings) if bits is None else np.unpackbits(bits, bitorder="little")
    impacts = low.view(np.float32) if form == "f32" else low
    return list(zip((postings >> postings.dtype.type(shift)).tolist(), impacts, words, strict=False))


@pytest.mark.parametrize("form", FORMS)
@seldom
@given(seed=SEEDS, rows=st.sampled_from([1, 32, 33, 150]), known=st.booleans())
def test_a_layout_is_what_its_page_says(kinds, form, seed, rows, known):
    """docs/index-format.md, read by hand."""
    rng = np.random.default_rng(seed)
    segment = samples.make(rng, form, rows=rows, vocabulary=90, lexical=known)
    layout = segment.layout
    runs = runs_of(segment)
    blocks = (rows + BLOCK - 1) // BLOCK
    assert layout.terms.tolist() == sorted(runs)
    largest = max((float(impact) for row in segment.impacts for impact in row), default=0.0)
    step = {"u8": 1.0, "u16": 257.0, "f32": largest / 255 or 1.0}[form]
    assert layout.bound_step == step

    sparse = unpack(layout.sparse_postings, layout.sparse_lexical, form)
    dense = unpack(layout.dense_postings, layout.dense_lexical, form)
    assert not layout.sparse_postings[-PADDING:].any() and not layout.dense_postings[-PADDING:].any()
    numbers = layout.term_dense[layout.term_dense >= 0]
    assert numbers.tolist() == list(range(len(numbers))) and len(numbers) <= kinds[0]
    words = (len(numbers) + 63) // 64
    for place, (_, by_block) in enumerate(sorted(runs.items())):
        number = int(layout.term_dense[place])
        if len(runs) <= kinds[0]:
            assert (number >= 0) == (len(by_block) * kinds[1] >= blocks)
        entries = layout.list_entries[layout.list_offsets[place] : layout.list_offsets[place + 1]]
        at = int(layout.list_postings[place])
        if number >= 0:
            assert len(entries) == 0 and at == layout.list_postings[place + 1]
            maxima = layout.dense_maxima[number * blocks : (number + 1) * blocks]
            bits = layout.block_bits.reshape(blocks, words)[:, number // 64]
            present = (bits >> np.uint64(number % 64)) & np.uint64(1)
            assert np.flatnonzero(present).tolist() == np.flatnonzero(maxima).tolist() == sorted(by_block)
        else:
            assert (entries >> 16).tolist() == sorted(by_block)
        for position, (block, run) in enumerate(sorted(by_block.items())):
            bound = np.ceil(float(max(impact for _, impact, _ in run)) / step)
            if number < 0:
                assert ((entries[position] >> 8) & 255, entries[position] & 255) == (bound, len(run))
                assert sparse[at : at + len(run)] == run
                at += len(run)
                continue
            assert maxima[block] == bound
            before = int(layout.block_ranks[block * words + number // 64])
            before += int(bits[block] & np.uint64((1 << number % 64) - 1)).bit_count()
            starts = layout.pair_starts[layout.block_pairs[block] + block + before :]
            first = int(layout.block_postings[block])
            assert dense[first + int(starts[0]) : first + int(starts[1])] == run
    if known:
        assert layout.term_lexical_df.tolist() == [
            sum(bool(word) for run in runs[column].values() for _, _, word in run) for column in sorted(runs)
        ]


def test_a_large_impact_has_a_bound_that_is_not_below_it():
    for form, top in (("u8", 255), ("u16", 65_535), ("f32", 3e38)):
        for value in (1, 2, top / 3, top):
            impacts = np.array([value, top], samples.IMPACTS[form])
            layout = module.lay_out(np.array([0, 1, 2]), np.array([4, 9], np.int32), impacts)
            bounds = layout.dense_maxima[layout.dense_maxima > 0].astype(np.float64) * layout.bound_step
            assert bool((bounds >= impacts.astype(np.float64) * (1 - 1e-12)).all())


@pytest.mark.parametrize("form", FORMS)
def test_postings_are_packed_alike_in_python_and_in_machine_code(form):
    """The plain twins of `kernels.blocks` are what runs where the compiler is off."""
    rng = np.random.default_rng(6)

    @njit
    def pack(row, impact):
        return blocks.pack_posting(row, impact)

    @njit
    def read(posting):
        return blocks.posting_row(posting), blocks.posting_impact(posting), blocks.unpack_impact(posting)

    @njit
    def count(word):
        return blocks.count_ones(word)

    for impact in samples.weights(rng, 40, form):
        row = int(rng.integers(BLOCK))
        dtype = module.POSTINGS[form]
        packed = dtype(pack(row, impact))
        assert packed == blocks.pack_posting(row, impact)
        assert read(packed) == (row, float(impact), impact)
        plain = blocks.posting_row(packed), blocks.posting_impact(packed), blocks.unpack_impact(packed)
        assert plain == (row, float(impact), impact)
        anything = dtype(rng.integers(0, np.iinfo(dtype).max, dtype=dtype, endpoint=True))
        assert 0 <= read(anything)[0] == blocks.posting_row(anything) < BLOCK
    for word in (0, 1, 2**63, 2**64 - 1, int(rng.integers(2**63))):
        assert count(np.uint64(word)) == blocks.count_ones(np.uint64(word)) == bin(word).count("1")


def rank_one(hits, filled, k, scale, step, totals, found):
    """Rank the hits of one query; fills `totals` and `found` and returns the sequence numbers."""
    steps, order = np.array([step]), np.empty((1, len(totals)), np.int64)
    one = [array[None] for array in hits]
    kernel(rank_rows, "u8")(*one, np.array([filled]), k, scale, steps, totals[None], order, found[None])
    return order[0]


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, size=st.integers(0, 300), k=st.integers(1, 320), levels=st.sampled_from([1, 4, 1000]))
def test_ranking_hits_sorts_the_best(seed, size, k, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, levels + 1, size).astype(np.uint64)
    sequences = rng.permutation(size).astype(np.int64)
    places = rng.integers(0, 99, (size, 3)).astype(np.int32)
    best = np.lexsort((sequences, -scores.astype(np.int64)))[:k]
    totals, found = np.empty(len(best)), np.empty((3, len(best)), np.int32)
    hits = (scores.copy(), sequences.copy(), places.copy())
    order = rank_one(hits, size, k, 0.5, 4.0, totals, found)
    np.testing.assert_array_equal(totals, scores[best] * 2.0)
    np.testing.assert_array_equal(order, sequences[best])
    np.testing.assert_array_equal(found, places[best].T)


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, k=st.integers(1, 70), several=st.booleans(), levels=st.sampled_from([1, 4, 1000]))
def test_hits_offered_by_blocks_leave_the_best(seed, k, several, levels):
    rng = np.random.default_rng(seed)
    documents = int(rng.integers(1, 400))
    rows = rng.permutation(documents if not several else rng.integers(0, documents, 600))
    scores = rng.integers(1, levels + 1, len(rows)).astype(np.uint64)
    sequences = rng.permutation(documents).astype(np.int64)
    size = topk.room(k)
    hits = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros((size, 3), np.int32)
    filled = 0
    for first in range(0, len(rows), BLOCK):
        for row in range(first, min(first + BLOCK, len(rows))):
            document = int(rows[row])
            offered = (scores[row], sequences[document], 7, row, document, several)
            filled = topk.offer(*hits, filled, k, *offered)
        filled = topk.cut(*hits, filled, k)
    best = {}
    for row, document in enumerate(rows.tolist()):
        if document not in best or scores[row] > scores[best[document]]:
            best[document] = row
    order = sorted(best, key=lambda document: (-int(scores[best[document]]), sequences[document]))[:k]
    totals, found = np.empty(len(order)), np.empty((3, len(order)), np.int32)
    assert rank_one(hits, filled, k, 1.0, 1.0, totals, found).tolist() == sequences[order].tolist()
    assert found[2].tolist() == order
    assert found[1].tolist() == [best[document] for document in order]
    assert totals.tolist() == [float(scores[best[document]]) for document in order]


# Whatever bytes


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def random_offsets(rng, count, end):
    """Offsets from 0 to an end, as `read_layout` lets through."""
    inner = np.sort(rng.integers(0, end + 1, max(0, count - 2)))
    return (
        np.concatenate([[0], inner, [end]])[:count].astype(np.int64)
        if count > 1
        else np.zeros(count, np.int64)
    )


def anything(rng, array):
    """Some elements, or all, replaced by anything, by small numbers, or by one another."""
    array = array.copy()
    if not len(array):
        return array
    limits = np.iinfo(array.dtype)
    chosen = rng.random(len(array)) < rng.choice([0.02, 0.3, 1.0])
    chosen[rng.integers(len(array))] = True
    kind = rng.integers(4)
    if kind == 0:
        values = rng.integers(limits.min, limits.max, len(array), dtype=array.dtype, endpoint=True)
    elif kind == 1:
        values = rng.integers(0, min(limits.max, max(2, len(array))), len(array))
    elif kind == 2:
        values = rng.permutation(array)
    else:
        values = np.full(len(array), [limits.min, limits.max, 0][rng.integers(3)], array.dtype)
    array[chosen] = values.astype(array.dtype)[chosen]
    return array


GARBAGE = (
    "list_entries",
    "sparse_postings",
    "dense_maxima",
    "block_bits",
    "block_ranks",
    "pair_starts",
    "dense_postings",
)
OFFSETS = ("list_offsets", "list_postings", "block_pairs", "block_postings")


def damaged(rng, segment):
    """A segment whose lengths and offsets are in order, as they are once it is open, and nothing else."""
    layout, changes = segment.layout, {}
    for name in rng.choice(GARBAGE, rng.integers(1, 5)):
        changes[name] = frozen(anything(rng, getattr(layout, name)))
    for name in OFFSETS:
        if rng.random() < 0.2:
            given_offsets = getattr(layout, name)
            changes[name] = frozen(random_offsets(rng, len(given_offsets), int(given_offsets[-1])))
    owners = segment.row_document
    if rng.random() < 0.3:
        owners = frozen(anything(rng, owners))
    return replace(segment, layout=replace(layout, **changes), row_document=owners)


def test_a_harmless_change_is_none():
    """The samples of the tests below are searched, expanded and matched when nothing is damaged."""
    rng = np.random.default_rng(0)
    segment = samples.make(rng, "u8", rows=100)
    asked = samples.query(rng, "u8", 9, 40)
    assert hits(search(Snapshot("u8", [segment]), asked, 20)) == brute_force([segment], asked, 20)


@pytest.mark.skipif(CHECKED, reason="is the process already")
@pytest.mark.parametrize("form", ["u8", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])])
def test_kernels_stay_inside_their_arrays(tmp_path, form):
    """The tests marked `only_checked`, where Numba raises IndexError if a kernel would leave an array."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "LSR_CACHE_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-k",
        f"checked_process and {form}",
        __file__,
    ]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout and "skipped" not in result.stdout, result.stdout


@only_checked
@with_forms
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, k=st.sampled_from([1, 5, 400]), rows=st.sampled_from([1, 40, 300, 1500]))
def test_search_in_the_checked_process(kinds, form, seed, k, rows):
    rng = np.random.default_rng(seed)
    segment = damaged(rng, samples.make(rng, form, rows=rows, vocabulary=100))
    asked = samples.query(rng, form, int(rng.choice([3, 100])), 100)
    living = [np.full((rows + 7) // 8, 255, np.uint8)] if rng.random() < 0.5 else None
    try:
        found = hits(search(Snapshot(form, [segment], living), asked, k))
    except IndexCorruptError:
        return
    assert len(found) <= k
    assert all(0 <= row < rows for *_, row, _ in found)


@only_checked
@with_forms
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, rows=st.sampled_from([1, 40, 300]))
def test_expansion_in_the_checked_process(kinds, form, seed, rows):
    rng = np.random.default_rng(seed)
    segment = damaged(rng, samples.make(rng, form, rows=rows, vocabulary=100, lexical=True))
    layout = segment.layout
    try:
        postings = expand(layout)
    except IndexCorruptError:
        pass
    else:
        assert len(postings.rows) == 0 or int(postings.rows.max()) < rows
        layout.is_lexical(postings.places)
    for row in rng.integers(0, rows, 5).tolist():
        asked = np.unique(rng.integers(0, 100, 40)).astype(np.int32)
        try:
            places, _, _ = match(layout, row, asked)
        except IndexCorruptError:
            continue
        assert len(places) <= len(asked)


@only_checked
@with_forms
@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_counting_in_the_checked_process(form, seed):
    rng = np.random.default_rng(seed)
    indptr, _, _ = samples.csr(rng, 40, 6, 5, form)
    local = rng.integers(0, 6, indptr[-1]).astype(np.int32)
    order = rng.permutation(40).astype(np.int32)
    arrays = [
        frozen(anything(rng, array)) if rng.random() < 0.6 else array for array in (indptr, local, order)
    ]
    assert kernel(count_blocks, "all")(*arrays, *np.zeros((2, 6), np.int64)) in (0, -1)


@only_checked
@with_forms
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, rows=st.sampled_from([1, 40, 300]))
def test_laying_out_in_the_checked_process(kinds, form, seed, rows):
    """Whatever rows: they are refused, or what comes of them can be read and searched."""
    rng = np.random.default_rng(seed)
    indptr, indices, impacts = samples.csr(rng, rows, 60, 9, form)
    arrays = [anything(rng, array) if rng.random() < 0.5 else array for array in (indptr, indices)]
    asked = samples.query(rng, form, 30, 60)
    try:
        layout, order = module.arrange(*arrays, impacts, threads=1)
        owners = np.arange(rows, dtype=np.int32)
        segment = samples.Segment("segment-x", layout, owners, owners.astype(np.int64), [], [])
        expand(layout)
        search(Snapshot(form, [segment]), asked, 10)
    except (InputError, IndexCorruptError):
        return
    assert sorted(order.tolist()) == list(range(rows))


@only_checked
@with_forms
def test_a_fault_in_the_checked_process(form):
    """A bitmap that is too short is the caller's fault, and shows that the checks reach the helpers too."""
    from lsr.index import batch_search as engine

    rng = np.random.default_rng(1)
    segment = samples.lay(rng, np.arange(201), np.zeros(200, np.int32), np.ones(200, samples.IMPACTS[form]))
    asked = samples.query(rng, form, 200, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "allowed_rows", lambda *_: np.full(3, 255, np.uint8))
        with pytest.raises(IndexError):
            search(Snapshot(form, [segment]), asked, 100)
