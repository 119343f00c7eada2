"""The order of rows in a segment, beside plain NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.compiled import kernel
from lsr.index.kernels import order as kernels
from lsr.index.order import order_rows

BLOCK = 32
Rows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]


def random_rows(rng: np.random.Generator, rows: int, terms: int, longest: int = 20) -> Rows:
    lengths = rng.integers(0, min(longest, terms) + 1, rows)
    columns = [np.sort(rng.choice(terms, length, replace=False)) for length in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([np.empty(0, np.int64), *columns]).astype(np.int32)
    return indptr, indices, rng.integers(1, 256, len(indices)).astype(np.uint8)


def topical_rows(
    rng: np.random.Generator, rows: int, topics: int = 20, own: int = 40, length: int = 12
) -> Rows:
    """Rows that take their terms from one of some topics, in turn."""
    columns = [np.sort(rng.choice(own, length, replace=False)) + own * (row % topics) for row in range(rows)]
    indptr = np.arange(rows + 1, dtype=np.int64) * length
    return (
        indptr,
        np.concatenate(columns).astype(np.int32),
        rng.integers(1, 256, rows * length).astype(np.uint8),
    )


def count_pairs(given: Rows, order: NDArray[np.int32]) -> int:
    """How many (term, block) pairs an order leaves."""
    indptr, columns, _ = given
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = np.repeat(np.arange(len(order)), np.diff(indptr))
    return len(np.unique(np.stack([columns, place[rows] // BLOCK]), axis=1).T)


def is_permutation(order: NDArray[np.int32], rows: int) -> bool:
    return order.dtype == np.int32 and np.array_equal(np.sort(order), np.arange(rows))


def plain_pick(given: Rows, limit: int) -> list[dict[int, int]]:
    """Each row's heaviest terms, of equal ones the first, with weights of 1 to 255."""
    indptr, columns, impacts = given
    found = []
    for start, end in itertools.pairwise(indptr):
        own = impacts[start:end].astype(np.float32)
        shares = np.float32(255) * (own / own.max(initial=1))
        weights = np.maximum(1, shares).astype(np.int64)
        kept = np.sort(np.argsort(-weights, kind="stable")[:limit])
        found.append(dict(zip(columns[start:end][kept].tolist(), weights[kept].tolist(), strict=True)))
    return found


def plain_halves(
    weights: NDArray[np.int64], logs: NDArray[np.int64], order: list[int], block: int
) -> list[int]:
    """What `split_rows` does to a range of few enough rows that no sample is drawn, with dense rows."""
    half = ((len(order) + 1) // 2 + block - 1) // block * block
    if len(order) <= block or half >= len(order):
        return order
    order = list(order)
    for _ in range(kernels._ROUNDS):
        held = weights[order] > 0
        left, right = held[:half].sum(axis=0), held[half:].sum(axis=0)
        to_right = logs[right] - logs[np.maximum(0, left - 1)]
        from_left = logs[np.maximum(0, right - 1)] - logs[left]
        keys = np.concatenate([weights[order[:half]] @ to_right, weights[order[half:]] @ from_left])
        stays = np.zeros(len(order), bool)
        pivot = np.sort(keys)[half - 1]
        stays[keys < pivot] = True
        stays[np.flatnonzero(keys == pivot)[: half - stays.sum()]] = True
        goes, comes = np.flatnonzero(~stays[:half]), half + np.flatnonzero(stays[half:])
        for one, other in zip(goes, comes, strict=True):
            order[one], order[other] = order[other], order[one]
        if len(goes) * kernels._STILL <= half:
            break
    parts = order[:half], order[half:]
    return [row for part in parts for row in plain_halves(weights, logs, part, block)]


def pick(given: Rows, terms: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    indptr, columns, impacts = given
    rows = len(indptr) - 1
    starts = np.concatenate([[0], np.cumsum(np.minimum(np.diff(indptr), limit))]).astype(np.int64)
    picked = np.zeros(starts[-1], np.uint32)
    chosen = np.arange(rows, dtype=np.int32)
    form = {"uint8": "u8", "uint16": "u16", "float32": "f32"}[impacts.dtype.name]
    function = kernel(kernels.pick_terms, form)
    assert function(indptr, columns, impacts, terms, chosen, starts, 0, rows, picked) == 0
    return starts, picked


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_heaviest_terms_are_picked_as_plain_numpy_picks_them(dtype: type[np.generic]) -> None:
    indptr, columns, impacts = random_rows(np.random.default_rng(3), 300, 60, longest=30)
    given = (indptr, columns, impacts.astype(dtype))
    starts, picked = pick(given, 60, 8)
    for row, wanted in enumerate(plain_pick(given, 8)):
        own = picked[starts[row] : starts[row + 1]]
        assert dict(zip((own >> 8).tolist(), (own & 255).tolist(), strict=True)) == wanted
        assert list(wanted) == (own >> 8).tolist()


@pytest.mark.parametrize(("rows", "block"), [(33, 32), (64, 32), (500, 32), (500, 8), (257, 16)])
def test_rows_are_split_as_plain_numpy_splits_them(rows: int, block: int) -> None:
    terms = 50
    given = random_rows(np.random.default_rng(rows), rows, terms)
    starts, picked = pick(given, terms, 64)
    logs = np.rint(np.log2(np.arange(1, rows + 2)) * 512).astype(np.int32)
    order = np.arange(rows, dtype=np.int32)
    assert kernel(kernels.split_rows, "all")(starts, picked, logs, terms, order, 0, rows, block, block) == 0
    weights = np.zeros((rows, terms), np.int64)
    owners = np.repeat(np.arange(rows), np.diff(starts))
    weights[owners, picked >> 8] = picked & 255
    assert order.tolist() == plain_halves(weights, logs.astype(np.int64), list(range(rows)), block)


def test_a_range_is_reordered_within_itself_only() -> None:
    rows, terms = 400, 50
    starts, picked = pick(random_rows(np.random.default_rng(5), rows, terms), terms, 64)
    logs = np.rint(np.log2(np.arange(1, rows + 2)) * 512).astype(np.int32)
    order = np.arange(rows, dtype=np.int32)
    split = kernel(kernels.split_rows, "all")
    assert split(starts, picked, logs, terms, order, 100, 300, BLOCK, BLOCK) == 0
    assert np.array_equal(order[:100], np.arange(100)) and np.array_equal(order[300:], np.arange(300, 400))
    assert np.array_equal(np.sort(order[100:300]), np.arange(100, 300))
    assert not np.array_equal(order, np.arange(rows))


def test_arrays_that_do_not_fit_are_refused() -> None:
    indptr, columns, impacts = random_rows(np.random.default_rng(6), 200, 50)
    for wrong in (-1, 50, 2**31 - 1):
        harmed = columns.copy()
        harmed[7] = wrong
        with pytest.raises(InputError):
            order_rows(indptr, harmed, impacts, 50)
    with pytest.raises(InputError):
        order_rows(indptr + 1, columns, impacts, 50)
    starts, picked = pick((indptr, columns, impacts), 50, 64)
    logs, order = np.zeros(201, np.int32), np.arange(200, dtype=np.int32)
    split = kernel(kernels.split_rows, "all")
    assert split(starts, picked, logs, 10, order, 0, 200, BLOCK, BLOCK) == -1
    assert split(starts, picked[:-1], logs, 50, order, 0, 200, BLOCK, BLOCK) == -1
    assert split(starts, picked, logs[:-1], 50, order, 0, 200, BLOCK, BLOCK) == -1
    assert split(starts, picked, logs, 50, order, 0, 201, BLOCK, BLOCK) == -1
    assert split(starts, picked, logs, 50, order + np.int32(1), 0, 200, BLOCK, BLOCK) == -1


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 1000])
def test_rows_without_terms_stay_a_permutation(rows: int) -> None:
    indptr = np.zeros(rows + 1, np.int64)
    empty = np.empty(0, np.int32), np.empty(0, np.uint8)
    assert is_permutation(order_rows(indptr, *empty, 0), rows)


