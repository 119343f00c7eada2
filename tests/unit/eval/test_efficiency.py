"""Terms, expected multiplications and timing."""

from __future__ import annotations

import mmap
import os
import threading

import numpy as np
import pytest

from lsr.eval import efficiency
from lsr.eval.efficiency import (
    LATENCY_CLOCK,
    Clock,
    PeakMemory,
    is_busy,
    measure_sparsity,
    one_core,
    summarise,
    time_queries,
)
from lsr.eval.schedule import Schedule


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


def test_the_other_flops_are_squares_of_mean_weights():
    weights = np.random.default_rng(0).random((50, 30)) * (np.random.default_rng(1).random((50, 30)) < 0.3)
    measured = measure_sparsity([np.array([0])], (weights > 0).sum(axis=0), 50, weights=weights.sum(axis=0))
    assert measured.flops_weights == pytest.approx(float(np.sum(weights.mean(axis=0) ** 2)))
    assert measure_sparsity([np.array([0])], np.ones(3, np.int64), 50).flops_weights is None


def test_repeats_are_warmed_up_and_counted():
    asked = []
    timed = Clock(repeats=3).time(asked.append, ["a", "b"])
    assert asked == ["a", "b"] * 4
    assert len(timed.milliseconds) == 2
    assert timed.latency.spread[0] <= timed.latency.spread[1]


def test_percentiles_and_spread():
    latency = summarise([[1.0, 2.0, 3.0], [1.0, 2.1, 9.0], [1.0, 2.05, 3.0]]).latency
    assert (latency.p50, latency.spread, latency.noisy) == (2.05, (2.0, 2.1), False)
    assert latency.p50 < latency.p95 < latency.p99 < 3.0
    assert summarise([[1.0], [1.2]]).latency.noisy
    assert not summarise([[1.0], [1.0]]).latency.noisy
    assert summarise([[1.0], [1.0]], busy=True).latency.noisy
    assert summarise([[5.0, 7.0]]).latency.spread is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be pinned here")
def test_every_thread_is_on_one_core_and_back_afterwards():
    before = os.sched_getaffinity(0)
    seen = []
    go, stop = threading.Event(), threading.Event()

    def look():
        go.wait()
        seen.append(os.sched_getaffinity(0))
        stop.wait()
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=look)
    thread.start()
    with one_core():
        mine = os.sched_getaffinity(0)
        go.set()
        while not seen:
            pass
    stop.set()
    thread.join()
    assert len(mine) == 1
    assert seen == [mine, before]
    assert os.sched_getaffinity(0) == before


def test_a_busy_machine_is_noisy(monkeypatch):
    monkeypatch.setattr(efficiency.os, "cpu_count", lambda: 4)
    for load, busy in ((0.5, False), (2.9, False), (3.1, True)):
        monkeypatch.setattr(efficiency.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert is_busy() is busy
    assert LATENCY_CLOCK.time(len, ["a", "b"]).latency.noisy


def test_peak_memory_is_that_of_the_block():
    with PeakMemory() as small:
        np.zeros(8, np.uint8)
    if small.mb is None:
        pytest.skip("this system does not let a process count its peak anew")
    # A mapping of its own is given back when it closes; an allocator may keep what an array held.
    with PeakMemory() as large, mmap.mmap(-1, 64 << 20) as held:
        held.write(b"1" * (64 << 20))
    with PeakMemory() as after:
        np.zeros(8, np.uint8)
    if after.mb is None:
        pytest.skip("this system takes the request to count anew and does nothing")
    assert large.mb > small.mb + 50
    assert after.mb < large.mb - 50


def test_a_peak_that_is_not_counted_anew_is_not_given(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("VmHWM:\t  600000 kB\nVmRSS:\t  500000 kB\n")
    monkeypatch.setattr(efficiency, "_STATUS", status)
    monkeypatch.setattr(efficiency, "_REFERENCES", tmp_path / "clear_refs")
    with PeakMemory() as peak:
        pass
    assert peak.mb is None


def test_time_left_is_by_the_system_s_own_speed():
    schedule = Schedule({"a": 100, "b": 10}, ["fast", "slow"])
    assert schedule.seconds_left() is None
    schedule.finish("a", "fast", seconds=1.0)
    assert schedule.seconds_left() == pytest.approx(1.0 + 0.1 + 0.1)
    schedule.finish("a", "slow", seconds=10.0)
    assert schedule.seconds_left() == pytest.approx(0.1 + 1.0)
    schedule.skip("b", "fast")
    assert schedule.seconds_left() == pytest.approx(1.0)
