"""Concurrent questions in batches; what runs when is steered by events, never by a clock."""

from __future__ import annotations

import threading

import pytest

from lsr.encoders.gathering import Gatherer
from lsr.errors import InputError

PATIENCE = 30  # seconds until a hanging test is given up


class Held:
    """Doubles numbers; the first batch waits for `go`."""

    def __init__(self):
        self.batches = []
        self.busy = 0
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, items):
        self.busy += 1
        assert self.busy == 1, "two batches at once"
        self.batches.append(list(items))
        if len(self.batches) == 1:
            self.started.set()
            assert self.go.wait(PATIENCE)
        self.busy -= 1
        if "bad" in items:
            raise ValueError(f"bad among {len(items)}")
        return [2 * item for item in items]


class Caller(threading.Thread):
    def __init__(self, gatherer, item):
        super().__init__(daemon=True)
        self.gatherer, self.item, self.outcome = gatherer, item, None
        self.start()

    def run(self):
        try:
            self.outcome = self.gatherer.ask(self.item)
        except Exception as error:
            self.outcome = error

    def result(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "a caller hangs"
        return self.outcome


def queue_behind_the_first(gatherer, run, items):
    """Callers of `items`, queued in order while a first one holds the batch."""
    first = Caller(gatherer, 0)
    assert run.started.wait(PATIENCE)
    callers = []
    for item in items:
        callers.append(Caller(gatherer, item))
        seen = threading.Event()
        while gatherer.waiting < len(callers):
            seen.wait(0.001)
    return first, callers


def test_a_lone_caller_runs_at_once_in_its_own_thread():
    threads = []

    def run(items):
        threads.append(threading.current_thread())
        return [item + 1 for item in items]

    gatherer = Gatherer(run)
    assert [gatherer.ask(n) for n in (1, 2)] == [2, 3]
    assert threads == [threading.current_thread()] * 2


def test_who_waits_is_answered_in_one_batch():
    run = Held()
    gatherer = Gatherer(run)
    first, callers = queue_behind_the_first(gatherer, run, [1, 2, 3, 4])
    run.go.set()
    assert first.result() == 0
    assert [caller.result() for caller in callers] == [2, 4, 6, 8]
    assert run.batches == [[0], [1, 2, 3, 4]]
    assert gatherer.waiting == 0 and gatherer.ask(9) == 18  # nobody is left leading


def test_a_batch_has_a_limit_and_the_order_is_kept():
    run = Held()
    gatherer = Gatherer(run, most=2)
    first, callers = queue_behind_the_first(gatherer, run, [1, 2, 3, 4, 5])
    run.go.set()
    assert first.result() == 0
    assert [caller.result() for caller in callers] == [2, 4, 6, 8, 10]
    assert run.batches == [[0], [1, 2], [3, 4], [5]]


def test_an_error_reaches_only_whose_question_fails():
    run = Held()
    gatherer = Gatherer(run)
    first, callers = queue_behind_the_first(gatherer, run, [1, "bad", 3])
    run.go.set()
    assert first.result() == 0
    one, bad, three = (caller.result() for caller in callers)
    assert (one, three) == (2, 6)
    assert isinstance(bad, ValueError) and str(bad) == "bad among 1"
    assert run.batches == [[0], [1, "bad", 3], [1], ["bad"], [3]]
    with pytest.raises(ValueError, match="bad among 1"):
        gatherer.ask("bad")
    assert gatherer.ask(5) == 10  # an error does not block those who come later


def test_answers_that_do_not_fit_are_no_answers():
    with pytest.raises(RuntimeError, match="1 questions got 0 answers"):
        Gatherer(lambda items: []).ask(1)


def test_an_interrupted_leader_leaves_the_others_served():
    run = Held()
    calls = []

    def interrupted(items):
        calls.append(list(items))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(items)

    gatherer = Gatherer(interrupted, most=2)
    first, callers = queue_behind_the_first(gatherer, run, [1, 2, 3])
    threading.excepthook, before = (lambda _: None), threading.excepthook  # the leader's thread dies of it
    try:
        run.go.set()
        assert first.result() == 0
        outcomes = [caller.result() for caller in callers]
    finally:
        threading.excepthook = before
    assert outcomes[0] is None  # the leader itself
    assert isinstance(outcomes[1], RuntimeError) and "interrupted" in str(outcomes[1])
    assert outcomes[2] == 6


def test_many_threads_get_their_own_answers():
    gatherer = Gatherer(lambda items: [item * item for item in items], most=3)
    results = {}

    def ask_often(start):
        results[start] = [gatherer.ask(start + n) for n in range(200)]

    threads = [threading.Thread(target=ask_often, args=(1000 * i,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a caller hangs"
    assert results == {1000 * i: [(1000 * i + n) ** 2 for n in range(200)] for i in range(8)}


def test_a_batch_holds_at_least_one():
    with pytest.raises(InputError, match="most=0"):
        Gatherer(list, most=0)
