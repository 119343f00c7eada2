"""Each kernel against a plain NumPy twin, and against whatever bytes a damaged file could hold."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.index.compiled import kernel
from lsr.index.inversion import invert
from lsr.index.kernels import accumulate
from lsr.index.kernels.invert import scatter_postings
from lsr.index.kernels.match import match_columns

FORMS = {"u8": np.uint8, "u16": np.uint16, "f32": np.float32}
SUMS = {"u8": np.uint32, "u16": np.uint64, "f32": np.float64}
SCORES = {"u8": np.uint64, "u16": np.uint64, "f32": np.float64}


def frozen(array):
    array.flags.writeable = False
    return array


def random_weights(rng, size, form):
    """Few distinct values, so that ties are common."""
    if form == "f32":
        return rng.choice(np.array([0.1, 0.25, 1.5, 3.0], np.float32), size)
    top = int(rng.choice([2, np.iinfo(FORMS[form]).max]))
    return rng.integers(1, top + 1, size).astype(FORMS[form])


def random_rows(rng, rows, columns, form):
    """A CSR with empty rows among them."""
    counts = rng.integers(0, min(columns, 6) + 1, rows)
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    picks = [np.sort(rng.choice(columns, count, replace=False)) for count in counts]
    indices = np.concatenate([np.empty(0), *picks]).astype(np.int32)
    return indptr, indices, random_weights(rng, len(indices), form)


def twin_invert(indptr, indices, impacts):
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(indices, kind="stable")
    terms, counts = np.unique(indices, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return terms, offsets, rows[order].astype(np.uint32), impacts[order]


def random_segment(rng, form, first_sequence):
    rows, columns = int(rng.integers(0, 70)), int(rng.integers(1, 12))
    indptr, indices, impacts = random_rows(rng, rows, columns, form)
    terms, offsets, posting_rows, posting_impacts = twin_invert(indptr, indices, impacts)
    starts = np.ones(rows, bool) if rng.random() < 0.5 else rng.random(rows) < 0.6
    starts[:1] = True
    row_document = (np.cumsum(starts) - 1).astype(np.int32)
    sequences = first_sequence + rng.permutation(int(starts.sum()))  # reordered inside the segment
    arrays = (
        terms.astype(np.int32),
        offsets.astype(np.int64),
        posting_rows,
        posting_impacts,
        row_document,
        sequences.astype(np.int64),
    )
    bitmap = np.empty(0, np.uint8)
    if rng.random() < 0.5:
        bitmap = np.packbits(rng.random(rows) < 0.7, bitorder="little")
    return (*map(frozen, arrays), frozen(bitmap))


def twin_rank(segments, columns, weights, k, form):
    """(score, sequence, segment, row, document) of the k best, by brute force."""
    found = []
    for number, (terms, offsets, rows, impacts, row_document, sequences, bitmap) in enumerate(segments):
        sums = np.zeros(len(row_document), SUMS[form])
        for column, weight in zip(columns, weights, strict=True):
            for place in np.flatnonzero(terms == column):
                part = slice(offsets[place], offsets[place + 1])
                np.add.at(sums, rows[part], impacts[part].astype(SUMS[form]) * weight)
        if len(bitmap):
            sums[np.unpackbits(bitmap, count=len(sums), bitorder="little") == 0] = 0
        for document, sequence in enumerate(sequences):
            own = np.flatnonzero(row_document == document)
            best = own[np.argmax(sums[own])]
            if sums[best] > 0:
                found.append((-sums[best].item(), int(sequence), number, int(best), document))
    return [(-score, *rest) for score, *rest in sorted(found)[:k]]


def run_kernel(run, segments, columns, weights, k, window, form):
    sums = np.empty(window, SUMS[form])
    cursors = np.empty((len(columns), 3), np.int64)
    scores, sequences = np.empty(k + 1, SCORES[form]), np.empty(k + 1, np.int64)
    places = np.empty((k + 1, 3), np.int32)
    filled = 0
    for number, arrays in enumerate(segments):
        filled = run(*arrays, columns, weights, number, sums, cursors, scores, sequences, places, filled)
        if filled < 0:
            return filled
    hits = zip(scores[:filled].tolist(), sequences[:filled].tolist(), places[:filled].tolist(), strict=True)
    return sorted(
        ((score, sequence, *place) for score, sequence, place in hits), key=lambda hit: (-hit[0], hit[1])
    )


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 90), window=st.integers(1, 80))
def test_search_equals_its_twin(form, seed, k, window):
    rng = np.random.default_rng(seed)
    segments = [random_segment(rng, form, 1000 * number) for number in range(rng.integers(1, 4))]
    columns = np.sort(rng.choice(14, rng.integers(1, 9), replace=False)).astype(np.int32)
    weights = random_weights(rng, len(columns), form).astype(SUMS[form])
    run = kernel(accumulate.search_segment, form)
    found = run_kernel(run, segments, columns, weights, k, window, form)
    assert found == twin_rank(segments, columns, weights, k, form)
    assert found == run_kernel(run, segments, columns, weights, 2 * k, 64, form)[:k]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.sampled_from([1, 7, 2**31 - 1]))
def test_inversion_equals_its_twin(form, seed, columns):
    rng = np.random.default_rng(seed)
    few = min(columns, 40)
    indptr, indices, impacts = random_rows(rng, int(rng.integers(0, 50)), few, form)
    indices = (indices + (columns - few)).astype(np.int32)
    lexical = rng.random(len(indices)) < 0.5
    found = invert(frozen(indptr), frozen(indices), frozen(impacts), lexical=lexical)
    terms, offsets, rows, weights = twin_invert(indptr, indices, impacts)
    for ours, theirs in (
        (found.terms, terms),
        (found.term_offsets, offsets),
        (found.posting_rows, rows),
        (found.posting_impacts, weights),
        (found.term_lexical_df, [lexical[indices == term].sum() for term in terms]),
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert found.posting_impacts.dtype == FORMS[form]
    assert found.terms.dtype == np.int32


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_matching_equals_its_twin(left, right):
    ours = frozen(np.array(sorted(left), np.int32))
    theirs = frozen(np.array(sorted(right), np.int32))
    places = np.empty((2, min(len(left), len(right))), np.int64)
    shared = kernel(match_columns, "all")(ours, theirs, places[0], places[1])
    both, expected_ours, expected_theirs = np.intersect1d(ours, theirs, return_indices=True)
    assert shared == len(both)
    np.testing.assert_array_equal(places[0, :shared], expected_ours)
    np.testing.assert_array_equal(places[1, :shared], expected_theirs)


CHECKED = os.environ.get("NUMBA_BOUNDSCHECK") == "1"
only_checked = pytest.mark.skipif(not CHECKED, reason="runs in the process that checks every index")


@pytest.mark.skipif(CHECKED, reason="is the process already")
def test_kernels_stay_inside_their_arrays(tmp_path):
    """The tests marked `only_checked`, where Numba raises IndexError if a kernel would leave an array."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "LSR_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "checked_process", __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout


