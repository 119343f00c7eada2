"""Terms, expected multiplications and timing."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.eval.efficiency import measure_sparsity, time_queries


def test_flops_are_the_expected_number_of_multiplications():
    random = np.random.default_rng(0)
    queries = random.random((20, 30)) < 0.2
    documents = random.random((50, 30)) < 0.3
    columns = [np.flatnonzero(row) for row in queries]
    measured = measure_sparsity(columns, documents.sum(axis=0), 50)
    by_definition = np.sum(queries.mean(axis=0) * documents.mean(axis=0))
    pairs = np.mean(queries.astype(int) @ documents.astype(int).T)
    assert measured.flops == pytest.approx(by_definition)
    assert measured.flops == pytest.approx(pairs)
    assert measured.query_terms == pytest.approx(queries.sum(axis=1).mean())
    assert measured.document_terms == pytest.approx(documents.sum(axis=1).mean())


def test_nothing_to_measure():
    assert measure_sparsity([], np.zeros(3, np.int64), 0).flops == 0.0
    assert measure_sparsity([np.array([1])], np.zeros(3, np.int64), 0).query_terms == 1.0


def test_every_query_is_timed():
    asked = []
    latency = time_queries(asked.append, ["a", "b", "c"])
    assert asked == ["a", "b", "c", "a", "b", "c"]
    assert 0 <= latency.p50 <= latency.p99
