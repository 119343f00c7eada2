"""kill -9 at any moment: what was acknowledged is there, nothing half-written shows, and writing goes on.

A forked child runs a history of commits and kills itself at its n-th call of any C function, for 70 numbers
spread over the history: between writes, fsyncs, renames and SQLite statements.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import index_samples as samples
import pytest

from lsr.errors import IndexBuildingError, IndexNotFoundError
from lsr.index.check import verify
from lsr.index.store import Store

State = list[str]


def create_and_add(folder: Path, tell: Callable[[], None]) -> None:
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        tell()
        samples.add(store, "a", "b", "c")
        tell()
        samples.add(store, "d")
        tell()


CREATED: list[State] = [[], ["a", "b", "c"], ["a", "b", "c", "d"]]


def replace_and_delete(folder: Path, tell: Callable[[], None]) -> None:
    with Store.open(folder) as store:
        with store.writing() as writer:
            segments, places = store.snapshot.find(["a"])
            writer.delete([(int(segments[0]), int(places[0]))])
            samples.write(writer, ["a", "e"])
            writer.commit()
        tell()
        samples.remove(store, "c", "d")
        tell()


REPLACED: list[State] = [["a", "b", "c", "d"], ["b", "c", "d", "a", "e"], ["b", "a", "e"]]


def build_over(folder: Path, tell: Callable[[], None]) -> None:
    """A pending build beside a finished index; it shows only when it is finished."""
    with Store.begin_build(folder, samples.settings(), query_side=b"r", overwrite=True) as store:
        with store.writing() as writer:
            samples.write(writer, ["x"])
            writer.commit()
        with store.writing() as writer:
            samples.write(writer, ["y"])
            writer.finish_build()
        tell()


BUILT: list[State] = [["a", "b", "c", "d"], ["x", "y"]]


def run_killed(run: Callable[..., None], folder: Path, at: int | None) -> tuple[int, int]:
    """Runs a history in a child that dies at its `at`-th C call: commits acknowledged, calls counted."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            calls = 0

            def count(frame: object, event: str, argument: object) -> None:
                nonlocal calls
                if event == "c_call":
                    calls += 1
                    if calls == at:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.setprofile(count)
            run(folder, lambda: os.write(writer, b"+"))
            sys.setprofile(None)
            os.write(writer, f" {calls}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = b""
    while part := os.read(reader, 1024):
        told += part
    os.close(reader)
    os.waitpid(child, 0)
    acknowledged, _, calls_made = told.partition(b" ")
    return len(acknowledged), int(calls_made or 0)


def prepare(folder: Path) -> None:
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a", "b", "c")
        samples.add(store, "d")


HISTORIES = [
    pytest.param(create_and_add, None, CREATED, id="create and add"),
    pytest.param(replace_and_delete, prepare, REPLACED, id="replace and delete"),
    pytest.param(build_over, prepare, BUILT, id="build over"),
]


@pytest.mark.parametrize(("run", "before", "states"), HISTORIES)
def test_killed_at_any_call(run, before, states: list[State], tmp_path: Path) -> None:
    prepare(tmp_path / "warm.lsr")  # what is imported and cached on first use is no part of a history
    whole = tmp_path / "whole.lsr"
    if before:
        before(whole)
    done, calls = run_killed(run, whole, None)
    assert samples.read_everything(whole) == states[-1] and calls > 100
    starts = 0 if before else -1
    died = 0
    for number, at in enumerate(sorted({1 + calls * i // 70 for i in range(70)})):
        folder = tmp_path / f"{number}.lsr"
        if before:
            before(folder)
        acknowledged, survived = run_killed(run, folder, at)
        died += not survived
        check_after(folder, states, acknowledged + starts)
    assert done == len(states) - 1 - starts
    assert died >= 65


def check_after(folder: Path, states: list[State], acknowledged: int) -> None:
    """Whether the folder holds the last acknowledged state, or the one whose answer the kill cut off."""
    allowed = states[max(acknowledged, 0) : acknowledged + 2]
    try:
        found = samples.read_everything(folder)
    except (IndexNotFoundError, IndexBuildingError):
        assert acknowledged < 0
        with Store.create(folder, samples.settings(), query_side=b"q", overwrite=True) as store:
            samples.add(store, "z")
        assert samples.read_everything(folder) == ["z"]
        return
    assert found in allowed
    assert verify(folder, deep=True).faults == ()
    with Store.open(folder) as store:
        samples.add(store, "z")
    assert samples.read_everything(folder) == [*found, "z"]


def build_first(folder: Path, tell: Callable[[], None]) -> None:
    with Store.begin_build(folder, samples.settings(), query_side=b"q", overwrite=False) as store:
        for id in ("a", "b"):
            with store.writing() as writer:
                samples.write(writer, [id])
                writer.commit()
            tell()
        with store.writing() as writer:
            writer.finish_build()
        tell()


def test_a_first_build_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    prepare(tmp_path / "warm.lsr")
    _, calls = run_killed(build_first, tmp_path / "whole.lsr", None)
    died = 0
    for number, at in enumerate(sorted({1 + calls * i // 70 for i in range(70)})):
        folder = tmp_path / f"{number}.lsr"
        acknowledged, survived = run_killed(build_first, folder, at)
        died += not survived
        store = Store.resume_build(folder) if folder.exists() else None
        if store is not None:
            with store:
                found = samples.living(store)
                assert found in (["a", "b"][:acknowledged], ["a", "b"][: acknowledged + 1])
                with store.writing() as writer:
                    writer.finish_build()
            assert samples.read_everything(folder) == found
        elif acknowledged >= 1:
            assert samples.read_everything(folder) == ["a", "b"]
    assert died >= 65