def garbage(rng, segment):
    """The arrays of a segment with some elements, or a whole array, replaced by anything, or cut."""
    arrays = [array.copy() for array in segment[:-1]]
    for _ in range(rng.integers(1, 4)):
        which = int(rng.integers(len(arrays)))
        array = arrays[which]
        if rng.random() < 0.2:
            arrays[which] = array[: rng.integers(0, len(array) + 1)].copy()
        elif len(array):
            limits = np.iinfo(array.dtype)
            place = slice(None) if rng.random() < 0.3 else rng.integers(len(array))
            high = limits.max if rng.random() < 0.5 else max(2, len(array))
            array[place] = rng.integers(0, high, array[place].shape, dtype=array.dtype, endpoint=False)
            if limits.min < 0 and rng.random() < 0.3:
                array[place] = -1 - array[place]
    bitmap = (
        np.full((len(arrays[4]) + 7) // 8, 255, np.uint8) if rng.random() < 0.5 else np.empty(0, np.uint8)
    )
    return (*map(frozen, arrays), frozen(bitmap))


@only_checked
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), window=st.integers(1, 80))
def test_search_in_the_checked_process(seed, window):
    rng = np.random.default_rng(seed)
    segment = garbage(rng, random_segment(rng, "u8", 0))
    columns = np.sort(rng.choice(14, rng.integers(1, 9), replace=False)).astype(np.int32)
    weights = random_weights(rng, len(columns), "u8").astype(np.uint32)
    run = kernel(accumulate.search_segment, "u8")
    found = run_kernel(run, [segment], columns, weights, 5, window, "u8")
    if isinstance(found, int):
        assert found in (accumulate.BAD_OFFSETS, accumulate.BAD_ROWS, accumulate.BAD_DOCUMENTS)


@only_checked
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_inversion_in_the_checked_process(seed):
    rng = np.random.default_rng(seed)
    indptr, local, impacts = random_rows(rng, 10, 6, "u8")
    cursors = np.zeros(6, np.int64)
    for array in (indptr, local, cursors):
        if len(array) and rng.random() < 0.6:
            array[rng.integers(len(array))] = rng.choice([-1, 3, 10**6, -(10**6)])
    rows, weights = np.empty(len(local), np.uint32), np.empty(len(local), np.uint8)
    run = kernel(scatter_postings, "u8")
    assert run(frozen(indptr), frozen(local), frozen(impacts), cursors, rows, weights) in (0, -1)


@only_checked
def test_a_fault_in_the_checked_process():
    """A bitmap that is too short is the caller's fault, and shows that the checks reach the helpers too."""
    rows = np.arange(20, dtype=np.int32)
    arrays = (
        np.array([0], np.int32),
        np.array([0, 20], np.int64),
        rows.astype(np.uint32),
        np.ones(20, np.uint8),
        rows,
        rows.astype(np.int64),
        np.array([255], np.uint8),
    )
    run = kernel(accumulate.search_segment, "u8")
    with pytest.raises(IndexError):
        run_kernel(run, [arrays], np.array([0], np.int32), np.array([1], np.uint32), 5, 20, "u8")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({1: [0, 9]}, accumulate.BAD_OFFSETS),
        ({1: [-1, 2]}, accumulate.BAD_OFFSETS),
        ({1: [2, 0]}, accumulate.BAD_OFFSETS),
        ({1: [0]}, accumulate.BAD_OFFSETS),
        ({2: [0, 2]}, accumulate.BAD_ROWS),
        ({2: [1, 0]}, accumulate.BAD_ROWS),
        ({4: [0, 5]}, accumulate.BAD_DOCUMENTS),
        ({4: [-1, 0]}, accumulate.BAD_DOCUMENTS),
    ],
)
def test_damage_is_named(change, code):
    arrays = [
        np.array([7], np.int32),
        np.array([0, 2], np.int64),
        np.array([0, 1], np.uint32),
        np.array([3, 4], np.uint8),
        np.array([0, 1], np.int32),
        np.array([0, 1], np.int64),
        np.empty(0, np.uint8),
    ]
    for place, values in change.items():
        arrays[place] = np.array(values, arrays[place].dtype)
    run = kernel(accumulate.search_segment, "u8")
    columns, weights = np.array([7], np.int32), np.array([1], np.uint32)
    # A window of one row makes descending rows visible: the second row's posting is met too late.
    assert run_kernel(run, [tuple(arrays)], columns, weights, 3, 1, "u8") == code