def test_few_rows_are_left_as_they_came() -> None:
    given = random_rows(np.random.default_rng(8), BLOCK, 50)
    assert np.array_equal(order_rows(*given, 50), np.arange(BLOCK))


@pytest.mark.parametrize(
    "weights", [[1e38, 3e38, 1e-38], [np.inf, 1, 2], [np.nan, 1, 2], [0, 0, 0], [1, 1, 1]]
)
def test_whatever_the_weights_every_row_comes_once(weights: list[float]) -> None:
    rows = 300
    indptr = np.arange(rows + 1, dtype=np.int64) * 3
    columns = np.tile(np.arange(3, dtype=np.int32), rows)
    impacts = np.tile(np.array(weights, np.float32), rows)
    assert is_permutation(order_rows(indptr, columns, impacts, 3), rows)


def test_a_term_named_many_times_by_a_row_reads_nothing_outside() -> None:
    rows = 100
    indptr = np.arange(rows + 1, dtype=np.int64) * 500
    columns, impacts = np.zeros(rows * 500, np.int32), np.full(rows * 500, 255, np.uint8)
    assert is_permutation(order_rows(indptr, columns, impacts, 1), rows)


def test_a_large_vocabulary_of_unsigned_numbers() -> None:
    terms = 300_000
    indptr, columns, impacts = random_rows(np.random.default_rng(9), 400, terms)
    columns[:3] = terms - 1
    found = order_rows(indptr, columns.view(np.uint32), impacts, terms)
    assert is_permutation(found, 400)
    assert np.array_equal(found, order_rows(indptr, columns, impacts, terms))


def test_rows_of_a_topic_come_side_by_side() -> None:
    given = topical_rows(np.random.default_rng(1), 3200)
    order = order_rows(*given, 800)
    before, after = count_pairs(given, np.arange(3200, dtype=np.int32)), count_pairs(given, order)
    mixed = [len(set((order[first : first + BLOCK] % 20).tolist())) for first in range(0, 3200, BLOCK)]
    assert after < before / 5
    assert np.median(mixed) == 1


def test_rows_that_come_in_two_equal_halves_are_told_apart() -> None:
    _, columns, impacts = topical_rows(np.random.default_rng(2), 640, topics=4)
    given = (np.arange(1281, dtype=np.int64) * 12, np.tile(columns, 2), np.tile(impacts, 2))
    assert count_pairs(given, order_rows(*given, 160)) < count_pairs(given, np.arange(1280)) / 2


def test_threads_and_samples_do_not_change_the_order() -> None:
    given = topical_rows(np.random.default_rng(4), 3 * kernels._SAMPLE + 7, topics=50, length=4)
    orders = [order_rows(*given, 2000, threads=threads) for threads in (1, 2, 4)]
    assert is_permutation(orders[0], 3 * kernels._SAMPLE + 7)
    assert np.array_equal(orders[0], orders[1]) and np.array_equal(orders[0], orders[2])
    assert count_pairs(given, orders[0]) < count_pairs(given, np.arange(len(orders[0]))) / 4
    assert np.array_equal(orders[0], order_rows(*given, 2000))
