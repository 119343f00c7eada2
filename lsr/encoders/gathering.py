"""Concurrent callers' questions gathered into batches, without a thread and without waiting for company.

A call that finds nobody at work runs at once, alone. Callers that come while it runs queue, and when it ends
one of them becomes the leader: it takes all that wait as one batch, runs it, and hands out the answers. A
lone caller waits for nobody, and under load the batches grow by themselves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from lsr.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Seat(Generic[Item, Result]):
    """One caller's question, and what came of it. Everything is guarded by the gatherer's lock."""

    __slots__ = ("answer", "error", "is_done", "item", "leads", "wake")

    def __init__(self, item: Item, lock: threading.Lock) -> None:
        self.item = item
        self.answer: list[Result] = []
        self.error: BaseException | None = None
        self.is_done = False
        self.leads = False
        self.wake = threading.Condition(lock)


class Gatherer(Generic[Item, Result]):
    """Runs questions of many threads in batches, one batch at a time.

    Args:
        run: Answers n questions, in order. It is never called by two threads at once.
        most: Questions in one batch.

    Raises:
        InputError: `most` is under 1.

    Example:
        >>> Gatherer(lambda numbers: [2 * n for n in numbers]).ask(21)
        42
    """

    def __init__(self, run: Callable[[list[Item]], list[Result]], *, most: int = 64) -> None:
        if most < 1:
            raise InputError(f"most={most}: a batch holds at least 1.")
        self._run = run
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[_Seat[Item, Result]] = deque()
        self._is_running = False

    @property
    def waiting(self) -> int:
        """Callers that are queued behind the running batch."""
        with self._lock:
            return len(self._waiting)

    def ask(self, item: Item) -> Result:
        """The answer to one question; blocks until it is there.

        Args:
            item: The question.

        Returns:
            Its answer.

        Raises:
            BaseException: What `run` raised for this question. If a batch of several fails, each of its
                questions is run alone, so that only those that fail by themselves see an error.
        """
        seat: _Seat[Item, Result] = _Seat(item, self._lock)
        with self._lock:
            self._waiting.append(seat)
            if self._is_running:
                self._wait(seat)
            else:
                self._is_running = seat.leads = True
            batch = self._next_batch() if seat.leads else []
        if batch:
            try:
                self._answer(batch)
            finally:
                self._hand_over(batch)
        if seat.error is not None:
            raise seat.error
        return seat.answer[0]

    def _wait(self, seat: _Seat[Item, Result]) -> None:
        """Sleep until answered or made leader; an interrupted caller leaves no gap behind."""
        try:
            seat.wake.wait_for(lambda: seat.is_done or seat.leads)
        except BaseException:  # KeyboardInterrupt, with the lock held again
            if seat.leads:
                self._waiting.remove(seat)
                self._choose_leader()
            elif seat in self._waiting:
                self._waiting.remove(seat)
            raise

    def _next_batch(self) -> list[_Seat[Item, Result]]:
        return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]

    def _choose_leader(self) -> None:
        """The longest waiting caller leads next; it stands first in the queue, so in its own batch."""
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].wake.notify()
        else:
            self._is_running = False

    def _hand_over(self, batch: list[_Seat[Item, Result]]) -> None:
        with self._lock:
            for seat in batch:
                if not seat.answer and seat.error is None:
                    seat.error = RuntimeError("The thread that ran this question was interrupted.")
                seat.is_done = True
                seat.wake.notify()
            self._choose_leader()

    def _answer(self, batch: list[_Seat[Item, Result]]) -> None:
        try:
            self._fill(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for seat in batch:
                try:
                    self._fill([seat])
                except Exception as own:
                    seat.error = own

    def _fill(self, batch: list[_Seat[Item, Result]]) -> None:
        answers = self._run([seat.item for seat in batch])
        if len(answers) != len(batch):
            raise RuntimeError(f"{len(batch)} questions got {len(answers)} answers.")
        for seat, answer in zip(batch, answers, strict=True):
            seat.answer = [answer]
